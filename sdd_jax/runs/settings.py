"""What every setting of a config may be: one table, and the check against it.

Every mode checks the whole config before it computes or writes anything. What two
settings mean together, such as shares that leave nothing to train on, and which of
several words there are, is checked where it is used.
"""

import copy
import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from sdd_jax import images
from sdd_jax.checks import SEED, Numbers, real, whole
from sdd_jax.errors import InputError
from sdd_jax.faithfulness.ranks import FRACTION
from sdd_jax.faithfulness.statistics import NUM_RESAMPLES
from sdd_jax.images.sources import facescrub, planted, shortcut
from sdd_jax.models.classifier import BACKBONES, backbone_options
from sdd_jax.models.dlib_resnet import BLOCKS
from sdd_jax.saliency.sdd import FACTOR
from sdd_jax.training.losses import SMOOTHING


@dataclasses.dataclass(frozen=True)
class Words:
    """Settings that are no numbers."""

    kind: type
    what: str  # in words

    def __contains__(self, value: Any) -> bool:
        """Return whether a value is such a setting; a list of texts is as a tuple."""
        if self.kind is tuple:
            return isinstance(value, tuple | list) and all(
                isinstance(item, str) for item in value
            )
        return isinstance(value, self.kind)

    def __str__(self) -> str:
        """Return what is expected, in words."""
        return self.what


FLAG = Words(bool, "True or False")
TEXT = Words(str, "a text")
NAMES = Words(tuple, "a list of names, such as sdd,cam or black")

BATCH = whole(1, 2**20)
SHARE = real(0, 1)
# Of float32's numbers, so that an overflow is of the network, not of the setting.
RATE = real(0)

