"""Fine-tune, explain, evaluate: python main.py --config=configs/orl.py --workdir=DIR.

Without a config: all three modes on the embedded default, in runs/orl.
"""

import signal

# Until `main` listens there is nothing to tidy up, and what the loading of a library
# makes of Ctrl-C is a trace, or nothing.
signal.signal(signal.SIGINT, signal.SIG_DFL)

import contextlib
import importlib
import os
import sys
import time
from pathlib import Path
from typing import Any

import jax
from absl import app, flags
from ml_collections import config_flags

from sdd_jax import cli, distributed, files, launch, screen, sharding
from sdd_jax.errors import InputError
from sdd_jax.reports import table
from sdd_jax.runs import explain_folder, settings
from sdd_jax.runs import workdir as folders

# Files of sdd_jax/runs, of which only what is asked for is loaded.
RUNS = {
    "train": "train",
    "explain": "explain",
    "eval": "evaluate",
    "compare": "compare",
    "sanity": "sanity",
    "ablate": "ablate",
    "planted": "planted",
    "lookalikes": "lookalikes",
    "revise": "revise",
    "verify": "verify",
    "identify": "identify",
    "explain_pair": "explain_pair",
    "prove_pairs": "prove_pairs",
}
ALL = ("train", "explain", "eval")  # the modes of a run without one

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "The experiment; configs/orl.py by default.", lock_config=True
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Where results go; runs/<config>.")
_MODE = flags.DEFINE_string(
    "mode",
    None,
    f"{', '.join(RUNS)} or all, which is {', '.join(ALL)}; train with a --config, else "
    "all.",
)
_GALLERY = flags.DEFINE_string(
    "gallery", None, "Who else is compared, from python -m sdd_jax.enroll."
)
_NUM_DEVICES = flags.DEFINE_integer("num_devices", None, "How many; all by default.")
_COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "HOST:PORT of process 0, where several processes are one run."
)
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "How many there are.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Which this is, from 0.")
_DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "Find out the three above from Slurm, a TPU VM or Kubernetes."
)
_START_SECONDS = flags.DEFINE_integer(
    "start_seconds", launch.START_SECONDS, "How long all may take to begin."
)
_HEARTBEAT_SECONDS = flags.DEFINE_integer(
    "heartbeat_seconds",
    launch.HEARTBEAT_SECONDS,
    "After how long without an answer a process counts as gone.",
)
_PROCESSES = (
    *(_COORDINATOR, _NUM_PROCESSES, _PROCESS_ID, _DISTRIBUTED),
    *(_START_SECONDS, _HEARTBEAT_SECONDS),
)
_OWN = (_CONFIG, _WORKDIR, _MODE, _GALLERY, _NUM_DEVICES, *_PROCESSES)


_LONGEST_FLAG = 200  # characters; the longest that exists has 40
# By absl's word for a flag's type.
_EXPECTED = {"int": "a whole number", "bool": "True or False"}
# What ml_collections and absl make of a value or a name that is none.
_PARSER_ERRORS = (
    AttributeError,
    LookupError,
    OSError,
    RecursionError,
    SyntaxError,
    TypeError,
    ValueError,
)


def main(arguments: list[str]) -> int:
    """Run the mode; return the exit status, after one line on what went wrong."""
    return cli.run(
        lambda: _run(*_parse(arguments)),
        stopped="stopped; what was finished is kept, the same command goes on",
        way_out="make room, or choose another --workdir",
    )


def _run(config: dict[str, Any], workdir: Path, modes: tuple[str, ...]) -> int:
    given: dict[str, Any] = {flag.name: flag.value for flag in _PROCESSES}
    asked = launch.Asked(**given)

    def work() -> None:
        jax.set_mesh(sharding.make_mesh(_NUM_DEVICES.value))
        with contextlib.ExitStack() as stack:
            if distributed.is_first():
                stack.enter_context(files.lock(workdir / ".lock", of=workdir))
            if distributed.count() > 1:
                stack.enter_context(_log(workdir))
            _run_modes(config, workdir, modes)

    return launch.run(asked, lambda: _command(config, workdir, modes), work)


def _command(
    config: dict[str, Any], workdir: Path, modes: tuple[str, ...]
) -> dict[str, Any]:
    """Return what all processes must have been started with."""
    return {
        "--mode": list(modes),
        "--workdir": str(workdir.absolute()),
        **{f"config.{name}": value for name, value in settings.flat(config).items()},
        **{f"the version of {k}": v for k, v in folders.versions().items()},
        "the code (its SHA-256)": folders.code_sha256(),
    }


def _log(workdir: Path) -> contextlib.AbstractContextManager[None]:
    path = workdir / "logs" / f"process-{distributed.index()}.log"
    return screen.log(path, shown=distributed.is_first())


def _run_modes(config: dict[str, Any], workdir: Path, modes: tuple[str, ...]) -> None:
    seconds = {}
    for mode in modes:
        if mode != "train":
            distributed.hear_sigterm()
        began = time.monotonic()
        importlib.import_module(f"sdd_jax.runs.{RUNS[mode]}").run(config, workdir)
        seconds[mode] = time.monotonic() - began
    if len(modes) > 1:
        total = sum(seconds.values())
        shares = {
            mode: f"{value:.0f} s, {100 * value / total:.0f} %"
            for mode, value in seconds.items()
        }
        screen.console.print(table.results(f"{total:.0f} s in all", shares))
        folder = explain_folder.chosen(config["explain"], workdir)
        screen.say(f"open {folder / 'index.html'} in a browser")


