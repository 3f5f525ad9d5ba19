import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from sdd_jax import checkpoints
from sdd_jax.errors import InputError


def array(value: float) -> np.ndarray:
    return np.full(1000, value, np.float32)


def save_scores(directory, *scores: float) -> None:
    """Save a step for each score, from step 1; the arrays hold the step."""
    for step, score in enumerate(scores, 1):
        checkpoints.save(
            directory, step, {"model": {"a": array(step)}}, {"step": step}, score
        )


def steps_on_disk(directory) -> set[str]:
    return set(os.listdir(directory / "checkpoints"))


def load_model(directory, step: int) -> np.ndarray:
    return checkpoints.load(directory, step, {"model": {"a": array(0)}})["model"]["a"]


def refusal_of(action, *arguments) -> str:
    with pytest.raises(InputError) as caught:
        action(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    return message


def killed_while_saving(directory, event: str, path_end: str) -> None:
    """Save steps 1, 2, 3 in a process that is killed at an event of a path."""
    program = """
        import os, signal, sys
        import numpy as np
        from sdd_jax import checkpoints

        directory, wanted, end = sys.argv[1:]

        def stop(event, arguments):
            if event == wanted and any(str(a).endswith(end) for a in arguments):
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(stop)
        for step in (1, 2, 3):
            model = {"a": np.full(1000, step, np.float32)}
            checkpoints.save(directory, step, {"model": model}, {}, float(step))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), directory, event, path_end],
        capture_output=True,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """Return a folder whose step 3 was written, but had not got its name yet."""
    directory = tmp_path_factory.mktemp("interrupted")
    killed_while_saving(directory, "os.rename", "checkpoints/3")
    return directory


def test_arrays_come_back_to_the_bit_with_their_names_and_dtypes(tmp_path):
    floats = np.array([np.nan, -0.0, np.inf, 1e-45, 1 / 3], np.float32)
    model = {
        "blocks": {
            0: {"kernel": jnp.arange(6, dtype=jnp.bfloat16).reshape(2, 3) / 7},
            2: {"kernel": np.array([[1]], np.int32)},
            10: {"count": jnp.int32(-5)},
        },
        "floats": floats,
    }
    optimizer = {"0": np.array(3, np.int32), "1": np.zeros((1, 4), np.float32)}
    checkpoints.save(tmp_path, 7, {"model": model, "optimizer": optimizer}, {}, 0.0)

    loaded = checkpoints.load(tmp_path, 7, {"model": model, "optimizer": optimizer})
    assert list(loaded) == ["model", "optimizer"]
    blocks = loaded["model"]["blocks"]
    assert set(blocks) == {0, 2, 10}
    pairs = [
        (blocks[0]["kernel"], model["blocks"][0]["kernel"], ml_dtypes.bfloat16),
        (blocks[2]["kernel"], model["blocks"][2]["kernel"], np.int32),
        (blocks[10]["count"], model["blocks"][10]["count"], np.int32),
        (loaded["model"]["floats"], floats, np.float32),
        (loaded["optimizer"]["0"], optimizer["0"], np.int32),
        (loaded["optimizer"]["1"], optimizer["1"], np.float32),
    ]
    for found, saved, dtype in pairs:
        assert isinstance(found, np.ndarray)
        assert found.dtype == dtype
        assert found.shape == saved.shape
        assert found.tobytes() == np.asarray(saved).tobytes()


def test_one_of_the_saved_trees_can_be_loaded_alone(tmp_path):
    trees = {"model": {"a": array(1)}, "optimizer": {"b": array(2)}}
    checkpoints.save(tmp_path, 1, trees, {}, 0.0)
    loaded = checkpoints.load(tmp_path, 1, {"optimizer": trees["optimizer"]})
    assert list(loaded) == ["optimizer"]
    np.testing.assert_array_equal(loaded["optimizer"]["b"], array(2))


def test_the_description_comes_back(tmp_path):
    description = {"model": {"head": {"num_classes": 3}}, "names": ["Zoë", "李"]}
    checkpoints.save(tmp_path, 4, {"model": {"a": array(0)}}, description, 0.0)
    assert checkpoints.description(tmp_path, 4) == description


@pytest.mark.parametrize(
    "scores, best",
    [
        ((0.5, 0.9, 0.1, 0.2), 2),
        ((0.9, 0.5, 0.9, 0.2), 3),
        ((0.1, 0.2, 0.3, 0.4), 4),
        ((-3.0, -2.0, -5.0), 2),
    ],
    ids=["best is kept", "the later of equals", "best is latest", "below zero"],
)
def test_only_the_latest_and_the_best_are_kept(tmp_path, scores, best):
    save_scores(tmp_path, *scores)
    latest = len(scores)
    assert checkpoints.latest_step(tmp_path) == latest
    assert checkpoints.best_step(tmp_path) == best
    assert steps_on_disk(tmp_path) == {str(latest), str(best)}
    for step in (latest, best):
        np.testing.assert_array_equal(load_model(tmp_path, step), array(step))
        assert checkpoints.description(tmp_path, step) == {"step": step}
        assert checkpoints.path(tmp_path, step).is_dir()


def test_a_score_that_is_no_number_is_the_worst(tmp_path):
    save_scores(tmp_path, 5.0, float("nan"), 3.0)
    assert checkpoints.best_step(tmp_path) == 1
    assert steps_on_disk(tmp_path) == {"1", "3"}


def test_a_folder_that_is_missing_or_empty_says_how_to_get_a_checkpoint(tmp_path):
    (tmp_path / "empty" / "checkpoints").mkdir(parents=True)
    for directory in (tmp_path / "nowhere", tmp_path / "empty"):
        assert not checkpoints.exists(directory)
        for read in (checkpoints.latest_step, checkpoints.best_step):
            message = refusal_of(read, directory)
            assert message.startswith(f"no checkpoint in {directory}: train first")
            assert f"--workdir={directory}" in message
        assert refusal_of(load_model, directory, 0).startswith("no checkpoint in")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.slow
def test_of_a_save_that_was_killed_nothing_loads_and_the_one_before_is_whole(
    interrupted, tmp_path
):
    directory = tmp_path / "copy"
    shutil.copytree(interrupted, directory)
    assert steps_on_disk(directory) == {"2", ".new-3"}
    assert checkpoints.exists(directory)
    assert checkpoints.latest_step(directory) == checkpoints.best_step(directory) == 2
    np.testing.assert_array_equal(load_model(directory, 2), array(2))

    checkpoints.save(directory, 4, {"model": {"a": array(4)}}, {}, 4.0)
    assert steps_on_disk(directory) == {"4"}
    np.testing.assert_array_equal(load_model(directory, 4), array(4))


@pytest.mark.slow
def test_a_first_save_that_was_killed_says_to_run_again(interrupted, tmp_path):
    directory = tmp_path / "copy"
    shutil.copytree(interrupted, directory)
    shutil.rmtree(directory / "checkpoints" / "2")
    assert steps_on_disk(directory) == {".new-3"}
    assert not checkpoints.exists(directory)
    message = refusal_of(checkpoints.latest_step, directory)
    assert message.startswith(f"no finished checkpoint in {directory}")
    assert message.endswith("run the same command again")


@pytest.mark.slow
def test_a_step_that_was_killed_while_it_was_removed_is_passed_over(tmp_path):
    killed_while_saving(tmp_path, "shutil.rmtree", ".removed-1")
    assert steps_on_disk(tmp_path) == {"2", ".removed-1"}
    assert checkpoints.best_step(tmp_path) == 2
    checkpoints.save(tmp_path, 3, {"model": {"a": array(3)}}, {}, 3.0)
    assert steps_on_disk(tmp_path) == {"3"}


def test_a_step_that_is_saved_again_replaces_the_first(tmp_path):
    for value in (1, 2):
        checkpoints.save(tmp_path, 5, {"model": {"a": array(value)}}, {}, 0.0)
        np.testing.assert_array_equal(load_model(tmp_path, 5), array(value))
    assert steps_on_disk(tmp_path) == {"5"}


def test_of_equals_the_later_is_best_even_where_the_earlier_was_not_yet_removed(
    tmp_path,
):
    save_scores(tmp_path, 0.9)
    shutil.copytree(tmp_path / "checkpoints" / "1", tmp_path / "kept")
    checkpoints.save(tmp_path, 2, {"model": {"a": array(2)}}, {}, 0.9)
    shutil.move(tmp_path / "kept", tmp_path / "checkpoints" / "1")
    assert steps_on_disk(tmp_path) == {"1", "2"}
    assert checkpoints.best_step(tmp_path) == 2


def test_arrays_of_another_shape_missing_and_unknown_are_listed_in_one_error(
    tmp_path,
):
    saved = {
        "same": array(0),
        "blocks": {0: {"kernel": np.zeros((3, 3))}, 1: {"kernel": np.zeros(2)}},
    }
    checkpoints.save(tmp_path, 1, {"model": saved}, {}, 0.0)
    wanted = {
        "same": array(0),
        "blocks": {0: {"kernel": np.zeros((3, 4))}},
        "head": np.zeros(5),
    }
    message = refusal_of(checkpoints.load, tmp_path, 1, {"model": wanted})
    assert re.search(r"blocks/0/kernel is \(3, 3\).*, expected \(3, 4\)", message)
    assert re.search(r"blocks/1/kernel is \(2,\).*, expected nothing", message)
    assert "head is missing, expected (5,)" in message
    assert "same" not in message


def test_a_long_list_of_differences_is_cut_and_counted(tmp_path):
    checkpoints.save(tmp_path, 1, {"model": {"a": array(0)}}, {}, 0.0)
    wanted = {f"layer{i:02}": array(0) for i in range(30)}
    message = refusal_of(checkpoints.load, tmp_path, 1, {"model": wanted})
    # 30 that are missing and one that is not wanted.
    assert message.count("expected") == 5
    assert "and 26 more" in message


def test_a_tree_that_was_not_saved_is_refused(tmp_path):
    save_scores(tmp_path, 1.0)
    message = refusal_of(checkpoints.load, tmp_path, 1, {"optimizer": {"a": array(0)}})
    assert "a is missing" in message


def test_an_array_of_another_dtype_is_refused_and_not_cast(tmp_path):
    checkpoints.save(tmp_path, 1, {"model": {"a": np.array([np.nan, 0.5])}}, {}, 0.0)
    wanted = {"model": {"a": np.zeros(2, np.int32)}}
    assert "int32" in refusal_of(checkpoints.load, tmp_path, 1, wanted)


def test_a_step_that_is_not_there_is_refused(tmp_path):
    save_scores(tmp_path, 1.0)
    for read in (checkpoints.description, load_model):
        assert "77" in refusal_of(read, tmp_path, 77)


def test_a_full_disk_is_one_line_and_spares_what_was_saved(tmp_path, monkeypatch):
    save_scores(tmp_path, 1.0)

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", full)
    message = refusal_of(
        checkpoints.save, tmp_path, 2, {"model": {"a": array(2)}}, {}, 2.0
    )
    assert message.startswith("cannot save step 2 in ")
    assert "No space left on device" in message
    monkeypatch.undo()
    assert checkpoints.latest_step(tmp_path) == 1
    np.testing.assert_array_equal(load_model(tmp_path, 1), array(1))


def test_the_hash_is_of_names_shapes_dtypes_and_bits():
    tree = {"a": {0: array(1), 1: array(2)}, "b": np.arange(6).reshape(2, 3)}
    others = {
        "a bit": {**tree, "b": np.array([[0, 1, 2], [3, 4, 7]])},
        "a name": {"a": tree["a"], "c": tree["b"]},
        "a shape": {**tree, "b": tree["b"].reshape(3, 2)},
        "a dtype": {**tree, "b": tree["b"].view(np.uint64)},
        "exchanged": {**tree, "a": {0: array(2), 1: array(1)}},
        "the sign of zero": {**tree, "a": {0: array(1), 1: array(-0.0)}},
        "zero": {**tree, "a": {0: array(1), 1: array(0.0)}},
    }
    hashes = [checkpoints.sha256(value) for value in [tree, *others.values()]]
    assert len(set(hashes)) == len(hashes)
    assert all(len(value) == 64 for value in hashes)


def test_the_hash_depends_neither_on_the_order_of_names_nor_on_what_holds_the_bits():
    tree = {"a": {0: array(1), 10: array(2), 2: array(3)}, "b": array(4)}
    backwards = {
        "b": jnp.asarray(array(4)),
        "a": {"2": array(3), "10": np.repeat(array(2), 2)[::2], "0": array(1)},
    }
    assert checkpoints.sha256(tree) == checkpoints.sha256(backwards)


def test_the_hash_survives_saving_and_loading(tmp_path):
    tree = {"blocks": {i: {"kernel": array(i)} for i in range(12)}}
    checkpoints.save(tmp_path, 1, {"model": tree}, {}, 0.0)
    loaded = checkpoints.load(tmp_path, 1, {"model": tree})["model"]
    assert checkpoints.sha256(loaded) == checkpoints.sha256(tree)


def damaged_copies(path, rng, number: int):
    """Yield a file's contents with a flipped bit, a zeroed block or a cut, by turns."""
    content = path.read_bytes()
    for i in range(number if content else 0):
        place = int(rng.integers(len(content)))
        changed = bytearray(content)
        if i % 3 == 0:
            changed[place] ^= 1 << int(rng.integers(8))
        elif i % 3 == 1:
            end = min(place + int(rng.integers(1, 64)), len(content))
            changed[place:end] = bytes(end - place)
        else:
            changed = changed[:place]
        yield bytes(changed)


def test_damage_gives_what_was_saved_or_an_error_and_never_other_values(tmp_path):
    rng = np.random.default_rng(0)
    trees = {
        "model": {
            "a": rng.normal(size=50).astype(np.float32),
            "b": np.array([[1, 2]], np.int32),
        }
    }
    known = {"names": ["ann", "ben"], "model": {"name": "tiny"}}
    checkpoints.save(tmp_path, 3, trees, known, 0.25)
    paths = [path for path in (tmp_path / "checkpoints").rglob("*") if path.is_file()]
    num_refused = 0
    for path in paths:
        whole = path.read_bytes()
        for content in damaged_copies(path, rng, 3):
            path.write_bytes(content)
            try:
                assert checkpoints.description(tmp_path, 3) == known
                found = checkpoints.load(tmp_path, 3, trees)["model"]
                for name, array in trees["model"].items():
                    assert found[name].tobytes() == array.tobytes()
            except InputError as error:
                assert f"{tmp_path / 'checkpoints' / '3'} " in str(error)
                assert "\n" not in str(error)
                assert "the only one there: train or convert it again" in str(error)
                num_refused += 1
        path.write_bytes(whole)
    np.testing.assert_array_equal(
        checkpoints.load(tmp_path, 3, trees)["model"]["a"], trees["model"]["a"]
    )
    assert num_refused > len(paths)


def test_a_damaged_file_is_named_and_the_way_out_is_there(tmp_path):
    save_scores(tmp_path, 2.0, 1.0)
    for step, other in ((1, 2), (2, 1)):
        place = tmp_path / "checkpoints" / str(step)
        file = max(place.glob("model/**/d/*"), key=lambda path: path.stat().st_size)
        file.write_bytes(file.read_bytes()[:100])
        message = refusal_of(load_model, tmp_path, step)
        name = file.relative_to(place)
        assert message == (
            f"the checkpoint {place} is damaged (the file {name} is not what was "
            f"saved): remove that folder to use step {other}, which is there as well, "
            f"or train or convert it again"
        )


def test_files_of_another_checkpoint_are_refused(tmp_path):
    """They are all in order, and of the same shapes."""
    for name, value in (("one", 1), ("two", 2)):
        trees = {"model": {"a": array(0), "b": {"c": array(value)}}}
        checkpoints.save(tmp_path / name, 1, trees, {"of": name}, 0.0)
    shutil.rmtree(tmp_path / "one" / "checkpoints" / "1" / "model")
    shutil.copytree(
        tmp_path / "two" / "checkpoints" / "1" / "model",
        tmp_path / "one" / "checkpoints" / "1" / "model",
    )
    message = refusal_of(checkpoints.load, tmp_path / "one", 1, trees)
    assert "damaged (the file model/" in message


@pytest.fixture
def forgetful(monkeypatch):
    """A library that gives one value of the array model/a as another."""
    read = checkpoints.ocp.load_checkpointables

    def load(*arguments):
        trees = read(*arguments)
        trees["model"]["a"][7] = 0
        return trees

    monkeypatch.setattr(checkpoints.ocp, "load_checkpointables", load)
    return monkeypatch


def test_an_array_of_other_values_is_named(tmp_path, request):
    save_scores(tmp_path, 1.0)
    request.getfixturevalue("forgetful")
    message = refusal_of(load_model, tmp_path, 1)
    assert "damaged (the array model/a is not what was saved)" in message


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("sdd_jax.json", "has no sdd_jax.json, the record of what was saved: an earl"),
        ("_CHECKPOINT_METADATA", "(the file _CHECKPOINT_METADATA is missing)"),
        ("model", "(the file model/"),
    ],
)
def test_a_missing_file_is_one_line(tmp_path, name, said):
    save_scores(tmp_path, 1.0)
    place = tmp_path / "checkpoints" / "1" / name
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    assert said in refusal_of(load_model, tmp_path, 1)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"3", b"\xff\xfe"])
def test_a_record_that_is_none_is_refused(tmp_path, content):
    save_scores(tmp_path, 1.0)
    (tmp_path / "checkpoints" / "1" / "sdd_jax.json").write_bytes(content)
    for read in (checkpoints.best_step, lambda folder: load_model(folder, 1)):
        message = refusal_of(read, tmp_path)
        assert "(the file sdd_jax.json is not what was saved)" in message


