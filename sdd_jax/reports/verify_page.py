"""The page of verification: the table, the curves, and what they do not say."""

from collections.abc import Mapping
from typing import Any

from sdd_jax.reports import templates, verify_table


def render(result: Mapping[str, Any], plot: str) -> str:
    """Return the page as HTML, to be written as UTF-8 beside its plot.

    Args:
        result: the content of `verify/metrics.json`.
        plot: the plot's path.
    """
    return templates.render(
        "verify.html.jinja",
        {},
        result=result,
        rows=verify_table.rows(result),
        note=verify_table.NOTE,
        words=verify_table.in_words(result),
        plot=plot,
    )
