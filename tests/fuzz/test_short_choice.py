"""A few inputs for every target, always the same; `make fuzz` has the others."""

import pytest
from all_targets import TARGETS
from oracle import judge
from target import drawn

NUMBER = 25
# As many as they take a second or two for.
FEWER = {"faces": 3, "dlib": 15}
MORE = {"images": 120}


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_damage_is_refused_in_a_line_or_read(name, tmp_path):
    target = TARGETS[name]
    number = {**FEWER, **MORE}.get(name, NUMBER)
    tried = 0
    for contents in drawn(target, number, seed=0):
        found = judge(lambda contents=contents: target.read(contents, tmp_path))
        assert found is None, (found, contents[:2000])
        tried += 1
    if not tried:
        pytest.skip("a package with its good input is missing")
