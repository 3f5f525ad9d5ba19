"""What a network leans on, and before and after it was told not to, as tables.

`result` is the content of `revise/table.json`:

    result["clusters"]                         the strongest first; see `HEADINGS`
    result["methods"][NETWORK][FIGURE][GROUP]  {"value", "low", "high"}, per cent
    result["differences"]["after"]             the same and "p": after less control
    result["marks"][NETWORK][VERSION]          accuracy, where marks are known

NETWORK is before, after, or control, which was trained on as long with nothing
forbidden; GROUP is all, forbidden or others: test images by the cluster that their
region is nearest to. All but the clusters only where something is forbidden.
"""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from sdd_jax.reports import text
from sdd_jax.reports.text import figure

NETWORKS = ("before", "control", "after")
HEADINGS = ("cluster", "where", "images", "people", "lost", "lost in all", "forbidden")
FIGURES = {
    "accuracy": "accuracy",
    "confidence": "confidence in the true person",
    "lost": "of it lost without the region",
    "energy": "of the map in the region",
}
VERSION_NAMES = {
    "marked": "with their own mark",
    "without": "mark removed",
    "swapped": "another's mark",
    "on_others": "people without a mark, given one",
}
CONTROL = (
    "Per cent, with intervals of 95 % over identities. control: trained on as long, "
    "with nothing forbidden; change: after less control; forbidden and others: by the "
    "cluster of an image's region."
)
NOTE = (
    "Per cent. lost: confidence in the true person that a region's filling takes, a "
    "region of the cluster on average; lost in all: the same as a share of all images. "
    "Intervals of 95 % over identities."
)


def where(cluster: Mapping[str, Any]) -> str:
    """Return the place of a cluster's centre in words, as seen in the image."""
    rows, columns = ("top", "middle", "bottom"), ("left", "centre", "right")
    row, column = (min(2, int(3 * cluster[x])) for x in ("row", "column"))
    return f"{rows[row]} {columns[column]}"


def cluster_rows(result: Mapping[str, Any]) -> list[list[str]]:
    """Return the clusters in words, a row each below the headings."""
    return [
        list(HEADINGS),
        *(
            [
                str(cluster["number"]),
                where(cluster),
                str(cluster["num_images"]),
                str(cluster["num_people"]),
                text.number(cluster["lost_a_region"]),
                text.number(cluster["lost_an_image"]),
                "yes" if cluster["is_forbidden"] else "",
            ]
            for cluster in result["clusters"]
        ),
    ]


def change_rows(
    result: Mapping[str, Any], between: str = " ", *, ends: int | None = None
) -> list[list[str]]:
    """Return all networks and what differs; none where nothing is forbidden."""
    if "methods" not in result:
        return []
    rows = [["", "images", *NETWORKS, "change", "p"]]
    after = result["differences"]["after"]
    for name, words in FIGURES.items():
        for group, number in result["num_test_images"].items():
            figures = [
                result["methods"][network][name].get(group) for network in NETWORKS
            ]
            if figures[0] is None:
                continue
            change = after[name][group]
            rows.append(
                [
                    f"{words}, {group}",
                    str(number),
                    *(figure(one, between, ends=ends) for one in figures),
                    figure(change, between, ends=ends, sign="+"),
                    f"{change['p']:.3f}",
                ]
            )
    for version, words in VERSION_NAMES.items():
        if "marks" in result:
            found = {name: result["marks"][name][version] for name in NETWORKS}
            shown = [f"{value:.1f}" for value in found.values()]
            change = f"{found['after'] - found['control']:+.1f}"
            rows.append([f"accuracy, {words}", "", *shown, change, ""])
    return rows


def clusters(result: Mapping[str, Any]) -> Table:
    """Return the clusters' table for the terminal."""
    return text.terminal("What the network leans on", cluster_rows(result), NOTE)


def before_and_after(result: Mapping[str, Any]) -> Table:
    """Return, for the terminal, what forbidding changed."""
    rows = change_rows(result, "\n", ends=0)
    return text.terminal("Before and after, test images", rows, CONTROL)


def markdown(result: Mapping[str, Any]) -> str:
    """Return both tables as Markdown."""
    parts = [text.markdown(cluster_rows(result)), NOTE]
    if rows := change_rows(result):
        parts += [text.markdown(rows), CONTROL]
    return "\n\n".join(parts) + "\n"


def csv(result: Mapping[str, Any]) -> str:
    """Return both tables as rows; what stands in the first column tells them apart."""
    return text.csv([*cluster_rows(result), *change_rows(result)])
