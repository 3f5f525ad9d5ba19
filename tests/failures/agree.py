"""Do several processes give one process's numbers? Every mode, measured.

    python tests/failures/agree.py FOLDER        # part of `make failures`

The reference of P processes with D devices is one process with P x D: then a device
sees the same batch. Training starts anew each time; all else is asked of one network,
planted of one of its own, and identify of SFace.
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
ENROLL = "-m", "sdd_jax.enroll"
HEAD = "--config=configs/smoke.py", "--config.train.parts=head"
TWINS = ("source=planted", "of=synthetic", "num_identities=8", "num_images=15")
TWINS += "num_pairs=1", "num_fours=1"
DRAWN = "source=synthetic", "num_identities=6", "num_images=10"
# What a mode is told where it is not HEAD.
OTHERWISE = {
    "planted": (*HEAD, *(f"--config.data.{x}" for x in TWINS)),
    "identify": (
        "--config=configs/verify.py",
        *(f"--config.data.{x}" for x in DRAWN),
        *("--config.verify.align=False", "--config.identify.align=False"),
        "--config.verify.far=0.1",
    ),
}
# What each mode leaves: NumPy arrays, or a table.
FILES = {
    "explain": "explain/explanations.npz",
    "eval": "eval/per_sample.npz",
    "compare": "compare/table.csv",
    "planted": "planted/table.csv",
    "revise": "revise/table.csv",
    "verify": "verify/images.csv",
    "identify": "identify/results.csv",
    "explain_pair": "explain_pair/maps.npz",
    "prove_pairs": "prove_pairs/table.csv",
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
    prepare(folder)
    totals = sorted({count * devices for count, devices in layouts})
    for total in totals:
        run_all(folder, 1, total)
    rows: list[tuple[str, ...]] = [("processes x devices", "train", *FILES, "enroll")]
    worst = 0.0
    for count, devices in layouts:
        run_all(folder, count, devices)
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
        run(whole, *begun, *how)
    other = folder / "elastic" / "{}-{}x{}".format(name, *goes_on)
    shutil.copytree(whole, other)
    last = checkpoints.latest_step(other)
    shutil.rmtree(checkpoints.path(other, last))
    run(other, *goes_on, *how)
    return of_arrays(parameters(other), parameters(whole))


def place(folder: Path, count: int, devices: int) -> Path:
    """Return where a layout's files go."""
    return folder / f"{count}x{devices}"


def prepare(folder: Path) -> None:
    """Make what the modes start from, in a new folder."""
    folder.mkdir(parents=True)
    write_people(folder / "people")
    run(folder / "start", 1, 1, *HEAD)
    run(folder / "start-planted", 1, 1, *OTHERWISE["planted"])
    run(folder / "start-identify", 1, 1, *OTHERWISE["identify"], "--mode=verify")
    enroll(folder, folder / "gallery", 1, 1)


def start_of(mode: str, folder: Path, workdir: Path) -> None:
    """Make a mode's workdir, as it is before the mode runs."""
    own = folder / f"start-{mode}"
    shutil.copytree(own if own.exists() else folder / "start", workdir)
    if mode == "revise":
        (workdir / "forbid.txt").write_text("1\n")


def told(mode: str, folder: Path) -> tuple[str, ...]:
    """Return a mode's arguments, but for its workdir."""
    own: tuple[str, ...] = ()
    if mode == "identify":
        own = f"--gallery={folder}/gallery", f"--config.identify.images={folder}/people"
    if mode == "explain_pair":
        own = "person0/0", "person1/3"
    return *OTHERWISE.get(mode, HEAD), f"--mode={mode}", *own


def run_all(folder: Path, count: int, devices: int) -> None:
    """Train anew, ask every mode, and enrol people."""
    here = place(folder, count, devices)
    if here.exists():
        return
    here.mkdir()
    run(here / "train", count, devices, *HEAD)
    for mode in FILES:
        start_of(mode, folder, here / mode)
        run(here / mode, count, devices, *told(mode, folder))
    enroll(folder, here / "gallery", count, devices)


def enroll(folder: Path, gallery: Path, count: int, devices: int) -> None:
    """Enrol the people; SystemExit where a process fails."""
    arguments = folder / "people", gallery, "--no-align", "--batch-size=8"
    start(count, devices, ENROLL, *map(str, arguments))


def run(workdir: Path, count: int, devices: int, *arguments: str) -> None:
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
    found = [of_arrays(parameters(here / "train"), parameters(there / "train"))]
    for mode, file in FILES.items():
        found.append(of_files(here / mode / file, there / mode / file))
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


def write_people(folder: Path, num_images: int = 2) -> None:
    """Write noise of three people, some images each."""
    random = np.random.default_rng(0)
    for person in "abc":
        (folder / person).mkdir(parents=True)
        for i in range(num_images):
            pixels = random.integers(0, 256, (112, 112, 3), np.uint8)
            Image.fromarray(pixels).save(folder / person / f"{i}.png")


if __name__ == "__main__":
    sys.exit(main())
