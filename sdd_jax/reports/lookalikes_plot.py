"""What blending two look-alikes does to the network and to maps, as an image."""

from collections.abc import Mapping
from typing import Any

from sdd_jax.reports import plots
from sdd_jax.reports.table import method_name


def plot(result: Mapping[str, Any]) -> bytes:
    """Return a PNG file: probabilities, the maps' similarity, collapsed maps.

    Args:
        result: the content of `lookalikes/table.json`.
    """
    methods = result["methods"]
    panels: list[tuple[str, dict[str, Any]]] = [
        ("probability, per cent", dict(result["network"])),
    ]
    for measure, title in (
        ("spearman", "Spearman of the two maps"),
        ("collapsed", "maps that collapsed, per cent"),
    ):
        curves = {method_name(n): found.get(measure) for n, found in methods.items()}
        panels.append((title, curves))
    figure = plots.empty(13, 4)
    axes = figure.subplots(1, len(panels))
    for axis, (title, curves) in zip(axes, panels, strict=True):
        for name, curve in curves.items():
            # A ratio whose maps are all flat has no point.
            ratios = [r for r in result["ratios"] if str(r) in (curve or {})]
            rows = [curve[str(ratio)] for ratio in ratios]
            ends = [[row[end] for row in rows] for end in ("value", "low", "high")]
            (line,) = axis.plot(ratios, ends[0], "o-", markersize=3, label=name)
            axis.fill_between(
                ratios, ends[1], ends[2], alpha=0.15, color=line.get_color()
            )
        axis.set_title(title)
        axis.set_xlabel("ratio of the second face")
        axis.grid(alpha=0.3)
        axis.legend(fontsize="small")
    return plots.png(figure)
