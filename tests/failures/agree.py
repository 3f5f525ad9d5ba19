"""Do several processes give one process's numbers? Every mode, measured.

    python tests/failures/agree.py FOLDER        # part of `make failures`

The reference of P processes with D devices is one process with P x D: then a device
sees the same batch. Training starts anew each time; all else is asked of one network.
Ends with a table, and with status 1 where more differs than rounding.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from processes import ROOT, Group

from sdd_jax import checkpoints, models
from sdd_jax.reports import text
from sdd_jax.trees import flat

LAYOUTS = [(2, 1), (2, 2), (4, 1), (4, 2)]  # processes, devices each
HEAD = "--config=configs/smoke.py", "--config.train.parts=head"
# What each mode leaves: NumPy arrays, or a table.
FILES = {
    "explain": "explain/explanations.npz",
    "eval": "eval/per_sample.npz",
    "compare": "compare/table.csv",
    "verify": "verify/images.csv",
}
ROUNDING = 1e-5
# Who begins (processes, devices each), who goes on, and whether the head is divided.
ELASTIC = [
    ((4, 2), (1, 1), False),
    ((4, 2), (1, 2), False),
    ((4, 2), (1, 8), False),
    ((1, 1), (4, 2), False),
    ((4, 2), (1, 1), True),
    ((4, 2), (2, 2), True),
    ((1, 2), (4, 2), True),
]


def main() -> int:
    """Run all; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="a new folder for all of it")
    parser.add_argument("--layouts", help="such as 2x1,4x2 (all)")
    options = parser.parse_args()
    layouts = LAYOUTS
    if options.layouts:
        layouts = [tuple(map(int, x.split("x"))) for x in options.layouts.split(",")]
    folder = options.folder.absolute()
    folder.mkdir(parents=True)
    write_people(folder / "people")
    totals = sorted({count * devices for count, devices in layouts})
    network = folder / "network"
    run(folder, network, 1, 1, *HEAD)
    for total in totals:
        run_all(folder, network, 1, total)
    rows: list[tuple[str, ...]] = [("processes x devices", "train", *FILES, "enroll")]
    worst = 0.0
    for count, devices in layouts:
        run_all(folder, network, count, devices)
        here = place(folder, count, devices)
        there = place(folder, 1, count * devices)
        found = differences(here, there)
        worst = max(worst, *found)
        said = ("none" if x == 0 else f"{x:.1e}" for x in found)
        rows.append((f"{count} x {devices}", *said))
        print(rows[-1], flush=True)
    print(text.markdown(rows))
    more = [("begun by", "goes on in", "head divided", "train")]
    for begun, goes_on, divided in ELASTIC:
        found = of_elastic(folder, begun, goes_on, divided)
        worst = max(worst, found)
        said = ("{} x {}".format(*begun), "{} x {}".format(*goes_on), str(divided))
        more.append((*said, "none" if found == 0 else f"{found:.1e}"))
        print(more[-1], flush=True)
    print(text.markdown(more))
    return 0 if worst <= ROUNDING else 1


def of_elastic(
    folder: Path, begun: tuple[int, int], goes_on: tuple[int, int], divided: bool
) -> float:
    """Return how much parameters differ that were begun and ended by other layouts.

    From those of the layout that began and went on itself.
    """
    how = *HEAD, f"--config.train.divide_head={divided}"
    name = "{}x{}-{}".format(*begun, divided)
    whole = folder / "elastic" / name
    if not whole.exists():
        run(folder, whole, *begun, *how)
    other = folder / "elastic" / "{}-{}x{}".format(name, *goes_on)
    shutil.copytree(whole, other)
    last = checkpoints.latest_step(other)
    shutil.rmtree(checkpoints.path(other, last))
    run(folder, other, *goes_on, *how)
    return of_arrays(parameters(other), parameters(whole))


def place(folder: Path, count: int, devices: int) -> Path:
    """Return where a layout's files go."""
    return folder / f"{count}x{devices}"


