"""Who is who: one person's name is written in one way, however the files have it.

Two ways of comparing names:

`exact`  only Unicode's forms are the same: an ë of one character and an e with two dots
         put over it. Some systems write names in one form, some in the other.
`loose`  case, spaces, underscores and full-width letters make no difference, nor does
         what cannot be seen: `Zoë Fox`, `ZOË_FOX ` and `zoë  fox` are the same.
"""

import collections
import dataclasses
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence

from sdd_jax.images.splitting.collection import Collection, SourceImage


def exact(name: str) -> str:
    """Return a name in Unicode's composed form, NFC."""
    return unicodedata.normalize("NFC", name)


def loose(name: str) -> str:
    """Return what names have in common that differ in nothing that matters."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    seen = "".join(c for c in folded if unicodedata.category(c) != "Cf")
    return unicodedata.normalize("NFKC", re.sub(r"[\s_]+", " ", seen).strip())


def tidy(name: str) -> str:
    """Return a name with single spaces and no underscores, in the composed form."""
    return " ".join(exact(name).replace("_", " ").split())


def merged(
    names: Iterable[str],
    same: Callable[[str], str],
    written: Callable[[str], str],
    preferred: Iterable[str] = (),
) -> tuple[dict[str, str], list[str]]:
    """Return what each name becomes, and a note where several become one.

    Of a person's ways of writing the preferred one is kept, else the most frequent; of
    equals the first in order.

    Args:
        names: As the files have them, each as often as it comes.
        same: Gives the same text for names of one person.
        written: Makes a name as people are to see it.
        preferred: Names that are written as they should be.
    """
    counts = collections.Counter(names)
    first = _most_frequent(collections.Counter(preferred), same, written)
    kept = _most_frequent(counts, same, written) | first
    spellings = collections.defaultdict(list)
    for name in sorted(counts):
        spellings[same(name)].append(name)
    several = [
        f"{kept[key]} (written {', '.join(map(ascii, own))})"
        for key, own in spellings.items()
        if len(own) > 1
    ]
    notes = [f"names that are one person's: {some(several)}"] if several else []
    return {name: kept[same(name)] for name in counts}, notes


def _most_frequent(
    counts: collections.Counter[str],
    same: Callable[[str], str],
    written: Callable[[str], str],
) -> dict[str, str]:
    """Return each person's most frequent way of writing."""
    totals: dict[str, collections.Counter[str]] = {}
    for name, count in counts.items():
        totals.setdefault(same(name), collections.Counter())[written(name)] += count
    return {key: min(own, key=lambda n: (-own[n], n)) for key, own in totals.items()}


def with_one_form(images: Sequence[SourceImage]) -> Collection:
    """Return the images with their identities in one Unicode form, and what to say.

    Names that differ in anything else stay as they are.
    """
    name_of, notes = merged((p.identity for p in images), same=exact, written=exact)
    return Collection(
        [dataclasses.replace(p, identity=name_of[p.identity]) for p in images],
        notes=notes + lookalikes(name_of.values()),
    )


def lookalikes(names: Iterable[str]) -> list[str]:
    """Return a note on names that stay apart, but are probably one person's."""
    groups = collections.defaultdict(list)
    for name in sorted(set(names)):
        groups[loose(name)].append(ascii(name))
    alike = [" and ".join(own) for own in groups.values() if len(own) > 1]
    if not alike:
        return []
    return [
        "names that differ in case, spaces or underscores only stay apart, but are "
        f"probably one person's: {some(alike)}; call them the same to make them one"
    ]


def some(items: Sequence[str], most: int = 5) -> str:
    """Return the first few, and how many more there are."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more
