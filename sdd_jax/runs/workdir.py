"""A run's folder: whose it is, and with what it was made."""

import functools
import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from sdd_jax import distributed
from sdd_jax.errors import InputError
from sdd_jax.files import parsed, read_text, write_bytes, write_json
from sdd_jax.runs.settings import flat
from sdd_jax.training import guidance

# They trade memory for time, say more or less on the way, or, as groups, change what
# one mode writes and nothing that is kept.
_CHANGE_NO_RESULT = {"train.remat", "train.cache_images", "train.log_every"}
_CHANGE_NO_RESULT |= {"train.divide_head", "data.groups"}
# What settings were before they existed: older folders do not name them.
_BEFORE = {
    "train.loss": "softmax",
    **{f"train.guidance.{name}": value for name, value in guidance.OFF.items()},
    "train.guidance.parts": [],  # as JSON has it
}


def claim(workdir: Path, config: Mapping[str, Any], sections: tuple[str, ...]) -> None:
    """Make the folder this config's, or check that it is; process 0 does.

    Args:
        workdir: made where missing.
        config: plain dict; stored as `config.json`.
        sections: the parts of the config that must not differ.

    Raises:
        InputError: the folder belongs to another config.
    """
    check(workdir, config, sections)
    path = workdir / "config.json"
    if distributed.is_first() and not path.exists():
        workdir.mkdir(parents=True, exist_ok=True)
        write_json(path, config)


def check(workdir: Path, config: Mapping[str, Any], sections: tuple[str, ...]) -> None:
    """Raise InputError where the folder is another config's; see `claim`."""
    path = workdir / "config.json"
    if not path.exists():
        return
    try:
        stored = parsed(read_text(path))
        there = flat({name: stored.get(name) for name in sections})
    except (ValueError, AttributeError) as error:
        raise InputError(
            f"{path} is damaged ({error}): choose another --workdir or remove it"
        ) from error
    # What JSON cannot tell apart, such as a tuple and a list, is not a difference.
    plain = json.loads(json.dumps({name: config[name] for name in sections}))
    here = flat(plain)
    there = {name: _BEFORE[name] for name in _BEFORE.keys() & here.keys()} | there
    names = sorted((there.keys() | here.keys()) - _CHANGE_NO_RESULT)
    different = [name for name in names if there.get(name) != here.get(name)]
    if not different:
        return
    values = ", ".join(
        f"{name} is {there.get(name)!r} there and {here.get(name)!r} now"
        for name in different[:4]
    )
    more = f", and {len(different) - 4} more differ" if len(different) > 4 else ""
    way_out = "give the --config that it was made with"
    if there.keys() == here.keys() and None not in map(there.get, different):
        given = " ".join(f"'--config.{name}={there[name]}'" for name in different)
        way_out = f"pass {given}"
    raise InputError(
        f"{workdir} belongs to another config: {values}{more}; choose another "
        f"--workdir or {way_out}"
    )


def planned_steps(workdir: Path) -> int:
    """Return how many steps the folder is to be trained for, 0 where nobody says."""
    try:
        return int(parsed(read_text(workdir / "config.json"))["train"]["steps"])
    except (OSError, ValueError, LookupError, TypeError):
        return 0


def results(workdir: Path, provenance: Mapping[str, Any]) -> Path:
    """Return where a checkpoint's finished results are; see `store`.

    Args:
        workdir: the run's folder.
        provenance: from `setup.open_split`.
    """
    return workdir / "results" / provenance["checkpoint_sha256"][:16]


def facts(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return what every finished result depends on: network, versions and code."""
    network = {
        name: provenance[name] for name in ("compute_dtype", "checkpoint_sha256")
    }
    return network | {"versions": versions(), "code": code_sha256()}


def write_table(folder: Path, result: Mapping[str, Any], reports: ModuleType) -> None:
    """Write a result as `table.json`, `table.md` and `table.csv`.

    Args:
        folder: where to.
        result: as JSON.
        reports: a module with `markdown` and `csv`, which make a text of it.
    """
    write_json(folder / "table.json", result)
    write_bytes(folder / "table.md", reports.markdown(result).encode())
    write_bytes(folder / "table.csv", reports.csv(result).encode())


def versions() -> dict[str, str]:
    """Return the versions of what the numbers depend on."""
    names = ("sdd_jax", "jax", "jaxlib", "flax", "optax", "grain", "numpy", "pillow")
    return {name: importlib.metadata.version(name) for name in names}


@functools.cache
def code_sha256() -> str:
    """Return a hash of this package's source files: the same numbers need the same."""
    digest = hashlib.sha256()
    root = Path(__file__).resolve().parents[1]
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()
