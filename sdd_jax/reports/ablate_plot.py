"""SDD's choices as an image: what each parameter does, one small plot a parameter."""

from collections.abc import Mapping
from typing import Any

from sdd_jax.reports import plots

_LINES = {
    "srg": ("srg", "all"),
    "specificity": ("specificity", "all"),
    "drop, black": ("confidence_drop", "black"),
    "drop, mean": ("confidence_drop", "mean"),
}


def choices(result: Mapping[str, Any]) -> bytes:
    """Return a PNG file: measures with intervals over each parameter's choices.

    A ring is around the default. A measure that a choice has not is left out.

    Args:
        result: the content of `ablate/table.json`.
    """
    groups = result["groups"]
    rows = -(-len(groups) // 3)
    figure = plots.empty(11, 3.4 * rows + 0.4)
    grid = figure.subplots(rows, 3, sharey=True, squeeze=False)
    for axis, (group, labels) in zip(grid.flat, groups.items(), strict=False):
        for number, (called, (metric, fill)) in enumerate(_LINES.items()):
            points = [
                (place, one)
                for place, row in enumerate(labels.values())
                if (one := result["methods"][row].get(metric, {}).get(fill))
            ]
            places = [place for place, _ in points]
            values = [one["value"] for _, one in points]
            colour = f"C{number}"
            axis.plot(places, values, "o-", color=colour, markersize=4, label=called)
            low, high = ([one[end] for _, one in points] for end in ("low", "high"))
            axis.vlines(places, low, high, colors=colour, alpha=0.5)
        for place, row in enumerate(labels.values()):
            one = result["methods"][row].get("confidence_drop", {}).get("mean")
            if row == "default" and one:
                axis.plot([place], [one["value"]], "o", color="k", mfc="none", ms=10)
        axis.set_xticks(range(len(labels)), labels, fontsize=7, rotation=30)
        axis.set_title(group, fontsize=9)
        axis.grid(alpha=0.3)
    for axis in grid.flat[len(groups) :]:
        axis.set_axis_off()
    grid.flat[0].set_ylabel("per cent")
    handles, names = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4, fontsize=8)
    return plots.png(figure)
