"""The page of a comparison: the ranked table, the curves, images under every method.

The images are files beside the page, loaded when they are seen: thousands of them do
not keep it from opening.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sdd_jax.reports import compare_table, templates
from sdd_jax.reports.table import method_name


def render(
    result: Mapping[str, Any],
    gallery: Sequence[Mapping[str, Any]],
    plots: Mapping[str, str],
) -> str:
    """Return the page as HTML, to be written as UTF-8 in the images' folder.

    Args:
        result: the content of `table.json`.
        gallery: for each image its `file`, a name, and `images`, {METHOD: path}, with
            the bare image as `image`.
        plots: paths of the curves' plots, by fill.
    """
    return templates.render(
        "compare.html.jinja",
        {"method_name": method_name},
        result=result,
        names=compare_table.ranked(result),
        columns=compare_table.COLUMNS,
        note=compare_table.NOTE,
        gallery=gallery,
        plots=plots,
    )
