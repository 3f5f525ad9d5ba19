"""Which of a file's tensors are the network: the way to them, and their common prefix.

A network is found by its first layer, whatever dicts and prefixes it lies under. What
PyTorch's wrappers add to names says nothing and is left out; the prefix that remains
says the colour order where it is a published container's. Of several networks in a
file, such as a model and the running average of its weights, one is taken only if they
are equal, or if it is asked for by name.
"""

import collections
import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from sdd_jax.errors import InputError
from weights_conversion.adaface_names import CONTAINERS, COUNTER, FIRST
from weights_conversion.parts import MOST_PARTS, Contents, Part, listed
from weights_conversion.torch_tensors import short

# DataParallel and DistributedDataParallel, torch.compile, FSDP, checkpointing.
_WRAPPERS = (
    "module",
    "_orig_mod",
    "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
)
_INSIDE = rf"\.(?:(?:{'|'.join(_WRAPPERS)})\.)*"
_FIRST = re.compile(rf"(|.*\.){_INSIDE.join(map(re.escape, FIRST.split('.')))}", re.S)


@dataclasses.dataclass(frozen=True)
class Network:
    """A network of a file by its published keys, and what else is there."""

    name: str  # "dicts/on/the/way/prefix"; what --part calls it
    prefix: str  # without wrappers
    tensors: dict[str, np.ndarray]
    others: dict[str, str]  # what is no tensor among its keys
    near: dict[str, np.ndarray]  # the other tensors in its dict
    beside: tuple[str, ...]  # all else in the file

    @property
    def colour_order(self) -> str | None:
        """What it was trained on, where the container says it."""
        return CONTAINERS.get(self.prefix)


def may_hold_one(names: Iterable[str]) -> bool:
    """Return whether a dict with tensors of these names may hold a network."""
    return any(_FIRST.fullmatch(name) for name in names)


def find(contents: Contents, part: str | None) -> tuple[Network, tuple[str, ...]]:
    """Return the network, and the names of others in the file that are equal to it.

    Args:
        contents: of the file.
        part: the name of the one to take, or None where the file leaves no choice.

    Raises:
        InputError: there is none, or no such one, or there are several that differ.
    """
    found = [network for each in contents.parts for network in _networks_in(each)]
    names = listed([network.name for network in found])
    if not found:
        raise InputError(
            f"found no first layer, expected {FIRST!r} under any prefix: it is no IR "
            f"network of AdaFace; it holds {contents.outline}"
        )
    if part is not None:
        chosen = [network for network in found if network.name == part]
        if len(chosen) != 1:
            raise InputError(f"found no part {part!r}: it holds {names}")
        return chosen[0], ()
    says = [network for network in found if network.colour_order]
    chosen = (says or found)[0]
    others = [network for network in found if network is not chosen]
    if not all(_are_equal(chosen, network) for network in others):
        raise InputError(
            f"found {len(found)} IR networks that differ, {names}: choose one: "
            f"python -m weights_conversion --part={short(chosen.name)}"
        )
    return chosen, tuple(network.name for network in others)


def summary(names: Iterable[str]) -> Iterator[str]:
    """Yield names, those of one beginning as one with their number."""
    groups = collections.Counter(name.partition(".")[0] for name in names)
    for name, count in groups.items():
        yield f"{name} ({count:,} tensors)" if count > 1 else name


def unwrapped(name: str) -> str:
    """Return a name without what PyTorch's wrappers add."""
    return ".".join(each for each in name.split(".") if each not in _WRAPPERS)


def _networks_in(part: Part) -> Iterator[Network]:
    matches = filter(None, map(_FIRST.fullmatch, part.tensors))
    prefixes = sorted({match[1] for match in matches}, key=len)
    if len(prefixes) > MOST_PARTS:
        raise InputError(
            f"found {len(prefixes):,} networks, expected one: save it alone"
        )
    for prefix in prefixes:
        longer = tuple(p for p in prefixes if len(p) > len(prefix))
        own = {
            name: tensor
            for name, tensor in part.tensors.items()
            if name.startswith(prefix) and not name.startswith(longer)
        }
        way = [part.where, prefix.removesuffix(".")]
        others = {
            unwrapped(name.removeprefix(prefix)): kind
            for name, kind in part.others.items()
            if name.startswith(prefix)
        }
        yield Network(
            "/".join(filter(None, way)) or ".",
            unwrapped(prefix),
            _by_key(own, prefix),
            others,
            {name: x for name, x in part.tensors.items() if name not in own},
            (*part.beside, *part.others),
        )


def _by_key(tensors: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    keys: dict[str, str] = {}
    for name in tensors:
        first = keys.setdefault(unwrapped(name.removeprefix(prefix)), name)
        if first != name:
            raise InputError(
                f"found {short(first)} and {short(name)}, which are one and the same "
                f"but for PyTorch's wrappers: it is no IR network of AdaFace"
            )
    return {key: tensors[name] for key, name in keys.items()}


def _are_equal(a: Network, b: Network) -> bool:
    if {a.colour_order, b.colour_order} == {"RGB", "BGR"}:
        return False
    mine, theirs = (
        {key: x for key, x in each.tensors.items() if not key.endswith(COUNTER)}
        for each in (a, b)
    )
    return mine.keys() == theirs.keys() and all(
        (x.dtype, x.shape) == (theirs[key].dtype, theirs[key].shape)
        and x.tobytes() == theirs[key].tobytes()  # also where it is not a number
        for key, x in mine.items()
    )
