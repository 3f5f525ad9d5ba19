"""Checkpoints on disk: named trees of arrays, a description, a score.

The only file that imports Orbax. A directory holds `checkpoints/<step>/`; each step
appears whole or not at all. Fine-tuned workdirs and converted weights look the same:
the latter hold the one step 0. Files name arrays by their path, not by any class, and
come back as NumPy arrays, whatever devices they were saved from.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from sdd_jax.errors import InputError

_FOLDER = "checkpoints"


def _names_as_text(tree: Any) -> Any:
    """Return the tree with list positions, which are whole numbers, as text."""
    if isinstance(tree, Mapping):
        return {str(name): _names_as_text(value) for name, value in tree.items()}
    return tree


def _names_like(tree: Any, example: Any) -> Any:
    """Return the tree with its names as they are in the example."""
    if isinstance(example, Mapping):
        return {
            name: _names_like(tree[str(name)], value) for name, value in example.items()
        }
    return tree


def save(
    directory: str | Path,
    step: int,
    trees: Mapping[str, Any],
    description: Any,
    score: float,
) -> None:
    """Save a step, and keep only it and the best one; on return it is on disk.

    Args:
        directory: where `checkpoints/` lies or is made.
        step: the number of steps taken.
        trees: name -> nested dict of arrays.
        description: anything JSON can say.
        score: larger is better.

    Raises:
        InputError: the disk is full or cannot be written.
    """
    policies = ocp.training.preservation_policies
    # Typed as any policy because its own annotations leave out this combination.
    keep: Any = policies.AnyPreservationPolicy(
        [policies.LatestN(1), policies.BestN(get_metric_fn=_score, n=1)]
    )
    path = _folder(directory)
    path.mkdir(parents=True, exist_ok=True)
    try:
        with ocp.training.Checkpointer(
            str(path), preservation_policy=keep, cleanup_tmp_directories=True
        ) as checkpointer:
            checkpointer.save_checkpointables(
                step,
                {name: _names_as_text(tree) for name, tree in trees.items()},
                custom_metadata=description,
                metrics={"score": score},
            )
    except (OSError, ValueError) as error:
        # The storage below Orbax reports the system's errors as values.
        if not isinstance(error, OSError) and "os_error_code" not in str(error):
            raise
        reason = str(error).split(" [os_error_code")[0].split(": ")[-1]
        raise InputError(
            f"cannot save step {step} in {path}: {reason}; what was saved before is "
            f"whole: free the disk and run the same command again"
        ) from error


def _folder(directory: str | Path) -> Path:
    return Path(directory).absolute() / _FOLDER


def _score(metrics: Any) -> float:
    # None where a step's removal was cut short, NaN where the network overflowed.
    score = metrics["score"] if metrics else math.nan
    return -math.inf if math.isnan(score) else score


@contextmanager
def _reader(
    directory: str | Path, step: int | None = None
) -> Iterator[ocp.training.Checkpointer]:
    path = _folder(directory)
    if not path.is_dir() or not any(path.iterdir()):
        raise InputError(
            f"no checkpoint in {directory}: train first (python main.py --workdir="
            f"{directory} ...) or convert published weights (python -m "
            f"weights_conversion SOURCE {directory})"
        )
    with ocp.training.Checkpointer(str(path)) as checkpointer:
        if checkpointer.latest is None:
            raise InputError(
                f"no finished checkpoint in {directory}: it was interrupted before its "
                f"first save; run the same command again"
            )
        steps = [checkpoint.step for checkpoint in checkpointer.checkpoints]
        if step is not None and step not in steps:
            raise InputError(
                f"no checkpoint of step {step} in {directory}: expected one of "
                f"{', '.join(map(str, sorted(steps)))}"
            )
        yield checkpointer


def exists(directory: str | Path) -> bool:
    """Return whether the directory holds a whole checkpoint."""
    try:
        latest_step(directory)
    except InputError:
        return False
    return True


def latest_step(directory: str | Path) -> int:
    """Return the last saved step; InputError where there is none."""
    with _reader(directory) as checkpointer:
        return max(checkpoint.step for checkpoint in checkpointer.checkpoints)


def best_step(directory: str | Path) -> int:
    """Return the step of the highest score, the later one of equals."""
    with _reader(directory) as checkpointer:
        best = max(checkpointer.checkpoints, key=lambda c: (_score(c.metrics), c.step))
        return best.step


def path(directory: str | Path, step: int) -> Path:
    """Return the folder of a step."""
    return Path(directory) / _FOLDER / str(step)


def description(directory: str | Path, step: int) -> Any:
    """Return what `save` was told of a step."""
    with _reader(directory, step) as checkpointer:
        return checkpointer.checkpointables_metadata(step).custom_metadata


def load(
    directory: str | Path, step: int, examples: Mapping[str, Any]
) -> dict[str, Any]:
    """Return saved trees as NumPy arrays.

    Args:
        directory: where `checkpoints/` lies.
        step: which step.
        examples: the trees to load, with the shapes and dtypes they must have.

    Raises:
        InputError: the checkpoint does not hold such arrays.
    """
    wanted = {
        name: jax.tree.map(lambda x: np.empty(x.shape, x.dtype), _names_as_text(tree))
        for name, tree in examples.items()
    }
    with _reader(directory, step) as checkpointer:
        found = checkpointer.checkpointables_metadata(step).metadata
        _check_shapes(found, wanted, directory)
        trees = checkpointer.load_checkpointables(step, wanted)
    return {name: _names_like(trees[name], tree) for name, tree in examples.items()}


def _shapes(tree: Any) -> dict[str, str]:
    """Return each array's shape and dtype by its name."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {
        jax.tree_util.keystr(
            path, simple=True, separator="/"
        ): f"{tuple(leaf.shape)} {np.dtype(leaf.dtype).name}"
        for path, leaf in leaves
    }


def _check_shapes(
    found: Mapping[str, Any], wanted: Mapping[str, Any], directory: str | Path
) -> None:
    """Raise one error that lists every array that is missing or of another shape."""
    for name, tree in wanted.items():
        have, want = _shapes(found.get(name, {})), _shapes(tree)
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


def sha256(tree: Any) -> str:
    """Return a hash of a tree's names, shapes, dtypes and bytes."""
    digest = hashlib.sha256()
    leaves = jax.tree_util.tree_flatten_with_path(_names_as_text(tree))[0]
    for name, leaf in leaves:
        array = np.ascontiguousarray(leaf)
        digest.update(f"{name} {array.shape} {array.dtype.name}\n".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)  # not a copy
    return digest.hexdigest()
