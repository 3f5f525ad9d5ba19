import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def result_of(environment):
    """Run a benchmark as a command and return its last line."""

    def run(name: str, *options: str) -> dict:
        done = subprocess.run(
            [sys.executable, "-m", f"benchmarks.{name}", *options],
            cwd=Path(__file__).parents[2],
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run
