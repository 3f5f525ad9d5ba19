"""Checkpoints on disk: named trees of arrays, a description, a score.

The only file that imports Orbax. A directory holds `checkpoints/<step>/`; each step
appears whole or not at all. Fine-tuned workdirs and converted weights look the same:
the latter hold the one step 0. Files name arrays by their path, not by any class, and
come back as NumPy arrays, whatever devices they were saved from.

With a step goes its record, `sdd_jax.json`: the shape, the dtype and the SHA-256 of
every array, the SHA-256 of every file, the description and the score, and a SHA-256 of
all that. What is read is compared with it, so what comes back is to the bit what was
saved, or an error that names what is not. Orbax is given no damaged file: its threads
would write traces of their own on the screen.
"""

import hashlib
import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from sdd_jax import distributed, files
from sdd_jax.errors import InputError
from sdd_jax.trees import (
    bytes_of,
    dtype_of,
    facts_of,
    flat,
    names_as_text,
    names_like,
    nested,
    shapes,
)

_FOLDER = "checkpoints"
_RECORD = "sdd_jax.json"
# What is not yet a step, or no longer one; other names are steps.
_UNFINISHED, _REMOVED = ".new-", ".removed-"


def save(
    directory: str | Path,
    step: int,
    trees: Mapping[str, Any],
    description: Any,
    score: float,
) -> None:
    """Save a step, and keep only it and the best one; on return it is on disk.

    Of several processes, the first one writes, and the others wait for it. What
    was written is read again and compared before an earlier step is removed.

    Args:
        directory: where `checkpoints/` lies or is made.
        step: the number of steps taken.
        trees: name -> nested dict of arrays.
        description: anything JSON can say.
        score: larger is better.

    Raises:
        InputError: the disk is full, cannot be written or does not keep what it is
            given.
    """
    folder = _folder(directory)
    if distributed.is_first():
        folder.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(folder)
    distributed.barrier(f"a place for step {step}")
    trees = {name: names_as_text(tree) for name, tree in trees.items()}
    arrays = {name: facts_of(tree) for name, tree in trees.items()}
    fresh = folder / f"{_UNFINISHED}{step}"
    try:
        with files.plain_path(folder) as plain:
            # Every process saves and reads, whoever writes: Orbax waits for all.
            ocp.save_checkpointables(str(plain / fresh.name), trees)
        wrong = _what_does_not_come_back(folder, fresh.name, arrays)
        if wrong:
            raise InputError(
                f"cannot save step {step} in {folder}: what was written does not come "
                f"back ({wrong}); what was saved before is whole: use another disk"
            )
        distributed.barrier(f"step {step} was read by all")
        if distributed.is_first():
            record = {
                "step": step,
                "score": None if math.isnan(score) else float(score),
                "description": description,
                "arrays": arrays,
                "files": _hashes_of_files(fresh),
            }
            record["sha256"] = files.json_sha256(record)
            files.write_json(fresh / _RECORD, record)
            _remove(path(directory, step), instead=fresh)
    except (OSError, ValueError) as error:
        # The storage below Orbax reports the system's errors as values.
        if not isinstance(error, OSError) and "os_error_code" not in str(error):
            raise
        reason = str(error).split(" [os_error_code")[0].split(": ")[-1]
        raise InputError(
            f"cannot save step {step} in {folder}: {reason}; what was saved before is "
            f"whole: free the disk and run the same command again"
        ) from error
    finally:
        if distributed.is_first():
            _remove_leftovers(folder)
    if distributed.is_first():
        _keep_last_and_best(directory, step)
    distributed.barrier(f"step {step} is saved")


def _what_does_not_come_back(
    folder: Path, name: str, arrays: Mapping[str, Mapping[str, Any]]
) -> str:
    """Return what is wrong with what was just written; nothing where all is well."""
    try:
        trees = _read(folder, name, arrays)
    except Exception as error:  # Orbax answers damage with any exception
        return " ".join(str(error).split())[:200] or type(error).__name__
    return _first_difference(trees, arrays)


def _hashes_of_files(place: Path) -> dict[str, str]:
    return {
        str(file.relative_to(place)): _sha256_of_file(file)
        for file in sorted(place.rglob("*"))
        if file.is_file()
    }


