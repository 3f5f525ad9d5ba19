"""What main.py makes of its arguments, in this process."""

import signal
from pathlib import Path

import pytest
from parsed_flags import forget

from sdd_jax.errors import InputError
from sdd_jax.runs import settings

SMOKE = ("main.py", "--config=configs/smoke.py")
pytestmark = pytest.mark.filterwarnings("ignore:.*load_module:DeprecationWarning")


@pytest.fixture
def program(monkeypatch):
    """Return the module; what it made of its arguments is forgotten after a test."""
    handler = signal.getsignal(signal.SIGINT)
    import main

    signal.signal(signal.SIGINT, handler)  # main takes it while it loads
    monkeypatch.setattr("sys.argv", ["main.py"])
    yield main
    forget()


@pytest.fixture
def parse(program):
    return lambda *arguments: program._parse([*SMOKE, *arguments])


@pytest.fixture
def command(program, monkeypatch):
    """Return the whole program, run in the checkout's folder."""
    monkeypatch.chdir(Path(program.__file__).parent)
    return lambda *arguments: program.main(["main.py", *arguments])


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (
            ["--mode=prove"],
            [
                "unknown mode 'prove'",
                "revise, verify, identify, explain_pair, prove_pairs or all",
            ],
        ),
        (["--config=configs/none.py"], ["no config at configs/none.py", "orl.py"]),
        (["--config", "configs/none.py"], ["no config at configs/none.py", "orl.py"]),
        ([SMOKE[1], "--config.train.stepz=3"], ["stepz", "steps"]),
        (
            [SMOKE[1], "--config.train.steps=three"],
            ["train.steps is 'three', expected a whole number from 1 to"],
        ),
        ([SMOKE[1], "train"], ["'train' is not a flag"]),
        (
            [*SMOKE[1:], "--mode=explain_pair", "a.jpg,b.jpg"],
            ["two images are wanted, got 1 (a.jpg,b.jpg): --mode=explain_pair PROBE"],
        ),
        (
            ["a", *SMOKE[1:], "b", "--mode=explain_pair", "c"],
            ["two images are wanted, got 3 (a, b, c)"],
        ),
        (["a.jpg", "--mode=explainpair", "b.jpg"], ["unknown mode 'explainpair'"]),
        (
            [*SMOKE[1:], "--mode=verify", "--gallery=x"],
            ["--mode=verify takes no --gallery: leave it out"],
        ),
        ([SMOKE[1], "--num_devices=99"], ["99 devices were asked for"]),
        (
            [SMOKE[1], "--distributed", "--num_processes=2"],
            ["found --num_processes beside --distributed, which finds out all three"],
        ),
        (
            ["--config=configs/finetune.py"],
            [
                "no images in data/facescrub_aligned (data.root): get FaceScrub at ",
                "align YOUR_COPY data/facescrub_aligned; and no weights in weights/ada",
                "get AdaFace's at https://github.com/mk-minchul/AdaFace",
                "python -m weights_conversion FILE weights/adaface_ir101_webface12m",
                "configs/orl.py",
            ],
        ),
    ],
)
def test_a_wrong_command_is_one_line(command, tmp_path, capsys, arguments, parts):
    assert command(*arguments, f"--workdir={tmp_path / 'workdir'}") == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1
    for part in parts:
        assert part in said
    assert not (tmp_path / "workdir").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--config.data.x=3"],
            "there is no setting called data.x: expected one of data.num_identities, "
            "data.num_images, data.source",
        ),
        (["--config.data.num_imges", "3"], "data.num_imges: did you mean data.num_im"),
        (["--config.trian.steps=3"], "called trian.steps: did you mean train.steps"),
        (["--config.train.stepz=3"], "called train.stepz: did you mean train.steps?"),
        (["-config.sede=3"], "called sede: did you mean seed?"),
        (["--config.seed.x=3"], "called seed.x: did you mean seed?"),
        (["--config.eval.methods[0]=cam"], "did you mean eval.methods?"),
        (
            ["--config.train.augmentation.miror=1"],
            "did you mean train.augmentation.mirror?",
        ),
        (["--config.=1"], "there is no setting called : expected one of compute_dtype"),
        (["--wrokdir=x"], "there is no flag called wrokdir: did you mean workdir?"),
        (["--mdoe", "eval"], "there is no flag called mdoe: did you mean mode?"),
        (
            ["--confg.train.steps=3"],
            "there is no flag called confg.train.steps: did you mean config.train.step",
        ),
        (
            ["--zzz"],
            "called zzz: expected one of config, coordinator, distributed, gallery, ",
        ),
    ],
)
def test_a_misspelt_name_is_told_with_the_nearest(parse, arguments, message):
    with pytest.raises(InputError) as caught:
        parse(*arguments)
    assert message in str(caught.value)
    assert '"' not in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["abc", "", "1e3", "a: b", "2.0", "\u00b2"])
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("num_devices", "a whole number"),
        ("num_processes", "a whole number"),
        ("process_id", "a whole number"),
        ("start_seconds", "a whole number"),
        ("heartbeat_seconds", "a whole number"),
        ("distributed", "True or False"),
    ],
)
def test_a_flag_that_cannot_be_read_is_told_with_what_was_expected(
    parse, name, expected, text
):
    with pytest.raises(InputError) as caught:
        parse(f"--{name}={text}")
    assert str(caught.value) == f"--{name} is {text!r}, expected {expected}"