SETTINGS: Mapping[str, Numbers | Words] = {
    "seed": SEED,
    "compute_dtype": TEXT,
    # Of the sources of images; `images.SOURCES` says which takes what.
    "data.source": TEXT,
    "data.root": TEXT,
    "data.name": TEXT,
    "data.data_dir": TEXT,
    "data.tfds_split": TEXT,
    "data.image_key": TEXT,
    "data.label_key": TEXT,
    "data.num_train": whole(1, 9),
    "data.num_validation": whole(0, 8),
    "data.validation_fraction": real(0, 1, below=True),
    "data.test_fraction": real(0, 1, above=True, below=True),
    "data.max_skipped": SHARE,
    "data.margin": facescrub.MARGINS,
    "data.crop": real(0, 1, above=True),
    "data.min_images": whole(1),
    "data.num_identities": whole(2),
    "data.num_images": whole(3),
    "data.of": TEXT,
    "data.num_pairs": whole(0),
    "data.num_fours": whole(0),
    "data.strength": planted.STRENGTH,
    "data.num_marked": whole(2),
    "data.share": shortcut.SHARE,
    "data.detail": whole(0),
    "data.groups": TEXT,  # of any source
    # Of the backbones; `models.classifier.BACKBONES` says which takes what.
    "model.backbone.name": TEXT,
    "model.backbone.arch": TEXT,
    "model.backbone.dtype": TEXT,
    "model.backbone.num_blocks": whole(1, len(BLOCKS)),
    "model.pretrained": TEXT,
    "train.parts": TEXT,
    "train.loss": TEXT,
    "train.steps": whole(1),
    "train.batch_size": BATCH,
    "train.remat": FLAG,
    "train.divide_head": FLAG,
    "train.warmup_fraction": real(0, 1, below=True),
    # A fresh head starts at zero: at a rate of 0 nothing would ever be learnt.
    "train.head_learning_rate": real(0, above=True),
    "train.backbone_learning_rate": RATE,
    "train.weight_decay": RATE,
    "train.clip_norm": real(0, above=True),
    "train.label_smoothing": SMOOTHING,
    "train.update_batch_stats": FLAG,
    "train.augmentation.mirror": SHARE,
    "train.augmentation.max_shift": whole(0, 10_000),
    "train.augmentation.max_gain": SHARE,
    "train.augmentation.masking": SHARE,
    "train.augmentation.max_masked": SHARE,
    "train.guidance.masks": TEXT,
    "train.guidance.parts": NAMES,
    "train.guidance.inside": FLAG,
    "train.guidance.cam_energy": RATE,
    "train.guidance.sdd_energy": RATE,
    "train.guidance.sdd_weighted": RATE,
    "train.guidance.detach": FLAG,
    "train.guidance.erase": RATE,
    "train.guidance.consistency": RATE,
    "train.guidance.fraction": FRACTION,
    "train.guidance.input_gradients": RATE,
    "train.guidance.every": whole(1),
    "train.guidance.group_dro": RATE,
    "train.guidance.painted": SHARE,
    "train.validate_every": whole(1),
    "train.log_every": whole(1),
    "train.cache_images": FLAG,
    # 1 is for who compares no classes: SDD itself asks for 2.
    "saliency.sdd.num_classes_compared": whole(1),
    "saliency.sdd.centre": FLAG,
    "saliency.sdd.scale": FACTOR,
    "saliency.sdd.amplification": FACTOR,
    "saliency.sdd.upsample_first": FLAG,
    "saliency.cam.centre": FLAG,
    "saliency.rise.num_masks": whole(1),
    "saliency.kernel_shap.num_samples": whole(2),
    "explain.images": TEXT,
    "explain.output": TEXT,
    "explain.split": TEXT,
    "explain.num_images": whole(0),
    "explain.methods": NAMES,
    "explain.fraction": FRACTION,
    "explain.batch_size": BATCH,
    "explain.seed": SEED,
    "eval.split": TEXT,
    "eval.methods": NAMES,
    "eval.fills": NAMES,
    "eval.fraction": FRACTION,
    "eval.batch_size": BATCH,
    "eval.num_resamples": NUM_RESAMPLES,
    "eval.seed": SEED,
    "compare.split": TEXT,
    "compare.methods": NAMES,
    "compare.reference": TEXT,
    "compare.mean_map_of": TEXT,
    "compare.curves": NAMES,
    "compare.fills": NAMES,
    "compare.fraction": FRACTION,
    "compare.num_images": whole(0),
    "compare.costly": real(0),
    "compare.num_costly": whole(1),
    "compare.num_shown": whole(1, 1000),
    "compare.num_squares": whole(1, 10_000),
    "compare.num_shifts": whole(1, 1000),
    "compare.batch_size": BATCH,
    "compare.num_resamples": NUM_RESAMPLES,
    "compare.seed": SEED,
    "sanity.split": TEXT,
    "sanity.methods": NAMES,
    "sanity.threshold": real(-1, 1),
    "sanity.num_images": whole(0),
    "sanity.costly": real(0),
    "sanity.num_costly": whole(1),
    "sanity.batch_size": BATCH,
    "sanity.num_resamples": NUM_RESAMPLES,
    "sanity.seed": SEED,
    "ablate.split": TEXT,
    "ablate.parameters": NAMES,
    "ablate.curves": NAMES,
    "ablate.fills": NAMES,
    "ablate.fraction": FRACTION,
    "ablate.margin": real(0, 100),
    "ablate.num_images": whole(0),
    "ablate.batch_size": BATCH,
    "ablate.num_resamples": NUM_RESAMPLES,
    "ablate.seed": SEED,
    "planted.split": TEXT,
    "planted.methods": NAMES,
    "planted.reference": TEXT,
    "planted.mean_map_of": TEXT,
    "planted.batch_size": BATCH,
    "planted.num_resamples": NUM_RESAMPLES,
    "planted.seed": SEED,
    "revise.split": TEXT,
    "revise.method": TEXT,
    "revise.fraction": FRACTION,
    "revise.num_clusters": whole(1, 1000),
    "revise.num_shown": whole(1, 1000),
    "revise.term": TEXT,
    "revise.weight": real(0, above=True),
    "revise.steps": whole(1),
    "revise.batch_size": BATCH,
    "revise.num_resamples": NUM_RESAMPLES,
    "revise.seed": SEED,
    "lookalikes.split": TEXT,
    "lookalikes.methods": NAMES,
    "lookalikes.num_pairs": whole(2),
    "lookalikes.num_faces": whole(1),
    "lookalikes.batch_size": BATCH,
    "lookalikes.num_resamples": NUM_RESAMPLES,
    "lookalikes.seed": SEED,
    "verify.align": FLAG,
    "verify.pairs": TEXT,
    "verify.far": real(0, 1, above=True, below=True),
    "verify.batch_size": BATCH,
    "verify.num_resamples": NUM_RESAMPLES,
    "verify.seed": SEED,
    "explain_pair.probe": TEXT,
    "explain_pair.reference": TEXT,
    "explain_pair.gallery": TEXT,
    "explain_pair.largest": FLAG,
    "explain_pair.num_rivals": whole(1),
    "explain_pair.num_resamples": NUM_RESAMPLES,
    "explain_pair.seed": SEED,
    "identify.gallery": TEXT,
    "identify.images": TEXT,
    "identify.num_top": whole(1, 1000),
    "identify.threshold": real(-1, 1),
    "identify.align": FLAG,
    "identify.largest": FLAG,
    "identify.min_score": SHARE,
    "identify.batch_size": BATCH,
    "prove_pairs.methods": NAMES,
    "prove_pairs.people": TEXT,
    "prove_pairs.num_pairs": whole(1),
    "prove_pairs.num_games": whole(1),
    "prove_pairs.fills": NAMES,
    "prove_pairs.fraction": FRACTION,
    "prove_pairs.num_fractions": whole(1, 20),
    "prove_pairs.alike_to": TEXT,
    "prove_pairs.different_to": TEXT,
    "prove_pairs.costly": real(0),
    "prove_pairs.num_costly": whole(2),
    "prove_pairs.batch_size": BATCH,
    "prove_pairs.num_resamples": NUM_RESAMPLES,
    "prove_pairs.seed": SEED,
}
# None stands for the usual: as trained, the package's own folder, adaptive, measured,
# where memory asks for it.
MAY_BE_NONE = frozenset(
    {"compute_dtype", "data.data_dir", "saliency.sdd.scale", "train.divide_head"}
    | {"saliency.sdd.amplification", "identify.threshold"}
)
# What a command line may say.
_FLAGS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
# What only some sources, backbones or methods take, and what then has a default.
OPTIONAL = ("data.", "model.backbone.", "saliency.", "explain.output")


