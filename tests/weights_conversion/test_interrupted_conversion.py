import os
import signal
import subprocess
import sys
import textwrap

import pytest
from published_files import write

from sdd_jax import checkpoints, models
from sdd_jax.errors import InputError
from weights_conversion.__main__ import main


@pytest.fixture
def source(published, tmp_path):
    return write(tmp_path / "x.safetensors", published, "model.net.")


def assert_nothing_loads_and_the_same_command_does_it(source, output):
    assert not checkpoints.exists(output)
    with pytest.raises(InputError, match="no .*checkpoint in"):
        models.load(output)
    assert main([str(source), str(output)]) == 0
    models.load(output)


def test_an_exception_inside_save_leaves_nothing_that_loads(
    source, tmp_path, monkeypatch, capsys
):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.ocp, "save_checkpointables", interrupt)
        assert main([str(source), str(tmp_path / "out")]) == 130
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "error: stopped; run the same command again\n"
    assert_nothing_loads_and_the_same_command_does_it(source, tmp_path / "out")


@pytest.mark.slow
def test_a_program_killed_before_the_last_move_leaves_nothing_that_loads(
    source, tmp_path
):
    program = """
        import os, signal, sys
        from weights_conversion.__main__ import main

        def stop(event, arguments):
            if event == "os.rename" and str(arguments[1]).endswith("checkpoints/0"):
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(stop)
        main(sys.argv[1:])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), source, tmp_path / "out"],
        capture_output=True,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    left = [path.name for path in (tmp_path / "out" / "checkpoints").iterdir()]
    assert left == [".new-0"]
    assert_nothing_loads_and_the_same_command_does_it(source, tmp_path / "out")