def _sha256_of_file(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _remove_leftovers(folder: Path) -> None:
    """Remove what an interrupted program left."""
    for path in folder.iterdir():
        if path.name.startswith((_UNFINISHED, _REMOVED)):
            shutil.rmtree(path, ignore_errors=True)


def _keep_last_and_best(directory: str | Path, last: int) -> None:
    scores = {}
    for step in _steps(directory):
        try:
            scores[step] = _score(_record(directory, step))
        except InputError:
            continue  # damaged: whoever needs it is told, and it is nobody's to remove
    best = max(scores, key=lambda step: (scores[step], step))
    for step in scores.keys() - {last, best}:
        _remove(path(directory, step))


def _remove(path: Path, instead: Path | None = None) -> None:
    """Remove a step, so that it is never seen in parts; put another in its place."""
    gone = path.with_name(f"{_REMOVED}{path.name}")
    if path.exists():
        os.replace(path, gone)
    if instead:
        os.replace(instead, path)
    if gone.exists():
        shutil.rmtree(gone, ignore_errors=True)


def _folder(directory: str | Path) -> Path:
    return Path(directory).absolute() / _FOLDER


def _score(record: Mapping[str, Any]) -> float:
    return -math.inf if record["score"] is None else record["score"]


def _steps(directory: str | Path) -> list[int]:
    """Return the saved steps, in order; InputError where there is none."""
    folder = _folder(directory)
    if not folder.is_dir() or not any(folder.iterdir()):
        raise InputError(
            f"no checkpoint in {directory}: train first (python main.py --workdir="
            f"{directory} ...) or convert published weights (python -m "
            f"weights_conversion SOURCE {directory})"
        )
    steps = [int(path.name) for path in folder.iterdir() if path.name.isdecimal()]
    if not steps:
        raise InputError(
            f"no finished checkpoint in {directory}: it was interrupted before its "
            f"first save; run the same command again"
        )
    return sorted(steps)


def exists(directory: str | Path) -> bool:
    """Return whether the directory holds a whole checkpoint."""
    try:
        latest_step(directory)
    except InputError:
        return False
    return True


def latest_step(directory: str | Path) -> int:
    """Return the last saved step; InputError where there is none."""
    return _steps(directory)[-1]


def best_step(directory: str | Path) -> int:
    """Return the step of the highest score, the later one of equals."""
    scores = {step: _score(_record(directory, step)) for step in _steps(directory)}
    return max(scores, key=lambda step: (scores[step], step))


def path(directory: str | Path, step: int) -> Path:
    """Return the folder of a step."""
    return Path(directory) / _FOLDER / str(step)


def description(directory: str | Path, step: int) -> Any:
    """Return what `save` was told of a step; InputError where it is damaged."""
    _require_step(directory, step)
    return _record(directory, step)["description"]


def load(
    directory: str | Path, step: int, examples: Mapping[str, Any]
) -> dict[str, Any]:
    """Return saved trees as NumPy arrays, each compared with its hash.

    Args:
        directory: where `checkpoints/` lies.
        step: which step.
        examples: the trees to load, with the shapes and dtypes they must have.

    Raises:
        InputError: the checkpoint does not hold such arrays, or is damaged.
    """
    _require_step(directory, step)
    record = _record(directory, step)
    wanted = {name: shapes(tree) for name, tree in examples.items()}
    _check_shapes(record["arrays"], wanted, directory)
    arrays = {name: record["arrays"][name] for name in examples}
    _require_same_files(directory, step, record["files"], list(examples))
    trees = _read(_folder(directory), str(step), arrays)
    wrong = _first_difference(trees, arrays)
    if wrong:
        raise _damaged(directory, step, wrong)
    return {name: names_like(trees[name], tree) for name, tree in examples.items()}


def _require_same_files(
    directory: str | Path, step: int, hashes: Mapping[str, str], names: list[str]
) -> None:
    """Raise InputError where a file that these trees need is not what was saved."""
    place = path(directory, step)
    for name, sha256 in hashes.items():
        first, *rest = name.split("/")
        if rest and first not in names:
            continue
        try:
            same = _sha256_of_file(place / name) == sha256
        except FileNotFoundError:
            raise _damaged(directory, step, f"the file {name} is missing") from None
        except OSError as error:
            reason = f"the file {name} cannot be read: {error.strerror}"
            raise _damaged(directory, step, reason) from error
        if not same:
            raise _damaged(directory, step, f"the file {name} is not what was saved")


def _read(
    folder: Path, name: str, arrays: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the trees of these names, shapes and dtypes."""
    empty = {
        tree: nested(
            {
                key: np.empty(facts["shape"], dtype_of(facts["dtype"]))
                for key, facts in described.items()
            }
        )
        for tree, described in arrays.items()
    }
    with files.plain_path(folder) as plain:
        return ocp.load_checkpointables(str(plain / name), empty)


def _first_difference(
    trees: Mapping[str, Any], arrays: Mapping[str, Mapping[str, Any]]
) -> str:
    """Return which array is not as it is described; nothing where all are."""
    for name, described in arrays.items():
        for key, facts in facts_of(trees[name]).items():
            if facts != described.get(key):
                return f"the array {name}/{key} is not what was saved"
    return ""


def _require_step(directory: str | Path, step: int) -> None:
    """Raise InputError where a step was not saved."""
    steps = _steps(directory)
    if step not in steps:
        raise InputError(
            f"no checkpoint of step {step} in {directory}: expected one of "
            f"{', '.join(map(str, steps))}"
        )


def _record(directory: str | Path, step: int) -> dict[str, Any]:
    """Return the record of a step that is there, once it is known to be what was saved.

    Raises:
        InputError: It is damaged, or there is none.
    """
    place = path(directory, step)
    try:
        found = files.parsed(files.read_text(place / _RECORD))
    except FileNotFoundError:
        raise InputError(
            f"the checkpoint {place} has no {_RECORD}, the record of what was saved: "
            f"an earlier version of sdd_jax made it, or it is damaged; "
            f"{_way_out(directory, step)}"
        ) from None
    except OSError as error:
        reason = f"the file {_RECORD} cannot be read: {error.strerror}"
        raise _damaged(directory, step, reason) from error
    except ValueError:
        found = {}  # no JSON any more
    if not isinstance(found, dict):
        found = {}
    sha256 = found.pop("sha256", None)
    if files.json_sha256(found) != sha256 or found.get("step") != step:
        raise _damaged(directory, step, f"the file {_RECORD} is not what was saved")
    return found


def _damaged(directory: str | Path, step: int, what: str) -> InputError:
    place = path(directory, step)
    return InputError(
        f"the checkpoint {place} is damaged ({what}): {_way_out(directory, step)}"
    )


def _way_out(directory: str | Path, step: int) -> str:
    others = [str(other) for other in _steps(directory) if other != step]
    if not others:
        return "it is the only one there: train or convert it again"
    return (
        f"remove that folder to use step {' or '.join(others)}, which is there as "
        f"well, or train or convert it again"
    )


def _check_shapes(
    found: Mapping[str, Any], wanted: Mapping[str, Any], directory: str | Path
) -> None:
    """Raise one error that lists every array that is missing or of another shape."""
    for name, want in wanted.items():
        have = {
            key: f"{tuple(facts['shape'])} {facts['dtype']}"
            for key, facts in found.get(name, {}).items()
        }
        wrong = [
            f"{key} is {have.get(key, 'missing')}, expected {want.get(key, 'nothing')}"
            for key in sorted(have.keys() | want.keys())
            if have.get(key) != want.get(key)
        ]
        if wrong:
            more = f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""
            raise InputError(
                f"the checkpoint in {directory} does not fit its model: "
                f"{'; '.join(wrong[:5])}{more}: convert or train it again"
            )


def require_finite(trees: Mapping[str, Any], what: str) -> None:
    """Raise InputError where a number is NaN or infinite.

    Args:
        trees: name -> nested dict of arrays.
        what: what the error calls the whole, and what to do about it.
    """
    for name, tree in trees.items():
        for key, leaf in flat(tree).items():
            if not jax.numpy.issubdtype(leaf.dtype, jax.numpy.inexact):
                continue
            num_bad = int((~np.isfinite(np.asarray(leaf))).sum())
            if num_bad:
                raise InputError(
                    f"{name}/{key} has {num_bad} of {leaf.size} values that are NaN or "
                    f"infinite: {what}"
                )


def sha256(tree: Any) -> str:
    """Return a hash of a tree's names, shapes, dtypes and bytes."""
    digest = hashlib.sha256()
    leaves = jax.tree_util.tree_flatten_with_path(names_as_text(tree))[0]
    for name, leaf in leaves:
        array = np.asarray(leaf)
        digest.update(f"{name} {array.shape} {array.dtype.name}\n".encode())
        digest.update(bytes_of(array))
    return digest.hexdigest()
