"""1. Image files -> batches of uint8 RGB, [batch, height, width, 3].

A source is a module with two functions. `splits(*, image_size, seed, record, ...)`
returns the sets "train", "validation" (which may be empty) and "test", all three with
the same `names`; its other options are keywords of its own. A source of the user's own
files lists its images and leaves the rest to `splitting.splits.splits_of`, which
keeps the split in the folder `record`. `maker(...)` takes the same options, those that
it has no use for as well, and returns how the source makes an image of any file.
`planted` and `shortcut` are no sources of their own: they draw marks into the images of
another.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from sdd_jax.images.sources import MODULES, planted, shortcut
from sdd_jax.images.splitting.collection import Maker
from sdd_jax.types import ImageSet

_MODULES: dict[str, Any] = MODULES | {
    "planted": planted,
    "shortcut": shortcut,
}
SOURCES: dict[str, Callable[..., dict[str, ImageSet]]] = {
    name: module.splits for name, module in _MODULES.items()
}


def image_maker(data: Mapping[str, Any]) -> Maker:
    """Return what makes an image of any file as the data's own images are made.

    Args:
        data: A config's section: `source`, and the source's options.
    """
    options = dict(data)
    return _MODULES[options.pop("source")].maker(**options)


def options_of(data: Mapping[str, Any]) -> dict[str, inspect.Parameter]:
    """Return the options that a config's source takes, those of its `of` as well.

    Args:
        data: A config's section: `source`, a name in SOURCES, and options.
    """
    found = dict(inspect.signature(SOURCES[data["source"]]).parameters)
    for name in ("image_size", "seed", "record", "options"):  # not of the config
        found.pop(name, None)
    if "of" in found:
        of = data.get("of", found["of"].default)
        if of in MODULES:
            found |= options_of({"source": of})
    return found