def test_a_step_under_another_number_is_refused(tmp_path):
    save_scores(tmp_path, 1.0)
    os.rename(tmp_path / "checkpoints" / "1", tmp_path / "checkpoints" / "9")
    assert "(the file sdd_jax.json is not what was saved)" in refusal_of(
        load_model, tmp_path, 9
    )


def test_a_disk_that_loses_what_it_is_given_keeps_the_step_before(tmp_path, request):
    save_scores(tmp_path, 1.0)
    forgetful = request.getfixturevalue("forgetful")
    message = refusal_of(
        checkpoints.save, tmp_path, 2, {"model": {"a": array(2)}}, {}, 2.0
    )
    assert message.startswith("cannot save step 2 in ")
    assert "does not come back" in message and "model/a" in message
    forgetful.undo()
    assert steps_on_disk(tmp_path) == {"1"}
    np.testing.assert_array_equal(load_model(tmp_path, 1), array(1))


def test_a_damaged_earlier_step_is_neither_removed_nor_in_the_way(tmp_path):
    save_scores(tmp_path, 1.0)
    (tmp_path / "checkpoints" / "1" / "sdd_jax.json").write_bytes(b"{")
    checkpoints.save(tmp_path, 2, {"model": {"a": array(2)}}, {}, 2.0)
    checkpoints.save(tmp_path, 3, {"model": {"a": array(3)}}, {}, 3.0)
    assert steps_on_disk(tmp_path) == {"1", "3"}
    assert "is damaged" in refusal_of(checkpoints.best_step, tmp_path)


