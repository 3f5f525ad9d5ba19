"""Fuzz every target for minutes: python tests/fuzz/long_run.py [FOLDER] [--minutes=2].

Prints a table, a row a target: inputs, seconds, new findings, peak memory. FOLDER keeps
the inputs that reached new lines, from which the next run goes on, and what was found.
"""

import argparse
import dataclasses
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_PLACES = ("", "tests", "tests/fuzz", "tests/images", "tests/weights_conversion")
_TIMEOUT = 30  # seconds of a clock; `oracle` counts the processor's


@dataclasses.dataclass
class Row:
    """What became of a target."""

    name: str
    inputs: int = 0
    seconds: float = 0.0
    findings: list[str] = dataclasses.field(default_factory=list)
    peak: int = 0  # bytes, of the process
    loaded: int = 0  # of them before the first input


def main() -> int:
    """Fuzz, print the table, and return 1 where anything was found."""
    options = _parser().parse_args()
    sys.path[:0] = [str(_HERE.parents[1] / place) for place in _PLACES]
    from all_targets import TARGETS

    rows = []
    for name in options.only or TARGETS:
        folder = options.folder / re.sub(r"\W+", "_", name)
        seeds = folder / "seeds"
        seeds.mkdir(parents=True, exist_ok=True)
        for number, contents in enumerate(TARGETS[name].seeds()):
            (seeds / str(number)).write_bytes(contents)
        if not any(seeds.iterdir()):
            print(f"{name}: a package with its good input is missing", flush=True)
            continue
        rows.append(_fuzzed(name, folder, 60 * options.minutes))
        print(_line(rows[-1]), flush=True)
    print("\n".join(["", _HEAD, *map(_line, rows)]))
    return any(row.findings for row in rows)


def _fuzzed(name: str, folder: Path, seconds: float) -> Row:
    from oracle import GIGABYTES

    row, began = Row(name), time.monotonic()
    before = set(folder.glob("*-*"))
    (folder / "corpus").mkdir(exist_ok=True)
    places = (str(_HERE.parents[1] / place) for place in _PLACES)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*places, *sys.path])}
    while (left := seconds - (time.monotonic() - began)) > 1:
        state = folder / "state.json"
        state.unlink(missing_ok=True)
        command = [sys.executable, str(_HERE / "worker.py"), name, str(folder)]
        command += [str(int(GIGABYTES * 2**30)), f"-max_total_time={int(left)}"]
        command += [f"-timeout={_TIMEOUT}", "-rss_limit_mb=0", "-max_len=1048576"]
        command += ["-len_control=0", f"-artifact_prefix={folder}/"]
        command += [str(folder / "corpus"), str(folder / "seeds")]
        with (folder / "log.txt").open("ab") as log:
            subprocess.run(command, env=environment, stdout=log, stderr=log)
        if not state.exists():
            row.findings.append(f"it did not start, see {folder / 'log.txt'}")
            break
        found = json.loads(state.read_text())
        row.inputs += found["inputs"]
        row.peak = max(row.peak, 1024 * found["peak"])
        row.loaded = 1024 * found["loaded"]
    row.seconds = time.monotonic() - began
    for path in sorted(set(folder.glob("*-*")) - before):
        if path.suffix == ".txt":
            row.findings.append(path.read_text().replace("\n", ": "))
        elif path.suffix != ".bin":  # libFuzzer's: of a hang or a crash
            row.findings.append(str(path))
    return row


_HEAD = (
    "| target | inputs | seconds | new findings | peak memory, of it before |\n"
    "|---|---|---|---|---|"
)


def _line(row: Row) -> str:
    memory = f"{row.peak / 2**20:.0f} MB, {row.loaded / 2**20:.0f} MB"
    findings = "; ".join(map(ascii, row.findings)) or "0"
    return (
        f"| {row.name} | {row.inputs:,} | {row.seconds:.0f} | {findings} | {memory} |"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("runs/fuzz"))
    parser.add_argument("--minutes", type=float, default=2.0, help="for each target")
    parser.add_argument("--only", nargs="*", help="names of targets")
    return parser


if __name__ == "__main__":
    sys.exit(main())
