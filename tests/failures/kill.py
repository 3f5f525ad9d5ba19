"""What is left when a process is killed: SIGKILLs at random instants, over every mode.

    python tests/failures/kill.py FOLDER --kills=100        # part of `make failures`

Each kill hits a fresh workdir, at a random instant of the command's usual time, in one
process or in one of two, whose other one must then end in one line. The same command
must go on and leave what an undisturbed run left, to the bit. Ends with a table, and
with status 1 where anything was otherwise.
"""

import argparse
import dataclasses
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from agree import (
    ENROLL,
    of_arrays,
    of_files,
    parameters,
    prepare,
    start_of,
    told,
)
from processes import MOST_SECONDS, ROOT, Group

from sdd_jax.reports import text

MAIN = (str(ROOT / "main.py"),)
# What each mode leaves that is compared.
FILES = {
    "train": (),  # the parameters
    "explain": ("explain/explanations.npz",),
    "eval": ("eval/per_sample.npz",),
    "compare": ("compare/table.csv",),
    "sanity": ("sanity/table.csv",),
    "ablate": ("ablate/table.csv",),
    "planted": ("planted/table.csv",),
    "lookalikes": ("lookalikes/table.csv",),
    "revise": ("revise/table.csv",),
    "verify": ("verify/images.csv", "verify/metrics.csv"),
    "identify": ("identify/results.csv",),
    "explain_pair": ("explain_pair/maps.npz",),
    "prove_pairs": ("prove_pairs/table.csv",),
    "enroll": ("embeddings.npy", "references.npy"),
}
MOST = 300  # seconds, for any command


@dataclasses.dataclass
class Case:
    """A command, and what it leaves when nobody disturbs it."""

    mode: str
    count: int  # processes
    folder: Path

    def start(self, workdir: Path) -> Group:
        """Start the command."""
        if self.mode == "enroll":
            arguments = (str(self.folder / "people"), str(workdir), "--no-align")
            program = ENROLL
        else:
            arguments = (*told(self.mode, self.folder), f"--workdir={workdir}")
            program = MAIN
        return Group(
            arguments,
            count=self.count,
            devices=1,
            environment=os.environ,
            program=program,
        )

    def named(self, name: str) -> Path:
        """Return where a workdir is."""
        return self.folder / f"{self.mode}-{self.count}-{name}"

    def place(self, name: str) -> Path:
        """Return a workdir that is ready for the command."""
        workdir = self.named(name)
        shutil.rmtree(workdir, ignore_errors=True)
        if self.mode not in ("train", "enroll"):
            start_of(self.mode, self.folder, workdir)
        return workdir

    def is_as(self, workdir: Path, other: Path) -> bool:
        """Return whether two workdirs hold the same results, to the bit."""
        if self.mode == "train":
            return of_arrays(parameters(workdir), parameters(other)) == 0
        return all(of_files(workdir / x, other / x) == 0 for x in FILES[self.mode])


def main() -> int:
    """Kill; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="a new folder for all of it")
    parser.add_argument("--kills", type=int, default=100, help="(%(default)s)")
    parser.add_argument("--modes", help="such as train,enroll (all)")
    parser.add_argument("--seed", type=int, default=0, help="(%(default)s)")
    options = parser.parse_args()
    folder = options.folder.absolute()
    prepare(folder)
    modes = options.modes.split(",") if options.modes else FILES
    cases = [Case(mode, count, folder) for mode in modes for count in (1, 2)]
    usual = {}
    for case in cases:
        began = time.monotonic()
        whole(case, case.place("whole"))
        usual[case.mode, case.count] = time.monotonic() - began
    draw = random.Random(options.seed)
    found: dict[tuple[str, int], list[str]] = {}
    longest: dict[tuple[str, int], float] = {}
    for number in range(options.kills):
        case = cases[number % len(cases)]
        key = case.mode, case.count
        instant = draw.uniform(0, usual[key])
        outcome, seconds = kill(case, instant, draw.randrange(case.count))
        found.setdefault(key, []).append(outcome)
        longest[key] = max(longest.get(key, 0), seconds)
        waited = (
            f", the other had ended after {seconds:.0f} s" if case.count > 1 else ""
        )
        print(f"{number + 1}: {key} at {instant:.1f} s: {outcome}{waited}", flush=True)
    rows = [("mode", "processes", "kills", "outcome", "longest wait for the other, s")]
    for (mode, count), outcomes in found.items():
        said = ", ".join(f"{outcomes.count(x)} {x}" for x in sorted(set(outcomes)))
        waited = f"{longest[mode, count]:.0f}" if count > 1 else ""
        rows.append((mode, str(count), str(len(outcomes)), said, waited))
    print(text.markdown(rows))
    return int(any(x != SAME for outcomes in found.values() for x in outcomes))


SAME = "as undisturbed"


def whole(case: Case, workdir: Path) -> None:
    """Run a command to its end; SystemExit where it fails."""
    group = case.start(workdir)
    try:
        for status, _, errors in group.ended(MOST):
            if status:
                raise SystemExit(f"{case.mode} x {case.count}: {errors}")
    finally:
        group.close()


def kill(case: Case, instant: float, which: int) -> tuple[str, float]:
    """Kill a process at an instant, and go on; return what came of it.

    Besides, the seconds until the other process had ended.
    """
    workdir = case.place("killed")
    group = case.start(workdir)
    try:
        time.sleep(instant)
        group.kill(which)
        began = time.monotonic()
        try:
            ended = group.ended(MOST_SECONDS + 60, but=[which])
        except subprocess.TimeoutExpired:
            return "the other hangs", np.inf
        seconds = time.monotonic() - began
    finally:
        group.close()
    for status, _, errors in ended:
        # It may have been through before.
        is_line = errors.startswith("error: ") and errors.count("\n") == 1
        if status and not is_line:
            return f"more than a line: {errors[-300:]!r}", seconds
    try:
        whole(case, workdir)
    except SystemExit as error:
        return f"does not go on: {error}", seconds
    except subprocess.TimeoutExpired:
        return "hangs when it goes on", seconds
    same = case.is_as(workdir, case.named("whole"))
    return SAME if same else "other results", seconds


if __name__ == "__main__":
    sys.exit(main())
