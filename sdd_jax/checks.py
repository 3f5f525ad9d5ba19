"""Numbers and classes that a person hands in: refused where they make no sense.

The values of arrays that `jax.jit` traces are not there to be looked at: of those, only
the type and the shape are checked. Whoever takes classes gives NaN there for a class
that does not exist, never another's values.
"""

import dataclasses
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sdd_jax.errors import InputError

MOST = 2**31 - 1  # int32, which JAX counts in
LARGEST = float(np.finfo(np.float32).max)


@dataclasses.dataclass(frozen=True)
class Numbers:
    """The numbers a setting may be; `whole` and `real` make them."""

    low: int | float
    high: int | float
    is_whole: bool
    above: bool = False  # `low` itself is none of them
    below: bool = False  # `high` itself is none of them

    def __contains__(self, value: Any) -> bool:
        """Return whether a value is such a number; True and False are none."""
        kind = numbers.Integral if self.is_whole else numbers.Real
        if not isinstance(value, kind) or isinstance(value, bool):
            return False
        number: Any = value
        is_inside = self.low <= number <= self.high  # false for NaN
        is_end = number == self.low and self.above or number == self.high and self.below
        return is_inside and not is_end

    def __str__(self) -> str:
        """Return the numbers in words."""
        what = "a whole number" if self.is_whole else "a number"
        low, high = (
            f"{end:.0f}" if end == int(end) < 1e10 else f"{end:.3g}"
            for end in (self.low, self.high)
        )
        if self.above and self.below:
            return f"{what} between {low} and {high}, both excluded"
        start = f"above {low} and" if self.above else f"from {low}"
        if self.below:
            return f"{what} {start} up to but not including {high}"
        return f"{what} {start} {'up ' if self.above else ''}to {high}"


def whole(low: int, high: int = MOST) -> Numbers:
    """Return the whole numbers from `low` to `high`."""
    return Numbers(low, high, is_whole=True)


def real(
    low: int | float,
    high: int | float = LARGEST,
    *,
    above: bool = False,
    below: bool = False,
) -> Numbers:
    """Return the numbers from `low` to `high`, or above the one and below the other."""
    return Numbers(low, high, is_whole=False, above=above, below=below)


SEED = whole(0, 2**32 - 1)  # what NumPy, JAX and Grain all take


def require(value: Any, allowed: Numbers, name: str) -> None:
    """Raise InputError where a value is none of the allowed numbers."""
    if value not in allowed:
        raise InputError(f"{name} is {value!r}, expected {allowed}")


def require_places(places: Sequence[Any], length: int, name: str) -> None:
    """Raise InputError where a place is not in a sequence; none counts from the end."""
    allowed = whole(0, length - 1)
    for place in places:
        if place not in allowed:
            raise InputError(
                f"{name} {place!r} was asked for, but there are {length}: expected "
                f"{allowed}"
            )


def require_names(names: Sequence[str], known: Mapping[str, Any], kind: str) -> None:
    """Raise InputError where a name is not known or stands twice, or there is none.

    Args:
        names: as somebody listed them.
        known: all that there are, by name.
        kind: what one of them is called, for the errors.
    """
    if isinstance(names, str):
        raise InputError(f"the {kind}s are {names!r}, one text: expected ({names!r},)")
    if not names or len(set(names)) < len(names):
        raise InputError(
            f"the {kind}s are {', '.join(names) or 'none'}: expected at least one, "
            f"each once"
        )
    for name in names:
        if name not in known:
            raise InputError(
                f"unknown {kind} {name!r}: expected one of {', '.join(known)}"
            )


def classes(
    values: Any, num_classes: int | None, name: str, shape: tuple[int | None, ...]
) -> jax.Array:
    """Return classes as an array, if each of them is one.

    Args:
        values: whole numbers: a list, or an array of NumPy or JAX.
        num_classes: how many there are; None where nobody can tell.
        name: what the caller knows them by, for the errors.
        shape: theirs; None where any length will do.

    Raises:
        InputError: they are no whole numbers, of another shape, or one is below 0 or
            beyond the last class.
    """
    array = values if isinstance(values, jax.Array) else np.asarray(values)
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise InputError(
            f"{name} are {array.dtype}, expected classes: whole numbers, such as int32"
        )
    fits = len(array.shape) == len(shape) and all(
        size in (None, length) for size, length in zip(shape, array.shape, strict=True)
    )
    if not fits:
        sizes = ", ".join("any" if size is None else str(size) for size in shape)
        raise InputError(f"{name} are of shape {array.shape}, expected ({sizes})")
    if not isinstance(array, jax.core.Tracer):
        known = np.asarray(array)
        last = MOST if num_classes is None else num_classes - 1
        wrong = np.argwhere((known < 0) | (known > last))
        if len(wrong):
            place = tuple(wrong[0].tolist())
            where = ", ".join(map(str, place))
            raise InputError(
                f"{name}[{where}] is {known[place]}, expected a class from 0 to {last}"
            )
    return jnp.asarray(array, jnp.int32)


def are_classes(values: jax.Array, num_classes: int) -> jax.Array:
    """Return where whole numbers are classes; for use under `jax.jit`."""
    return (values >= 0) & (values < num_classes)
