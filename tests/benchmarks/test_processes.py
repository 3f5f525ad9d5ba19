"""The benchmark of processes, as small as it gets."""

import json
import os

import pytest

from benchmarks import processes


@pytest.mark.slow
def test_both_layouts_train_and_evaluate(capsys, environment, monkeypatch):
    for name in environment:
        if name.startswith("JAX"):
            monkeypatch.setitem(os.environ, name, environment[name])
    few = ["--config=smoke", "--images=8", "--batch_size=8", "--turns=1"]
    assert processes.main(few) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert list(found) == ["1 x 2", "2 x 1"]
    for rates in found.values():
        assert list(rates) == ["train", "eval, SDD"]
        assert min(rates.values()) > 0