ODD_NAMES = [
    "a[b]c", "a[0]", "[!x]", "a\\b", "a*b", "a?b", "a{b,c}", "gs:", "s3:", "a b",
    "a%20b", "zo\u00eb", "a\udcffb", "a\nb", "a\u2028b", "~x", "a'b", 'a"b', "$HOME",
    "a@2", ".hidden", "1",
]  # fmt: skip


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_folder_may_be_called_anything(tmp_path, name, monkeypatch):
    directory = tmp_path / name / name
    # What a pattern would find instead.
    for other in ("abc", "a0", "ab", "aXb", "y"):
        (tmp_path / other).mkdir()
    save_scores(directory, 0.5, 0.9)
    assert steps_on_disk(directory) == {"2"}
    assert checkpoints.best_step(directory) == 2
    monkeypatch.chdir(directory.parent)
    np.testing.assert_array_equal(load_model(name, 2), array(2))


def test_where_even_the_temporary_folder_has_such_a_name_is_said(tmp_path, monkeypatch):
    (tmp_path / "t[1]").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "t[1]"))
    message = refusal_of(
        checkpoints.save, tmp_path / "a[b]", 1, {"model": {"a": array(1)}}, {}, 1.0
    )
    assert "set TMPDIR to a folder without any of [ ]" in message
    assert not checkpoints.exists(tmp_path / "a[b]")


def test_names_that_are_no_text_come_back(tmp_path):
    names = ["a\udcffb", "a\u2028b", "a\nb", "[red]"]
    checkpoints.save(tmp_path, 1, {"model": {"a": array(0)}}, {"names": names}, 0.0)
    assert checkpoints.description(tmp_path, 1) == {"names": names}


@pytest.mark.parametrize("dtype", [np.float32, np.float64, ml_dtypes.bfloat16])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none_are_counted_and_named(dtype, bad):
    tree = {"a": array(0), "b": {0: np.array([1, bad, bad], dtype)}, "n": np.int32(3)}
    message = refusal_of(checkpoints.require_finite, {"model": tree}, "do this")
    assert message == "model/b/0 has 2 of 3 values that are NaN or infinite: do this"
    checkpoints.require_finite({"model": {"a": array(3e38), "n": np.int32(3)}}, "")
