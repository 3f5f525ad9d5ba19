"""The tables of proved maps of pairs: on the terminal, as Markdown, as CSV.

`result` is the content of `prove_pairs/table.json`; a figure is {"value", "low",
"high"}:

    result["patch_games"][MAP][MEASURE]           shares, from 0 to 1
    result["deletion"][KIND][MAP][FILL]           the drop of the cosine in points, and
                                                  beside it other figures by name
    result["accuracy"][MAP][FILL]                 the same, of both kinds together
    result["costs"][MAP]                          forward_passes, backward_passes, ...

KIND is genuine or impostor. Differences to one method are in "patch_games_differences"
and "deletion_differences", which have "p" besides.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table

from sdd_jax.reports import text
from sdd_jax.reports.table import method_name
from sdd_jax.reports.text import figure

KINDS = ("genuine", "impostor")
# Heading, measure and digits.
GAMES = (
    ("IoU", "iou", 3),
    ("pointing", "pointing", 2),
    ("within 8 px", "tolerant_pointing", 2),
    ("energy", "energy", 2),
    ("at 1 %", "found_at_1", 2),
    ("at 5 %", "found_at_5", 2),
)
DELETION = (
    ("drop", "drop"),
    ("curve", "drop_curve"),
    ("wrong", "wrong_side"),
    ("kept", "retention_drop"),
    ("hiding", "hiding_game"),
)
GAMES_NOTE = (
    "A part of the probe is another person's: how well does a map find it? IoU at the "
    "part's area; pointing: the largest value lies in it, or within 8 of 112 pixels; "
    "energy: of the map, inside; at 1 and 5 %: the share of it found before so much of "
    "the rest. Maps of likeness enter with their sign turned. Intervals of 95 % over "
    "people; forward + backward passes for a map."
)
DELETION_NOTE = (
    "Points of cosine (100 is 1) lost when the most salient pixels are hidden; curve: "
    "the mean over all shares; wrong: pairs that then are on the wrong side of "
    "the threshold, per cent. kept: lost when only those pixels stay; "
    "hiding: over all shares of the least salient pixels hidden, how many pairs are on "
    "the right side, per cent. Intervals of 95 % over "
    "people."
)


def summaries(result: Mapping[str, Any]) -> Iterator[Table]:
    """Yield the tables for the terminal: of games, and of deletion of each kind."""
    if result["patch_games"]:
        rows = _games(result, ends=2, columns=GAMES[:4], between="\n")
        yield text.terminal("Where do they differ? Patch games", rows, GAMES_NOTE)
    for kind in KINDS:
        if result["deletion"][kind]:
            title = f"Why are they alike? Deletion, {kind} pairs"
            rows = _deletion(result, kind, columns=DELETION[:3], between="\n")
            yield text.terminal(title, rows, DELETION_NOTE)


def markdown(result: Mapping[str, Any]) -> str:
    """Return the tables as Markdown."""
    parts = []
    if result["patch_games"]:
        parts += [text.markdown(_games(result)), GAMES_NOTE]
    for kind in KINDS:
        if result["deletion"][kind]:
            parts += [
                f"Deletion, {kind} pairs:",
                text.markdown(_deletion(result, kind)),
            ]
    parts.append(DELETION_NOTE)
    half = result["protocol"]["half"]
    parts.append(
        f"{result['num_people']} people ({half}); formulas were chosen on the first "
        f"half of ORL's. The threshold is a cosine of {result['threshold']:.3f}."
    )
    return "\n\n".join(parts) + "\n"


def csv(result: Mapping[str, Any]) -> str:
    """Return every figure as a row: part, kind, map, fill, measure, its figures."""
    rows: list[tuple[Any, ...]] = [
        ("part", "kind", "map", "fill", "measure", "value", "low", "high")
    ]

    def add(start: tuple[str, ...], one: Mapping[str, Any]) -> None:
        rows.append((*start, one["value"], one["low"], one["high"]))

    for name, measures in result["patch_games"].items():
        for measure, one in measures.items():
            add(("patch_games", "", name, "", measure), one)
    parts = [("deletion", kind, result["deletion"][kind]) for kind in KINDS]
    parts.append(("accuracy", "", result["accuracy"]))
    for part, kind, maps in parts:
        for name, by_fill in maps.items():
            for fill, cell in by_fill.items():
                add((part, kind, name, fill, "drop"), cell)
                for measure, one in cell.items():
                    if isinstance(one, Mapping):
                        add((part, kind, name, fill, measure), one)
    return text.csv(rows)


def _passes(result: Mapping[str, Any], name: str) -> str:
    costs = result["costs"][name]
    return f"{costs['forward_passes']} + {costs['backward_passes']}"


def _games(
    result: Mapping[str, Any],
    *,
    ends: int | None = None,
    columns: tuple[tuple[str, str, int], ...] = GAMES,
    between: str = " ",
) -> list[list[str]]:
    """Return the rows of games, the largest IoU first."""
    found = result["patch_games"]
    rows = [["", *(heading for heading, *_ in columns), "games", "passes"]]
    for name in sorted(found, key=lambda name: -found[name]["iou"]["value"]):
        cells = [
            figure(found[name].get(measure), between, digits=digits, ends=ends)
            for _, measure, digits in columns
        ]
        number = str(result["costs"][name]["num_games"])
        rows.append([method_name(name), *cells, number, _passes(result, name)])
    return rows


def _deletion(
    result: Mapping[str, Any],
    kind: str,
    *,
    columns: tuple[tuple[str, str], ...] = DELETION,
    between: str = " ",
) -> list[list[str]]:
    """Return the rows of one kind, by fill, the largest drop first."""
    found = result["deletion"][kind]
    fills = list(dict.fromkeys(fill for one in found.values() for fill in one))
    rows = [["", *(heading for heading, _ in columns), "passes"]]
    for fill in fills:
        if len(fills) > 1:
            rows.append([f"fill {fill}"])
        among = {name: one[fill] for name, one in found.items() if fill in one}
        for name in sorted(among, key=lambda name: -among[name]["value"]):
            one = among[name] | {"drop": among[name]}
            cells = [figure(one[measure], between) for _, measure in columns]
            rows.append([method_name(name), *cells, _passes(result, name)])
    return rows
