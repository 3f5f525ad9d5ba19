"""Imports point one way."""

import ast
import graphlib
import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BASE = {"types", "errors", "checks", "keys", "files", "screen", "cli", "distributed"}
# Which parts of sdd_jax each part may import, besides itself.
MAY_IMPORT = {
    "__init__": set(),
    "types": {"checks"},
    "errors": set(),
    "checks": {"errors"},
    "keys": set(),
    "screen": set(),
    "files": {"errors", "screen"},
    "cli": {"errors", "screen"},
    "supervision": {"screen"},
    "distributed": {"errors"},
    "launch": {"checks", "cli", "distributed", "errors", "screen", "supervision"},
    "sharding": BASE,
    "trees": set(),
    "checkpoints": BASE | {"trees"},
    "images": BASE,
    "models": BASE | {"sharding", "checkpoints", "trees"},
    "saliency": BASE | {"models"},
    "pair_saliency": BASE | {"models", "saliency"},
    "faithfulness": BASE,
    "sdd_jax.faithfulness.study": BASE | {"saliency"},  # it joins the two
    "verification": BASE | {"faithfulness"},
    "enroll": BASE | {"launch", "sharding", "runs"},
    "reports": BASE,
    "training": BASE
    | {"sharding", "checkpoints", "models", "saliency", "faithfulness"},
    "runs": BASE
    | {"sharding", "checkpoints", "images", "models", "saliency", "pair_saliency"}
    | {"faithfulness", "verification", "reports", "training"},
}
# Inside images, each may import itself and what stands before it; the modules not named
# here (decoding, pipeline, ...) stand first.
IMAGES = ["splitting", "sources", "alignment", "regions"] + [
    "__init__",
    "align",
    "prepare",
]
NEVER = {"absl", "configs", "ml_collections", "tensorflow", "main", "tests"}
# What only one part may import.
ONLY_FROM = {"orbax": "checkpoints", "weights_conversion": "runs"}


