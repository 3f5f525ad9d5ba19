"""Where in a file tensors lie: its dicts, each with the way to it.

A published file is a dict of tensors, or holds one among its trainer's state. Nothing
here knows which is the network's; all of them are found, and described for a person.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from sdd_jax.errors import InputError
from weights_conversion import torch_tensors
from weights_conversion.pickles import Call, Name
from weights_conversion.torch_tensors import short

MAX_DEPTH = 16  # of a dict with tensors; a trainer's own are at most three deep
MOST_PARTS = 32  # each is described with all that is beside it
_LONGEST = 200  # characters of a way
_NAMED = 8  # names in a message


@dataclasses.dataclass(frozen=True)
class Part:
    """A dict with tensors."""

    where: str  # "a/b" for the dict b inside of a, "" for the file's own
    tensors: dict[str, np.ndarray]
    # What else is in it by name, such as "a float".
    others: dict[str, str] = dataclasses.field(default_factory=dict)
    beside: tuple[str, ...] = ()  # what the file holds elsewhere


@dataclasses.dataclass(frozen=True)
class Contents:
    """What was asked of a file."""

    parts: tuple[Part, ...]
    outline: str  # of all that is in it, for a message


@dataclasses.dataclass(frozen=True)
class _Dict:
    """A dict on the way through a file."""

    where: str
    entries: Mapping[str, Any]
    depth: int = 0
    beside: tuple["_Dict", str] | None = None  # what it lies in, and as what


def of_pickle(
    root: Any,
    is_wanted: Callable[[Iterable[str]], bool],
    array: Callable[[str, Call], np.ndarray],
) -> Contents:
    """Return the wanted dicts of a pickled value, their tensors as arrays.

    Args:
        root: from `pickles.read`.
        is_wanted: says of the names of a dict's tensors whether it is.
        array: makes an array of a tensor, which it is told the name of.

    Raises:
        InputError: there are more than MOST_PARTS of them.
    """
    parts: list[Part] = []
    unwanted: dict[str, Call] = {}
    outlines = []
    for found in _dicts_in(root):
        plain = {name: torch_tensors.plain(x) for name, x in found.entries.items()}
        tensors = {name: x for name, x in plain.items() if x is not None}
        if tensors and len(outlines) < _NAMED:
            outlines.append(_outline(found.where, tensors))
        if is_wanted(tensors):
            if len(parts) == MOST_PARTS:
                raise InputError(
                    f"it holds more than {MOST_PARTS} networks, expected one: save it "
                    f"alone"
                )
            others = {n: _kind(found.entries[n]) for n, x in plain.items() if x is None}
            arrays = {name: array(name, tensor) for name, tensor in tensors.items()}
            parts.append(Part(found.where, arrays, others, tuple(_beside(found))))
        else:
            unwanted |= tensors
    if not parts:  # damage is worth more words than what is missing
        for name, tensor in unwanted.items():
            torch_tensors.check_bounds(name, tensor)
    outline = "; ".join(outlines) or _without_tensors(root)
    return Contents(tuple(parts), outline)


def of_tensors(tensors: dict[str, np.ndarray]) -> Contents:
    """Return the contents of a file that is nothing but tensors."""
    outline = _outline("", tensors) if tensors else "nothing"
    return Contents((Part("", tensors),), outline)


def listed(names: Iterable[str], *, most: int = _NAMED) -> str:
    """Return names that a file chose, on one line: the first few and how many more."""
    names = list(names)
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(map(short, names[:most])) + more


def _dicts_in(root: Any) -> Iterator[_Dict]:
    """Yield every dict that a way through dicts and lists leads to, the top first."""
    waiting: list[tuple[Any, str, int, tuple[_Dict, str] | None]]
    waiting = [(root, "", 0, None)]
    seen = set()
    for value, where, depth, beside in waiting:  # it grows
        # First: a list that is in another a thousand times is looked at once.
        if id(value) in seen or depth > MAX_DEPTH:
            continue
        seen.add(id(value))
        entries = _entries(value)
        if entries is None:
            continue
        found = _Dict(where, entries, depth, beside)
        yield found
        for name, inner in entries.items():
            # Cut, as the name of one that holds thousands stands before each of theirs.
            way = (f"{where}/{name[:_LONGEST]}" if where else name)[:_LONGEST]
            waiting.append((inner, way, depth + 1, (found, name)))


def _entries(value: Any) -> Mapping[str, Any] | None:
    """Return what a value holds by text; None for what is no dict and no list."""
    if isinstance(value, Call):
        value = value.entries or None
    match value:
        case dict():
            return {_text(name): inner for name, inner in value.items()}
        case list() | tuple():
            return {str(number): inner for number, inner in enumerate(value)}
    return None


def _text(name: Any) -> str:
    match name:
        case str():
            return name
        case Call(_, (int() | float() as number,)):
            return str(number)[:100]
        case Name(text) | Call(text):
            return text
    return "?"


def _beside(found: _Dict) -> Iterator[str]:
    while found.beside:
        outer, own = found.beside
        for name in outer.entries:
            if name != own:
                yield f"{outer.where}/{name}" if outer.where else name
        found = outer


def _kind(value: Any) -> str:
    if isinstance(value, Name):
        return value.text
    name = value.name if isinstance(value, Call) else type(value).__name__
    return f"{'an' if name[:1] in 'aeiou' else 'a'} {short(name)[1:-1]}"


def _outline(where: str, tensors: Mapping[str, Any]) -> str:
    inside = f" in {short(where)}" if where else ""
    return f"{len(tensors):,} tensors{inside}: {listed(tensors, most=3)}"


def _without_tensors(root: Any) -> str:
    entries = _entries(root)
    if entries is None:
        return f"{_kind(root)} and no dict"
    return f"no tensors, but {listed(entries) or 'an empty dict'}"
