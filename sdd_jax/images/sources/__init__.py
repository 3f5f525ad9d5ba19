"""Where images come from: one module a source, and how their files are found."""

from types import ModuleType

from sdd_jax.images.sources import (
    facescrub,
    folder,
    lfw,
    orl,
    prepared,
    synthetic,
    tfds,
)

# All but `planted`, which draws marks into the images of these.
MODULES: dict[str, ModuleType] = {
    "orl": orl,
    "folder": folder,
    "facescrub": facescrub,
    "lfw": lfw,
    "prepared": prepared,
    "tfds": tfds,
    "synthetic": synthetic,
}
