"""Where images come from: one module a source, and how their files are found."""

from types import ModuleType

from sdd_jax.errors import InputError
from sdd_jax.images.sources import (
    facescrub,
    folder,
    lfw,
    orl,
    prepared,
    synthetic,
    tfds,
)

# All but `planted` and `shortcut`, which draw marks into the images of these.
MODULES: dict[str, ModuleType] = {
    "orl": orl,
    "folder": folder,
    "facescrub": facescrub,
    "lfw": lfw,
    "prepared": prepared,
    "tfds": tfds,
    "synthetic": synthetic,
}


def source(of: str) -> ModuleType:
    """Return the module of a source whose images another one takes.

    Raises:
        InputError: There is no such source.
    """
    if of not in MODULES:
        raise InputError(
            f"unknown data.of {of!r}: expected one of {', '.join(MODULES)}"
        )
    return MODULES[of]
