"""Smoke's config as the tests of the modes change it, and copies of its workdir."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def _set(config: Any, overrides: dict[str, Any]) -> dict[str, Any]:
    for name, value in overrides.items():
        section = config
        *path, last = name.split(".")
        for part in path:
            section = section[part]
        section[last] = value
    return config.to_dict()


@pytest.fixture(scope="session")
def make_config() -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return a function: overrides such as {"train.steps": 4} -> smoke's config."""
    from configs import smoke  # not before pytest has read its command line

    return lambda overrides: _set(smoke.get_config(), overrides)


@pytest.fixture(scope="session")
def config(make_config: Callable) -> dict[str, Any]:
    return make_config({})


@pytest.fixture
def workdir_copy(trained: Path, tmp_path: Path) -> Path:
    """Return a copy of the trained workdir that a test may write to."""
    return Path(shutil.copytree(trained, tmp_path / "workdir"))