def check(config: Mapping[str, Any]) -> None:
    """Raise InputError at the first setting that is wrong, unknown or missing.

    Options of a saliency method that the table does not name are the method's own.
    """
    given = flat(config)
    sections = {section_of(name) for name in SETTINGS}
    for name, value in given.items():
        if name in SETTINGS:
            if value in SETTINGS[name] or value is None and name in MAY_BE_NONE:
                continue
            none = " or None" if name in MAY_BE_NONE else ""
            raise InputError(
                f"{name} is {value!r}, expected {SETTINGS[name]}{none}; pass "
                f"--config.{name}=..."
            )
        if name in sections:
            if isinstance(value, Mapping):  # empty
                continue
            raise InputError(
                f"{name} is {value!r}, expected a section of settings, such as "
                f"{name}.{_settings_in(name)[0]}"
            )
        if section_of(name) in sections:
            raise unknown(name, SETTINGS)
    for name in SETTINGS:
        if name not in given and not name.startswith(OPTIONAL):
            raise InputError(
                f"the config has no {name}: expected {SETTINGS[name]}; configs/orl.py "
                f"has all settings"
            )


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by their dotted names; an empty section is one of them."""
    found = {}
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


def section_of(name: str) -> str:
    """Return what a dotted name stands in, "" at the top."""
    return name.rpartition(".")[0]


def optional(config: Mapping[str, Any]) -> list[str]:
    """Return the settings that the config's source and backbone take."""
    names = []
    source, backbone = config["data"]["source"], config["model"]["backbone"]["name"]
    if source in images.SOURCES:
        names += [f"data.{x}" for x in images.options_of(config["data"])]
    if backbone in BACKBONES:
        names += [f"model.backbone.{x}" for x in backbone_options(backbone)]
    return [name for name in names if is_optional(name)]


def is_optional(name: str) -> bool:
    """Return whether a setting may stand in a config or not."""
    return name in SETTINGS and name.startswith(OPTIONAL)


def replaced(config: Mapping[str, Any], texts: Mapping[str, str]) -> dict[str, Any]:
    """Return a config with settings as a command line has them; `check` judges them."""
    config = copy.deepcopy(dict(config))
    for name, text in texts.items():
        *path, last = name.split(".")
        section = config
        for part in path:
            section = section.setdefault(part, {})
        section[last] = _value(name, text)
    return config


def is_flag(name: str) -> bool:
    """Return whether a setting is True or False."""
    return SETTINGS.get(name) is FLAG


def is_judged(name: str) -> bool:
    """Return whether not every text is such a setting: of numbers, flags and lists."""
    return isinstance(SETTINGS.get(name), Numbers) or SETTINGS.get(name) in (
        FLAG,
        NAMES,
    )


def _value(name: str, text: str) -> Any:
    allowed = SETTINGS[name]
    if text.lower() == "none" and name in MAY_BE_NONE:
        return None
    if is_flag(name):
        return _FLAGS.get(text.lower(), text)
    if allowed is NAMES:  # "sdd,cam", or as Python has it: "('sdd', 'cam')"
        names = (item.strip(" '\"") for item in text.strip().strip("()[]").split(","))
        return tuple(name for name in names if name)
    if isinstance(allowed, Numbers):
        try:
            return int(text) if allowed.is_whole else float(text)
        except ValueError:
            return text
    return text


def unknown(name: str, known: Iterable[str], kind: str = "setting") -> InputError:
    """Return the error that names what is nearest to a name that nobody knows."""
    known = sorted(set(known))
    section, _, last = name.rpartition(".")
    beside = {x.rpartition(".")[2]: x for x in known if section_of(x) == section}
    near = [beside[x] for x in difflib.get_close_matches(last, beside)]
    if not beside:  # the section is misspelt
        near = difflib.get_close_matches(name, known)
    near = near or [other for other in known if other.endswith(f".{last}")]
    if near:
        return InputError(
            f"there is no {kind} called {name}: did you mean {' or '.join(near)}?"
        )
    others = beside.values() or {other.partition(".")[0] for other in known}
    return InputError(
        f"there is no {kind} called {name}: expected one of {', '.join(sorted(others))}"
    )


def _settings_in(section: str) -> list[str]:
    start = f"{section}." if section else ""
    return [name[len(start) :] for name in SETTINGS if name.startswith(start)]
