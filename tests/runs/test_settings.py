import inspect
import math

import pytest

from configs import (
    finetune,
    folder,
    lfw,
    orl,
    planted,
    smoke,
    verify,
    verify_lfw,
)
from sdd_jax import images
from sdd_jax.checks import Numbers
from sdd_jax.errors import InputError
from sdd_jax.models.classifier import BACKBONES
from sdd_jax.runs import evaluate, explain, settings, train

CONFIGS = {
    module.__name__: module.get_config().to_dict()
    for module in (orl, folder, finetune, lfw, planted, smoke, verify, verify_lfw)
}
NUMBERS = {
    name: allowed
    for name, allowed in settings.SETTINGS.items()
    if isinstance(allowed, Numbers)
}
# A source is given them, or has those of another as well.
NOT_OF_THE_CONFIG = {"image_size", "seed", "record", "options"}


def with_setting(name, value):
    return settings.replaced(CONFIGS["configs.orl"], {}) | nested(name, value)


def nested(name, value):
    """Return the changed section, whole."""
    section, *path = name.split(".")
    if not path:
        return {section: value}
    changed = settings.replaced(CONFIGS["configs.orl"], {})[section]
    place = changed
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    return {section: changed}


def refusal_of(config):
    with pytest.raises(InputError) as caught:
        settings.check(config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_setting_of_every_config_is_in_the_table_and_allowed(name):
    assert settings.flat(CONFIGS[name]).keys() <= settings.SETTINGS.keys()
    settings.check(CONFIGS[name])


@pytest.mark.parametrize("name", CONFIGS)
def test_every_number_of_every_config_has_a_range(name):
    # A placeholder that is None is of a type that only ml_collections knows.
    adaptive = {"saliency.sdd.scale", "saliency.sdd.amplification"}
    found = {
        setting
        for setting, value in settings.flat(CONFIGS[name]).items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    assert len(found) > 20
    assert found | adaptive <= NUMBERS.keys()


@pytest.mark.parametrize("source", images.SOURCES)
def test_every_option_of_every_source_is_in_the_table_with_its_default(source):
    for parameter in inspect.signature(images.SOURCES[source]).parameters.values():
        if parameter.name in NOT_OF_THE_CONFIG:
            continue
        name = f"data.{parameter.name}"
        assert name in settings.SETTINGS
        assert (parameter.annotation in (int, float)) == (name in NUMBERS)
        if parameter.default is not parameter.empty:
            config = with_setting("data", {"source": source})
            config["data"][parameter.name] = parameter.default
            settings.check(config)


def test_every_option_of_every_backbone_is_in_the_table():
    for name, (backbone, _) in BACKBONES.items():
        known = inspect.signature(backbone.__init__).parameters.keys()
        options = {f"model.backbone.{x}" for x in known - {"self", "rngs"}}
        assert name and options and options <= settings.SETTINGS.keys()


@pytest.mark.parametrize("name", NUMBERS)
def test_every_number_is_refused_outside_its_range_and_where_it_is_none(name):
    allowed = NUMBERS[name]
    wrong: list[object] = [
        math.nan,
        math.inf,
        -math.inf,
        True,
        "1",
        [1],
        allowed.low - 1,
    ]
    wrong += [2 * allowed.high + 1, allowed.low] if allowed.above else [10**400]
    if allowed.below:
        wrong.append(allowed.high)
    if allowed.is_whole:
        wrong += [allowed.low + 0.5, float(allowed.low)]
    if name not in settings.MAY_BE_NONE:
        wrong.append(None)
    for value in wrong:
        message = refusal_of(with_setting(name, value))
        assert message.startswith(f"{name} is {value!r}, expected {allowed}")
        assert message.endswith(f"pass --config.{name}=...")


@pytest.mark.parametrize("name", NUMBERS)
def test_every_number_may_be_an_end_that_is_included(name):
    allowed = NUMBERS[name]
    for end, is_excluded in (
        (allowed.low, allowed.above),
        (allowed.high, allowed.below),
    ):
        if not is_excluded:
            settings.check(with_setting(name, end))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("train.validate_every", 0, "a whole number from 1"),
        ("train.log_every", 0, "a whole number from 1"),
        ("seed", -1, "a whole number from 0"),
        ("train.label_smoothing", 2, "a number from 0 up to but not including 1; pass"),
        ("train.augmentation.max_shift", -3, "a whole number from 0"),
        ("eval.num_resamples", 1, "a whole number from 40"),
        ("eval.methods", "sdd", "a list of names, such as sdd,cam"),
        ("eval.fills", "black", "a list of names"),
        ("eval.methods", ("sdd", 1), "a list of names"),
        ("explain.split", 3, "a text"),
        ("eval.split", None, "a text"),
        ("train.parts", ["head"], "a text"),
        ("train.remat", 1, "True or False"),
        ("train.cache_images", "no", "True or False"),
        ("compute_dtype", 16, "a text or None"),
        ("model.pretrained", None, "a text"),
        ("train.augmentation", 3, "a section of settings, such as train.augmentation."),
        ("train", None, "a section of settings, such as train.parts"),
    ],
)
def test_a_wrong_setting_is_told_with_what_was_expected(name, value, message):
    found = refusal_of(with_setting(name, value))
    assert found.startswith(f"{name} is {value!r}, expected {message}")


def test_lists_as_json_has_them_will_do():
    settings.check(with_setting("eval.methods", ["sdd", "cam"]))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "train.stepz",
            "there is no setting called train.stepz: did you mean train.",
        ),
        ("sede", "there is no setting called sede: did you mean seed?"),
        ("data.x", "there is no setting called data.x: expected one of data.crop, "),
    ],
)
def test_a_setting_that_nothing_reads_is_refused(name, message):
    assert refusal_of(with_setting(name, 3)).startswith(message)


@pytest.mark.parametrize("name", ["train.steps", "seed", "eval.fills"])
def test_a_setting_that_is_missing_is_named(name):
    config = with_setting(name, 3)
    section, _, last = name.rpartition(".")
    del (config[section] if section else config)[last]
    assert refusal_of(config).startswith(f"the config has no {name}: expected ")


def test_a_method_of_ones_own_may_have_options_of_its_own():
    config = with_setting("saliency", {"sdd": {}, "mine": {"power": 2}})
    settings.check(config)


@pytest.mark.parametrize("mode", [train, explain, evaluate])
def test_every_mode_checks_every_setting_before_it_does_anything(
    make_config, tmp_path, mode
):
    for name in ("train.log_every", "explain.seed", "eval.num_resamples"):
        with pytest.raises(InputError, match=f"^{name} is -1, expected a whole number"):
            mode.run(make_config({name: -1}), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("data.margin", "0.3", 0.3),
        ("data.min_images", "5", 5),
        ("data.min_images", "five", "five"),
        ("data.max_skipped", "None", "None"),
        ("data.data_dir", "None", None),
        ("data.root", "5", "5"),
    ],
)
def test_a_text_becomes_what_the_setting_is_where_it_can(name, text, value):
    before = {"data": {"source": "lfw"}}
    assert settings.replaced(before, {name: text}) == {
        "data": {"source": "lfw", name.removeprefix("data."): value}
    }
    assert before == {"data": {"source": "lfw"}}


def test_what_source_and_backbone_take_is_known():
    config = CONFIGS["configs.finetune"]
    names = settings.optional(config)
    assert {"data.margin", "data.num_identities", "model.backbone.arch"} <= set(names)
    assert "data.crop" not in names and "model.backbone.num_blocks" not in names
