"""The sanity checks as an image: how alike maps stay while layers are spoilt."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from sdd_jax.reports import plots
from sdd_jax.reports.table import method_name

_A_ROW = 5
_STYLES = {
    ("cascading", "spearman"): "C0o-",
    ("cascading", "ssim"): "C0^:",
    ("independent", "spearman"): "C1o-",
    ("independent", "ssim"): "C1^:",
}


def layers(methods: Mapping[str, Any]) -> bytes:
    """Return a PNG file: a small plot a method, similarity over the layers.

    Circles and lines: Spearman, with its interval; triangles: SSIM. The dashed line is
    the wrong class's Spearman. A layer without any map that says something is left out.

    Args:
        methods: `result["methods"]` of `sanity/table.json`.
    """
    rows = -(-len(methods) // _A_ROW)
    columns = min(len(methods), _A_ROW)
    size = (max(2.6 * columns, 5), 2.2 * rows + 0.6)
    figure = plots.empty(*size)
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for axis, (name, found) in zip(grid.flat, methods.items(), strict=False):
        _draw(axis, found)
        is_control = found.get("is_control")
        axis.set_title(method_name(name) + ("*" if is_control else ""), fontsize=9)
    for axis in grid.flat[len(methods) :]:
        axis.set_axis_off()
    handles, labels = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, fontsize=8)
    return plots.png(figure)


def _draw(axis: Axes, found: Mapping[str, Any]) -> None:
    whole = found.get("independent", found["cascading"])
    names = [layer for layer in whole if layer != "mean"]
    for (order, metric), style in _STYLES.items():
        of_order = found.get(order, {})
        shown = [x for x, name in enumerate(names) if metric in of_order.get(name, {})]
        ones = [of_order[names[x]][metric] for x in shown]
        value, low, high = (
            np.array([one[end] for one in ones]) for end in ("value", "low", "high")
        )
        axis.plot(
            shown, value, style, markersize=3, linewidth=1, label=f"{order}, {metric}"
        )
        if metric == "spearman":
            axis.vlines(shown, low, high, colors=style[:2], alpha=0.5)
    wrong = found["wrong_class"].get("spearman", {"value": np.nan})["value"]
    axis.axhline(
        wrong, color="C2", linestyle="--", linewidth=1, label="wrong class, spearman"
    )
    axis.set_xticks(range(len(names)), names, fontsize=6)
    axis.set_ylim(-1.05, 1.05)
    axis.grid(alpha=0.3)