def test_what_a_source_takes_can_be_given_though_the_config_leaves_it_out(parse):
    config, _, modes = parse(
        "--config.data.source=facescrub",
        "--config.data.margin=0.3",
        "--config.data.validation_fraction",
        "0.2",
        "--mode=eval",
        "--config.train.steps=4",
    )
    assert config["data"]["margin"] == 0.3
    assert config["data"]["validation_fraction"] == 0.2
    assert (config["data"]["source"], config["train"]["steps"]) == ("facescrub", 4)
    assert modes == ("eval",)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("cam", ("cam",)),
        ("cam,sdd", ("cam", "sdd")),
        (" cam, sdd ,", ("cam", "sdd")),
        ("('cam', 'sdd')", ("cam", "sdd")),
        ('["cam","sdd"]', ("cam", "sdd")),
        ("('cam',)", ("cam",)),
        ("()", ()),
        ("", ()),
    ],
)
def test_a_list_is_given_as_people_write_it_or_as_python_has_it(parse, text, names):
    for arguments in (
        [f"--config.eval.methods={text}"],
        ["--config.eval.methods", text],
    ):
        config, _, _ = parse(*arguments)
        assert config["eval"]["methods"] == names


def setting(config, name):
    return settings.flat(config)[name]


@pytest.mark.parametrize(
    ("text", "as_whole", "as_real"),
    [
        ("abc", "'abc'", "'abc'"),
        ("", "''", "''"),
        ("2,5", "'2,5'", "'2,5'"),
        ("-1", "-1", "-1.0"),
        ("nan", "'nan'", "nan"),
        ("1e999", "'1e999'", "inf"),
    ],
)
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("seed", "a whole number from 0 to 4294967295"),
        ("train.steps", "a whole number from 1 to 2147483647"),
        ("explain.num_images", "a whole number from 0 to 2147483647"),
        ("data.num_identities", "a whole number from 2 to 2147483647"),
        ("train.augmentation.mirror", "a number from 0 to 1"),
        ("train.warmup_fraction", "a number from 0 up to but not including 1"),
        ("eval.fraction", "a number between 0 and 1, both excluded"),
        ("data.max_skipped", "a number from 0 to 1"),  # the config leaves it out
        ("saliency.sdd.scale", "a number above 0 and up to 3.4e+38 or None"),
    ],
)
def test_a_number_that_is_none_is_told_with_what_was_expected(
    parse, name, expected, text, as_whole, as_real
):
    found = as_whole if "whole" in expected else as_real
    message = f"{name} is {found}, expected {expected}; pass --config.{name}=..."
    for arguments in ([f"--config.{name}={text}"], [f"--config.{name}", text]):
        config, _, _ = parse(*arguments)
        with pytest.raises(InputError) as caught:
            settings.check(config)
        assert str(caught.value) == message


@pytest.mark.parametrize("text", ["abc", "", "2", "yes", "None"])
@pytest.mark.parametrize("name", ["train.remat", "saliency.sdd.centre"])
def test_what_is_neither_true_nor_false_is_told(parse, name, text):
    config, _, _ = parse(f"--config.{name}={text}")
    message = f"^{name} is '{text}', expected True or False; pass --config.{name}=...$"
    with pytest.raises(InputError, match=message):
        settings.check(config)


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        (["--config.train.steps=7"], "train.steps", 7),
        (["--config.train.steps", "7"], "train.steps", 7),
        (["-config.seed=007"], "seed", 7),
        (["--config.train.steps=7", "--config.train.steps=8"], "train.steps", 8),
        (["--config.eval.fraction=1e-1"], "eval.fraction", 0.1),
        (["--config.train.clip_norm=3"], "train.clip_norm", 3.0),
        (["--config.saliency.sdd.scale=2"], "saliency.sdd.scale", 2.0),
        (["--config.saliency.sdd.scale=None"], "saliency.sdd.scale", None),
        (["--config.train.remat"], "train.remat", True),
        (["--config.train.remat=true"], "train.remat", True),
        (["--config.train.divide_head"], "train.divide_head", True),
        (["--config.train.divide_head=None"], "train.divide_head", None),
        (["--config.saliency.sdd.centre=False"], "saliency.sdd.centre", False),
        (["--config.saliency.sdd.centre=0"], "saliency.sdd.centre", False),
        (["--noconfig.saliency.sdd.centre"], "saliency.sdd.centre", False),
    ],
)
def test_numbers_and_flags_are_read(parse, arguments, name, value):
    config, _, _ = parse(*arguments, "--mode=eval")
    assert setting(config, name) == value
    assert type(setting(config, name)) is type(value)
    settings.check(config)