def imported_modules(source: str, package: str) -> list[str]:
    """Return the full names; of `from a import b`, both a and a.b."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            relative = "." * node.level + (node.module or "")
            parent = importlib.util.resolve_name(relative, package)
            names += [parent, *(f"{parent}.{alias.name}" for alias in node.names)]
    return names


def level_in_images(name: str) -> int:
    """Return the place in IMAGES of a module of sdd_jax.images, or -1."""
    inner = (name.split(".") + [""])[2]
    return IMAGES.index(inner) if inner in IMAGES else -1


def violations(module: str, source: str) -> list[str]:
    """Return the imports that a module of sdd_jax must not have."""
    part = module.split(".")[1]
    found = []
    for name in imported_modules(source, module.rpartition(".")[0]):
        top, *rest = name.split(".")
        if top == "sdd_jax":
            allowed = MAY_IMPORT.get(module, MAY_IMPORT[part]) | {part, ""}
            # Of `from sdd_jax import x`, only sdd_jax.x says which part it is.
            is_wrong = (rest or [""])[0] not in allowed or (
                rest[:1] == [part] == ["images"]
                and level_in_images(name) > level_in_images(module)
            )
        else:
            is_wrong = top in NEVER or ONLY_FROM.get(top, part) != part
        if is_wrong:
            found.append(name)
    return found


def circle(sources: dict[str, str]) -> list[str]:
    """Return modules that import each other all the way round, or none.

    Args:
        sources: the text of each module; a package's is called PACKAGE.__init__.
    """
    graph = {}
    for module, source in sources.items():
        names = imported_modules(source, module.rpartition(".")[0])
        name = module.removesuffix(".__init__")
        # `from . import x` names the package itself.
        graph[name] = {other for other in names if other != name}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


def sources_in(folder: str) -> dict[str, str]:
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path.read_text()
        for path in (ROOT / folder).rglob("*.py")
    }


def modules():
    paths = sorted((ROOT / "sdd_jax").rglob("*.py"))
    return [".".join(p.relative_to(ROOT).with_suffix("").parts) for p in paths]


@pytest.mark.parametrize("module", modules())
def test_imports_point_one_way(module):
    source = (ROOT / module.replace(".", "/")).with_suffix(".py").read_text()
    assert not violations(module, source)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("sdd_jax.types", "from sdd_jax.errors import InputError"),
        ("sdd_jax.sharding", "from sdd_jax import images"),
        ("sdd_jax.images.sources.orl", "from sdd_jax.models.classifier import build"),
        ("sdd_jax.models.heads", "import sdd_jax.saliency.sdd as sdd"),
        ("sdd_jax.models.heads", "from ..runs import train"),
        ("sdd_jax.saliency.cam", "def f():\n    from sdd_jax import runs"),
        ("sdd_jax.faithfulness.ranks", "from sdd_jax.models import FaceClassifier"),
        ("sdd_jax.faithfulness.ranks", "from sdd_jax.saliency import METHODS"),
        ("sdd_jax.faithfulness.study", "from sdd_jax.models import FaceClassifier"),
        ("sdd_jax.reports.page", "import sdd_jax.images"),
        ("sdd_jax.training.step", "from sdd_jax import reports"),
        ("sdd_jax.runs.train", "from orbax.checkpoint import v1 as ocp"),
        ("sdd_jax.runs.train", "from absl import flags"),
        ("sdd_jax.runs.train", "import configs.orl"),
        ("sdd_jax.images.sources.tfds", "import tensorflow as tf"),
        ("sdd_jax.images.decoding", "from sdd_jax.images.sources import listing"),
        ("sdd_jax.images.splitting.splits", "from sdd_jax.images import sources"),
        ("sdd_jax.images.sources.folder", "from sdd_jax.images import alignment"),
        ("sdd_jax.images.sources.folder", "from sdd_jax.images import prepare"),
        ("sdd_jax.models.classifier", "import weights_conversion.dlib"),
    ],
)
def test_a_planted_violation_is_found(module, source):
    assert violations(module, source)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("sdd_jax.checkpoints", "from orbax.checkpoint import v1 as ocp"),
        ("sdd_jax.saliency.sdd", "from sdd_jax.saliency.class_maps import upsample"),
        ("sdd_jax.saliency.cam", "from . import class_maps"),
        ("sdd_jax.faithfulness.study", "from sdd_jax import saliency"),
        ("sdd_jax.models.classifier", "from sdd_jax import checkpoints, sharding"),
        ("sdd_jax.runs.train", "from weights_conversion import dlib"),
        ("sdd_jax.runs.train", "from sdd_jax import saliency, training"),
        ("sdd_jax.images.sources.tfds", "import tensorflow_datasets as tfds"),
        ("sdd_jax.images.sources.folder", "from sdd_jax.images import decoding"),
        ("sdd_jax.images.sources.lfw", "from ..splitting.splits import splits_of"),
        ("sdd_jax.images.align", "from sdd_jax.images import alignment, preprocess"),
    ],
)
def test_an_import_in_the_right_direction_is_not(module, source):
    assert not violations(module, source)


def test_weights_conversion_knows_only_models_and_what_they_stand_on():
    allowed = BASE | {"models", "checkpoints"}
    for path in (ROOT / "weights_conversion").glob("*.py"):
        for name in imported_modules(path.read_text(), "weights_conversion"):
            top, *rest = name.split(".")
            assert top not in NEVER | {"orbax"}
            assert top != "sdd_jax" or not rest or rest[0] in allowed


def test_the_benchmarks_import_each_other_in_no_circle():
    sources = sources_in("benchmarks")
    assert {"benchmarks.__init__", "benchmarks.kernels.convolutions"} <= sources.keys()
    assert not circle(sources)


@pytest.mark.parametrize(
    "sources",
    [
        {"b.x": "from b import y", "b.y": "def f():\n    import b.x"},
        {
            "b.x": "from b.y import f",
            "b.y": "from . import z",
            "b.z": "from .x import g",
        },
        {"b.__init__": "from b import x", "b.x": "from b import y", "b.y": ""},
    ],
)
def test_a_planted_circle_is_found(sources):
    assert circle(sources)


def test_what_two_modules_import_is_no_circle():
    assert not circle({"b.x": "from b import y, z", "b.y": "import b.z", "b.z": ""})
