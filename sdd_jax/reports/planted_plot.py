"""How well each method finds planted marks, as an image."""

from collections.abc import Mapping
from typing import Any

from sdd_jax.reports import plots
from sdd_jax.reports.planted_table import KINDS, MEASURES, ranked
from sdd_jax.reports.table import method_name


def plot(result: Mapping[str, Any]) -> bytes:
    """Return a PNG file: a column a measure, a row a method, a colour a kind of marks.

    Args:
        result: the content of `planted/table.json`. A dashed line is the mark's area,
            which a random map has.
    """
    names = ranked(result)
    figure = plots.empty(11, 1.5 + 0.3 * len(names))
    axes = figure.subplots(1, len(MEASURES), sharey=True)
    for axis, (measure, heading) in zip(axes, MEASURES.items(), strict=True):
        for number, kind in enumerate(KINDS):
            colour = f"C{number}"
            for row, name in enumerate(names):
                one = result["methods"][name].get(measure, {}).get(kind)
                if not one:
                    continue
                height = row + 0.3 * (number - 0.5)
                axis.plot([one["low"], one["high"]], [height] * 2, color=colour)
                axis.plot(one["value"], height, "o", color=colour, markersize=4)
            area = result["methods"][names[0]].get("random_value", {}).get(kind)
            if area:
                axis.axvline(area["value"], color=colour, linestyle="--", linewidth=1)
            axis.plot([], [], "o-", color=colour, label=f"{kind} marks")
        axis.set_title(heading)
        axis.set_xlabel("per cent")
        axis.grid(alpha=0.3)
    axes[0].set_yticks(range(len(names)), [method_name(name) for name in names])
    axes[0].invert_yaxis()
    axes[-1].legend(fontsize="small")
    return plots.png(figure)
