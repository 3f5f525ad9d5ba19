"""What fuzzing found in results on disk that a later command reads again."""

import pytest

from sdd_jax.errors import InputError
from sdd_jax.runs import calibrated, explain_pair, workdir

DEEP = "[" * 100_000
RECORD = {"images": {side: {"sha256": 64 * "a"} for side in explain_pair.SIDES}}


@pytest.mark.parametrize("text", [DEEP, "[]", "{}", '{"images": 3}', "\udcff"])
def test_a_damaged_report_of_a_pair_is_kept_as_another_pairs(tmp_path, text):
    output = tmp_path / "explain_pair"
    output.mkdir()
    content = text.encode("utf-8", "surrogateescape")
    (output / "record.json").write_bytes(content)
    explain_pair._keep_another(output, RECORD)
    [kept] = tmp_path.iterdir()
    assert kept.name.startswith("explain_pair_")
    assert (kept / "record.json").read_bytes() == content


def test_a_workdirs_config_may_hold_brackets_without_end(tmp_path):
    (tmp_path / "config.json").write_text(DEEP)
    with pytest.raises(InputError, match="config.json is damaged"):
        workdir.check(tmp_path, {"seed": 0}, ("seed",))
    assert workdir.planned_steps(tmp_path) == 0


def test_a_verifications_result_may_hold_brackets_without_end(tmp_path):
    (tmp_path / "verify").mkdir()
    (tmp_path / "verify" / "metrics.json").write_text(DEEP)
    with pytest.raises(InputError, match="is damaged, expected what --mode=verify"):
        calibrated.load_calibration(tmp_path, {})
