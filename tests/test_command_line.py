"""What main.py makes of its arguments, in this process."""

import signal

import pytest
from absl import flags

from sdd_jax.errors import InputError

SMOKE = ("main.py", "--config=configs/smoke.py")
pytestmark = pytest.mark.filterwarnings("ignore:.*load_module:DeprecationWarning")


@pytest.fixture
def parse(monkeypatch):
    handler = signal.getsignal(signal.SIGINT)
    import main

    signal.signal(signal.SIGINT, handler)  # main takes it while it loads
    monkeypatch.setattr("sys.argv", ["main.py"])
    yield lambda *arguments: main._parse([*SMOKE, *arguments])
    for name in list(flags.FLAGS):
        if name.startswith("config."):
            delattr(flags.FLAGS, name)
    flags.FLAGS.unparse_flags()
    for name in ("config", "workdir", "mode", "num_devices"):
        flags.FLAGS[name].unparse()


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
        (["--zzz"], "called zzz: expected one of config, mode, num_devices, workdir"),
    ],
)
def test_a_misspelt_name_is_told_with_the_nearest(parse, arguments, message):
    with pytest.raises(InputError) as caught:
        parse(*arguments)
    assert message in str(caught.value)
    assert '"' not in str(caught.value) and "\n" not in str(caught.value)


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


def test_one_name_is_a_list_of_one(parse):
    config, _, _ = parse("--config.eval.methods=cam")
    assert config["eval"]["methods"] == ("cam",)
