import dataclasses

import pytest

from sdd_jax.errors import InputError
from sdd_jax.files import write_json
from sdd_jax.runs.calibrated import load_calibration
from sdd_jax.types import Calibration

CALIBRATION = Calibration(0.4, 20.0, -6.0, -3.0, 5.0)
NETWORK = {"checkpoint": "one", "checkpoint_sha256": "a" * 64, "compute_dtype": "x"}


@pytest.fixture
def write(tmp_path):
    def write(**changes):
        values = dataclasses.asdict(CALIBRATION) | changes
        (tmp_path / "verify").mkdir(exist_ok=True)
        result = {"calibration": values, "protocol": NETWORK}
        write_json(tmp_path / "verify" / "metrics.json", result)
        return tmp_path

    return write


def test_what_was_measured_comes_back(write):
    assert load_calibration(write(), NETWORK | {"checkpoint": "moved"}) == CALIBRATION


def test_who_never_measured_is_told_how(tmp_path):
    message = "no verification was measured .*metrics.json; run --mode=verify .*, or X$"
    with pytest.raises(InputError, match=message):
        load_calibration(tmp_path, NETWORK, otherwise="or X")


@pytest.mark.parametrize("value", [None, "much", float("1e999")])
def test_a_damaged_file_is_refused(write, value):
    folder = write()
    path = folder / "verify" / "metrics.json"
    path.write_text(
        path.read_text().replace("20.0", repr(value).replace("inf", "1e999"))
    )
    with pytest.raises(InputError, match="is damaged, expected what --mode=verify wro"):
        load_calibration(folder, NETWORK)


@pytest.mark.parametrize("name", ["checkpoint_sha256", "compute_dtype"])
def test_the_calibration_of_another_network_is_refused(write, name):
    other = NETWORK | {name: "b" * 64, "checkpoint": "two"}
    message = r"is of one \(aaaaaaaa, x\), but the network here is two \(.*\): run --mo"
    with pytest.raises(InputError, match=message):
        load_calibration(write(), other)
