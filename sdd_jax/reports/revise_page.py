"""The page of a revision: what the network leans on, and before and after."""

from collections.abc import Mapping, Sequence
from typing import Any

from sdd_jax.reports import revise_table, templates, text


def render(
    result: Mapping[str, Any],
    gallery: Mapping[int, Sequence[Mapping[str, str]]],
    forbid: str,
) -> str:
    """Return the page as HTML, to be written as UTF-8 in the images' folder.

    Args:
        result: the content of `table.json`.
        gallery: by cluster, its shown images: `file`, a name, and `path`.
        forbid: the path of the file that says what is forbidden.
    """
    return templates.render(
        "revise.html.jinja",
        {"where": revise_table.where, "points": text.number},
        result=result,
        gallery=gallery,
        forbid=forbid,
        changes=revise_table.change_rows(result),
        change_note=revise_table.CONTROL,
        note=revise_table.NOTE,
    )
