"""The curves of a comparison as an image: what deletion and retention leave."""

from collections.abc import Mapping, Sequence
from typing import Any

from sdd_jax.reports import plots
from sdd_jax.reports.table import method_name


def curves(methods: Mapping[str, Any], fractions: Sequence[float], fill: str) -> bytes:
    """Return a PNG file: deletion on the left, retention on the right, with bands.

    Args:
        methods: [METHOD][FILL][ORDER] = {"value", "low", "high"}, each one number a
            fraction, the share of the intact confidence; the methods to draw, best
            first.
        fractions: of the pixels, from 0 to 1.
        fill: which one to draw.
    """
    figure = plots.empty(10, 4.2)
    axes = figure.subplots(1, 2, sharey=True)
    for axis, order in zip(axes, ("deletion", "retention"), strict=True):
        for name, found in methods.items():
            curve = found[fill][order]
            (line,) = axis.plot(fractions, curve["value"], label=method_name(name))
            axis.fill_between(
                fractions,
                curve["low"],
                curve["high"],
                alpha=0.15,
                color=line.get_color(),
            )
        done = "removed" if order == "deletion" else "kept"
        axis.set_title(f"most salient pixels {done}, {fill} fill")
        axis.set_xlabel(f"share {done}")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("confidence left, of the intact image's")
    axes[1].legend(fontsize="small")
    return plots.png(figure)
