"""Processes that are gone when a test ends."""

import pytest
from processes import Group


@pytest.fixture
def group(environment):
    """Return a function that starts processes."""
    started = []

    def begin(*arguments, count=2, devices=1, **more):
        how = {"count": count, "devices": devices, "environment": environment}
        started.append(Group(arguments, **how, **more))
        return started[-1]

    yield begin
    for one in started:
        one.close()