def _parse(arguments: list[str]) -> tuple[dict[str, Any], Path, tuple[str, ...]]:
    """Return the config, the workdir and the modes to run."""
    program, *rest = arguments
    for i in range(len(rest) - 1, 0, -1):
        if rest[i - 1].lstrip("-") == "config":
            rest[i - 1 : i + 1] = [f"--config={rest[i]}"]
    # The config must be read before its values are overridden, wherever it stands.
    first = [a for a in rest if a.lstrip("-").startswith("config=")]
    rest = [a for a in rest if a not in first]
    default = Path(__file__).resolve().parent / "configs" / "orl.py"
    file = first[-1].partition("=")[2].partition(":")[0] if first else str(default)
    if not Path(file).is_file():
        raise InputError(f"no config at {file}: expected a file such as {default}")
    app.define_help_flags()
    begin = [program, *(first or [f"--config={default}"])]
    known: list[str] = []
    try:
        # Once for the settings there are. ml_collections looks overrides up in
        # sys.argv, whatever it is given to parse.
        sys.argv = begin
        flags.FLAGS(sys.argv)
        config = _CONFIG.value.to_dict()
        known = [*settings.flat(config), *settings.optional(config)]
        rest, added = _split_off(rest, config, known)
        sys.argv = [*begin, *rest]
        flags.FLAGS.set_gnu_getopt()  # names of images may stand before flags
        rest = flags.FLAGS(sys.argv)[1:]
        config = settings.replaced(_CONFIG.value.to_dict(), added)
    except flags.UnrecognizedFlagError as error:
        every = [*(flag.name for flag in _OWN), *(f"config.{name}" for name in known)]
        raise settings.unknown(error.flagname, every, "flag") from error
    except flags.IllegalFlagValueError as error:
        raise _refused(error) from error
    except (*_PARSER_ERRORS, flags.Error) as error:
        message = " ".join(str(error).split())
        raise InputError(f"cannot read the command line: {message}") from error
    mode = _MODE.value or ("train" if first else "all")
    if mode != "all" and mode not in RUNS:
        raise InputError(
            f"unknown mode {mode!r}: expected one of {', '.join(RUNS)} or all"
        )
    if rest and mode == "explain_pair":
        if len(rest) != 2:
            raise InputError(
                f"two images are wanted, got {len(rest)} ({', '.join(rest)}): "
                f"--mode=explain_pair PROBE REFERENCE, with a space between"
            )
        asked = {"probe": rest[0], "reference": rest[1]}
        config[mode] = config.get(mode, {}) | asked
    elif rest:
        raise InputError(
            f"{rest[0]!r} is not a flag: expected --config=FILE, --workdir=DIR, "
            f"--mode=MODE or --config.NAME=VALUE"
        )
    if _GALLERY.value:
        if "gallery" not in config.get(mode, {}):
            raise InputError(f"--mode={mode} takes no --gallery: leave it out")
        config[mode]["gallery"] = _GALLERY.value
    name = Path(config_flags.get_config_filename(flags.FLAGS["config"])).stem
    workdir = files.expanded(_WORKDIR.value or f"runs/{name}")
    return config, workdir, ALL if mode == "all" else (mode,)


def _refused(error: flags.IllegalFlagValueError) -> InputError:
    """Return what is said of a value that a flag does not take."""
    message = " ".join(str(error).split())
    name = message.removeprefix("flag --").partition("=")[0]
    if name in {flag.name for flag in _OWN}:
        expected = _EXPECTED.get(flags.FLAGS[name].flag_type())
        found = str(error).removesuffix(f": {error.__context__}").partition("=")[2]
        if expected:
            return InputError(f"--{name} is {found!r}, expected {expected}")
    return InputError(f"cannot read the command line: {message}")


def _split_off(
    arguments: list[str], config: dict[str, Any], known: list[str]
) -> tuple[list[str], dict[str, str]]:
    """Return the arguments that ml_collections reads, and settings that it does not.

    Those are what a source or a network takes and the config leaves at its default, and
    numbers, flags and lists: of a wrong one, ml_collections does not say what was
    expected, and it does not take a list as people write it: sdd,cam.

    Raises:
        InputError: a setting does not exist.
    """
    given = settings.flat(config)
    sections = {
        name[:i] for name in given for i, letter in enumerate(name) if letter == "."
    }
    kept, added, rest = [], {}, iter(arguments)
    for argument in rest:
        name, equals, value = argument.lstrip("-").partition("=")
        if argument.startswith("-") and len(name) > _LONGEST_FLAG:
            # absl would look for names alike, in seconds and hundreds of megabytes.
            raise InputError(
                f"there is no flag called {name}: none has more than {_LONGEST_FLAG} "
                f"characters"
            )
        is_override = argument.startswith("-") and name.startswith("config.")
        name = name.removeprefix("config.")
        is_judged = settings.is_judged(name)
        if not is_override or name in sections or name in given and not is_judged:
            kept.append(argument)
        elif name not in given and not settings.is_optional(name):
            raise settings.unknown(name, known)
        elif equals:
            added[name] = value
        else:
            added[name] = "True" if settings.is_flag(name) else next(rest, "")
    return kept, added


if __name__ == "__main__":
    status = main(sys.argv)
    if status:
        # A computation may still be running, and taking its threads down crashes; those
        # of a library that failed write traces on their way out.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
