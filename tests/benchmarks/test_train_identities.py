import argparse
import json

import pytest

from benchmarks import train_identities


@pytest.mark.slow
def test_a_divided_head_is_half_on_each_of_two_devices():
    options = argparse.Namespace(
        loss="adaface", features=6, batch_size=4, devices=2, steps=1
    )
    row = train_identities.in_its_own_process("divided", 1001, options)
    assert row["ms"] > 0 and row["cpu_ms"] > 0
    # Half of kernel, offset and two moments of each; the features' mean and deviation,
    # AdaFace's two, and a few counts of steps.
    numbers = 3 * 501 * (6 + 1) + 2 * 6 + 2
    assert 0 < row["state_mb"] * 2**20 / 4 - numbers < 10


def test_every_size_is_measured_in_every_way_and_a_failure_keeps_the_rest(
    monkeypatch, capsys
):
    def row(way, num_identities, options):
        if num_identities == 9 and way == "whole":
            return {"way": way, "identities": 9, "failed": 137}
        numbers = dict.fromkeys(train_identities.NUMBERS, 1.5)
        return {"way": way, "identities": num_identities} | numbers

    monkeypatch.setattr(train_identities, "in_its_own_process", row)
    assert train_identities.main(["--identities=4,9"]) == 0
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [(x["identities"], x["way"], "failed" in x) for x in rows] == [
        *((4, "whole", False), (4, "divided", False)),
        *((9, "whole", True), (9, "divided", False)),
    ]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--ways=half", "unknown way 'half': expected some of whole, divided"),
        ("--batch_size=3", "--batch_size is 3, which cannot be shared equally by 2"),
    ],
)
def test_what_cannot_be_measured_is_told(argument, message, capsys):
    assert train_identities.main([argument]) == 1
    assert message in capsys.readouterr().err