def run_all(folder: Path, network: Path, count: int, devices: int) -> None:
    """Train anew, ask every mode of the one network, and enrol people."""
    here = place(folder, count, devices)
    if here.exists():
        return
    here.mkdir()
    run(folder, here / "trained", count, devices, *HEAD)
    shutil.copytree(network, here / "asked")
    for mode in FILES:
        run(folder, here / "asked", count, devices, *HEAD, f"--mode={mode}")
    program = "-m", "sdd_jax.enroll"
    arguments = folder / "people", here / "gallery", "--no-align", "--batch-size=8"
    start(count, devices, program, *map(str, arguments))


def run(folder: Path, workdir: Path, count: int, devices: int, *arguments: str) -> None:
    """Run main.py; SystemExit where a process fails."""
    program = (str(ROOT / "main.py"),)
    start(count, devices, program, *arguments, f"--workdir={workdir}")


def start(count: int, devices: int, program: tuple[str, ...], *arguments: str) -> None:
    """Run a program in several processes; SystemExit where one fails."""
    group = Group(
        arguments,
        count=count,
        devices=devices,
        environment=os.environ,
        program=program,
    )
    try:
        for status, _, errors in group.ended(900):
            if status:
                raise SystemExit(f"{count} x {devices} {arguments}: {errors}")
    finally:
        group.close()


def differences(here: Path, there: Path) -> list[float]:
    """Return the largest difference of each mode, as a share of the largest number."""
    found = [of_arrays(parameters(here / "trained"), parameters(there / "trained"))]
    for file in FILES.values():
        found.append(of_files(here / "asked" / file, there / "asked" / file))
    name = "embeddings.npy"
    found.append(of_files(here / "gallery" / name, there / "gallery" / name))
    return found


def parameters(workdir: Path) -> Mapping[str, Any]:
    """Return a workdir's last parameters, by name."""
    step = checkpoints.latest_step(workdir)
    return flat(models.variables(models.load(workdir, step=step)))


def of_files(here: Path, there: Path) -> float:
    """Return the largest difference of two files of arrays, or of two tables."""
    if here.suffix == ".csv":
        return of_tables(*(path.read_text() for path in (here, there)))
    one, other = np.load(here), np.load(there)
    if here.suffix == ".npy":
        one, other = {"": one}, {"": other}
    return of_arrays(dict(one), dict(other))


def of_tables(one: str, other: str) -> float:
    """Return the largest difference of two tables' numbers; of speed there is none."""
    # How fast a method was is a row of its own, and never the same.
    rows = [
        [line.split(",") for line in table.splitlines() if "images_per_" not in line]
        for table in (one, other)
    ]
    if [len(row) for row in rows[0]] != [len(row) for row in rows[1]]:
        return np.inf
    worst = 0.0
    for a, b in zip(sum(rows[0], []), sum(rows[1], []), strict=True):
        if a == b:
            continue
        try:
            # Most are per cent.
            worst = max(worst, abs(float(a) - float(b)) / max(abs(float(b)), 100))
        except ValueError:
            return np.inf
    return worst


def of_arrays(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """Return the largest difference of arrays, as a share of the largest number."""
    if list(one) != list(other):
        return np.inf
    worst = 0.0
    for a, b in ((np.asarray(one[name]), np.asarray(other[name])) for name in one):
        if a.shape != b.shape or a.dtype != b.dtype:
            return np.inf
        if a.tobytes() == b.tobytes():
            continue
        if a.dtype.kind != "f":
            return np.inf
        a, b = a.astype(np.float64), b.astype(np.float64)
        worst = max(worst, np.abs(a - b).max() / max(np.abs(b).max(), 1e-30))
    return worst


def write_people(folder: Path) -> None:
    """Write noise of three people, two images each."""
    random = np.random.default_rng(0)
    for person in "abc":
        (folder / person).mkdir(parents=True)
        for i in range(2):
            pixels = random.integers(0, 256, (112, 112, 3), np.uint8)
            Image.fromarray(pixels).save(folder / person / f"{i}.png")


if __name__ == "__main__":
    sys.exit(main())
