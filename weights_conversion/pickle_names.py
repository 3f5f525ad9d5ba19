"""Which names the pickle of a file of weights may hold.

Nothing that a pickle names is ever looked up, so no name is a danger here. But files
travel, and other programs do run them: one that names what no trainer writes is refused
by that name. A name is "module.name"; what is known about it depends on its package:

- Python's own library starts programs, reads code and removes files. Only its plain
  types are taken.
- Any other package may be the trainer's own. Its names may stand in a file, and objects
  may be made of its classes, which Python writes with a capital letter. A function of
  it may not be called, unless it is one that PyTorch and NumPy write tensors, arrays
  and numbers with, or it belongs to a package that trainers keep their state with.
"""

import sys
from _compat_pickle import IMPORT_MAPPING

_PLAIN_TYPES = {
    f"{module}.{name}"
    for module, names in {
        "builtins": "bool bytearray bytes complex dict float frozenset getattr int "
        "list long object range set slice str tuple type unicode xrange",
        "_codecs": "encode",
        "_operator": "getitem",
        "argparse": "Namespace",
        "array": "array _array_reconstructor",
        "collections": "ChainMap Counter OrderedDict UserDict UserList UserString "
        "IterableUserDict defaultdict deque",
        "copyreg": "_reconstructor __newobj__",
        "datetime": "date datetime time timedelta timezone",
        "decimal": "Decimal",
        "enum": "Enum Flag IntEnum IntFlag StrEnum",
        "fractions": "Fraction",
        "functools": "partial",
        "itertools": "count",
        "logging": "getLogger Logger",
        "operator": "getitem",
        "pathlib": "Path PosixPath WindowsPath PurePath PurePosixPath PureWindowsPath",
        "re": "_compile",
        "types": "SimpleNamespace",
        "typing": "Any Callable Dict List Literal Optional Sequence Tuple Type Union",
        "uuid": "SafeUUID UUID",
        "zoneinfo": "ZoneInfo",
    }.items()
    for name in names.split()
}
_FUNCTIONS = {
    f"{module}.{name}"
    for module, names in {
        "torch": "device",
        "torch._tensor": "_rebuild_from_type_v2",
        "torch.serialization": "_get_layout",
        "numpy": "dtype ndarray bool bool_ str_ bytes_ int8 int16 int32 int64 uint8 "
        "uint16 uint32 uint64 float16 float32 float64 complex64 complex128 datetime64 "
        "timedelta64",
        "numpy.core.multiarray": "scalar _reconstruct",
        "numpy._core.multiarray": "scalar _reconstruct",
        "numpy.core.numeric": "_frombuffer",
        "numpy._core.numeric": "_frombuffer",
    }.items()
    for name in names.split()
}
_FAMILIES = (
    "pytorch_lightning.",
    "lightning.",
    "lightning_fabric.",
    "lightning_utilities.",
    "numpy.random.",
    "omegaconf.",
    "torch._utils._rebuild_",
    "torch.optim.",
    "torchmetrics.",
)
# A name can reach another module through one that imports it: "some.package.os.system".
_STARTERS = {"builtins", "ctypes", "importlib", "nt", "os", "pickle", "posix", "runpy"}
_STARTERS |= {"shutil", "subprocess", "sys"}


def may_stand(name: str) -> bool:
    """Return whether a file of weights may hold a name."""
    if (plain := _in_pythons_library(name)) is not None:
        return plain in _PLAIN_TYPES
    return _STARTERS.isdisjoint(name.split(".")) and name.isprintable()


def may_be_called(name: str) -> bool:
    """Return whether a file of weights may hold what a name would return.

    Args:
        name: one that may stand there.
    """
    is_class = name.rpartition(".")[2].lstrip("_")[:1].isupper()
    known = name in _FUNCTIONS or name.startswith(_FAMILIES)
    return is_class or known or _in_pythons_library(name) is not None


def _in_pythons_library(name: str) -> str | None:
    """Return the name that Python 3 has for it, or None in another package."""
    module, _, rest = name.partition(".")
    module = IMPORT_MAPPING.get(module, module)  # as Python 2 called it
    if module not in sys.stdlib_module_names:
        return None
    # Python 3.13's pathlib is a package of which this is the inside.
    return f"{module}.{rest.removeprefix('_local.')}"
