"""A table of eight methods: this project beside pytorch-grad-cam, in one run.

    python -m benchmarks.compare [--workdir=runs/orl] [--images=40] [--batch_size=40]
        [--arch=ir_101] [--repeats=1] [--baseline=none]

Every image is explained by the methods that both have, at the last stage, for the class
that the network says; then the curves of deletion and insertion are measured, all
fractions of `curve_grid` under the mean fill. The network is that of a workdir of
configs/orl.py on its test faces, or, with --arch, one of drawn numbers on drawn images.
Both sides have the same weights, and run in turns. This project's maps are one program,
with the order of the pixels in it; the curves are another, launched once a method.
`grad_cam_table.py` says how the other side is written. Last comes one JSON line.

    seconds       on the clock, the least of the repeats, compiling apart
    cpu_seconds   of all cores in the same repeat: what counts on a busy machine
    ratio         pytorch-grad-cam's seconds over this project's
    apart         each method's mean curves on both sides: the largest difference at a
                  knot, per cent of the intact confidence. The package stretches maps to
                  the image; this project puts values where their cells lie.
"""

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from rich.table import Table

from benchmarks import command, drawn
from benchmarks.counting import compilations
from benchmarks.watch import Watch
from sdd_jax import models, screen
from sdd_jax.errors import InputError
from sdd_jax.faithfulness import ORDERS, Outcome
from sdd_jax.faithfulness.curves import curve_grid, relative_confidence, srg
from sdd_jax.files import expanded
from sdd_jax.models import FaceClassifier, inference
from sdd_jax.models.dlib_resnet import DlibResNet
from sdd_jax.models.ir_resnet import ARCHITECTURES
from sdd_jax.runs import setup
from sdd_jax.runs.split_outcomes import Programs
from sdd_jax.runs.spread import spread
from sdd_jax.runs.whole_split import chunks, launch
from sdd_jax.saliency import bind_methods
from sdd_jax.types import ImageSet

METHODS = (
    *("grad_cam", "grad_cam_plus_plus", "hires_cam", "xgrad_cam", "layer_cam"),
    *("eigen_cam", "score_cam", "ablation_cam"),
)
# What makes a method the package's.
OPTIONS = {"eigen_cam": {"centre": True}}
FILL = "mean"
WANTED = curve_grid((FILL,))
OURS, THEIRS = "sdd_jax", "pytorch-grad-cam"


class Ours:
    """The table by this project: two programs, compiled when they first run."""

    def __init__(self, model: FaceClassifier, image_set: ImageSet, batch_size: int):
        """Put the images on the devices."""
        length = -(-len(image_set) // batch_size)
        (self.chunk,) = chunks(image_set, batch_size=batch_size, length=length)
        self.programs = Programs(
            model,
            methods=bind_methods(METHODS, OPTIONS),
            wanted=WANTED,
            seed=0,
            batch_size=batch_size,
        )

    def __call__(self, watch: Watch) -> tuple[Outcome, Outcome]:
        """Return the intact and the perturbed outcomes."""
        programs, chunk = self.programs, self.chunk
        explain, arrays = programs.explain(METHODS), programs.arrays
        rows, kept = watch("maps", lambda: launch(explain, arrays, chunk.images, chunk))

        def tested(name: str) -> Outcome:
            data = chunk.images, kept["intact"], kept["ranks"][name]
            return launch(programs.test, arrays, data, chunk)[0]

        found = watch("curves", lambda: [tested(name) for name in METHODS])
        number = chunk.num_images
        intact = Outcome(
            *(rows[x].reshape(-1)[:number] for x in ("confidence", "prediction"))
        )
        perturbed = Outcome(
            *(
                np.stack([row.reshape(-1, len(WANTED))[:number].T for row in part])
                for part in zip(*found, strict=True)
            )
        )
        return intact, perturbed


def main(arguments: list[str] | None = None) -> int:
    """Time both sides, in turns, and return the exit status."""
    parser = command.parser(__doc__)
    parser.add_argument("--workdir", default="runs/orl")
    parser.add_argument("--arch", choices=(*ARCHITECTURES, "dlib"))
    parser.add_argument("--identities", type=command.at_least(2), default=530)
    parser.add_argument("--images", type=command.at_least(1), default=40)
    parser.add_argument("--batch_size", type=command.at_least(1), default=40)
    parser.add_argument("--repeats", type=command.at_least(1), default=1)
    parser.add_argument("--baseline", choices=("none", "all"), default="all")
    options = parser.parse_args(arguments)
    return command.run(lambda: _run(options))


def _network_and_images(
    options: argparse.Namespace,
) -> tuple[FaceClassifier, ImageSet]:
    if options.arch:
        trained = drawn.classifier(options.arch, "float32", options.identities)
        pixels = drawn.images(options.images, size=trained.spec.size)
        return trained, drawn.image_set(pixels)
    from configs import orl

    folder = expanded(options.workdir)
    trained = models.load(folder)
    if not isinstance(trained.backbone, DlibResNet):
        raise InputError(
            f"the network in {folder} is not dlib's: expected a workdir of "
            f"configs/orl.py, or --arch for drawn weights"
        )
    config = orl.get_config().to_dict()
    image_set = setup.load_splits(config, folder)[config["compare"]["split"]]
    # Evenly spaced: as many people as there can be.
    return trained, spread(image_set, options.images)


def _theirs(
    options: argparse.Namespace, trained: FaceClassifier, pixels: np.ndarray
) -> Callable[..., Any] | None:
    """Return the other side; a note is printed where it cannot be had."""
    if options.baseline == "none":
        return None
    try:
        import torch  # noqa: F401
    except (ImportError, OSError) as error:  # or a library that it loads
        screen.say(f"left out, no PyTorch ({error}): {command.TORCH} to measure it")
        return None
    from benchmarks import grad_cam_baseline, grad_cam_table

    if not grad_cam_baseline.can_be_imported():
        screen.say(grad_cam_baseline.HOW_TO_GET_IT)
        return None
    network = grad_cam_table.network_of(trained, options.arch)
    return grad_cam_table.Job(network, pixels, WANTED, options.batch_size)


def _run(options: argparse.Namespace) -> None:
    trained, image_set = _network_and_images(options)
    pixels = np.stack([image_set.read(i) for i in range(len(image_set))])
    model = inference.folded(trained, dtype="float32")
    ours = Ours(model, image_set, options.batch_size)
    sides: dict[str, Callable[[Watch], Any]] = {OURS: ours}
    with compilations() as compiled:
        ours(Watch())
    if theirs := _theirs(options, trained, pixels):
        theirs(Watch(), min(2, len(pixels)))  # once without the clock
        sides[THEIRS] = theirs
    best: dict[str, Watch] = {}
    found = {}
    for _ in range(options.repeats):
        for name, side in sides.items():
            watch = Watch()
            found[name] = side(watch)
            best[name] = min(best.get(name, watch), watch, key=Watch.total)

    clocks = {name: watch.times(0) for name, watch in best.items()}
    cores = {name: watch.times(1) for name, watch in best.items()}
    ratios = apart = None
    if THEIRS in clocks:
        ratios = {
            what: {
                part: times[THEIRS][part] / times[OURS][part]
                for part in ("maps", "curves", "all")
            }
            for what, times in (("clock", clocks), ("cpu", cores))
        }
        apart = _apart(found[OURS], found[THEIRS])
    _show(clocks, cores, apart, sum(compiled))
    result = vars(options) | {
        "images": len(image_set),
        "seconds": clocks,
        "cpu_seconds": cores,
        "compile_seconds": sum(compiled),
        "ratio": ratios,
        "curves": {name: _means(*each) for name, each in found.items()},
        "apart": apart,
    }
    print(json.dumps(result))


def _mean_curves(intact: Outcome, perturbed: Outcome) -> np.ndarray:
    """Return the means over images, [orders, methods, knots], per cent."""
    curves = [
        relative_confidence(order, FILL, intact, perturbed, WANTED) for order in ORDERS
    ]
    return 100 * np.stack([curve.values.mean(-1) for curve in curves])


def _means(intact: Outcome, perturbed: Outcome) -> dict[str, Any]:
    curves = _mean_curves(intact, perturbed)
    gains = srg(FILL, intact, perturbed, WANTED).mean(-1)
    return {
        name: dict(zip(ORDERS, curves[:, place].tolist(), strict=True))
        | {"srg": float(gains[place])}
        for place, name in enumerate(METHODS)
    }


def _apart(ours: Any, theirs: Any) -> dict[str, float]:
    differences = np.abs(_mean_curves(*ours) - _mean_curves(*theirs)).max((0, 2))
    return dict(zip(METHODS, map(float, differences), strict=True))


def _show(
    clocks: dict[str, dict[str, float]],
    cores: dict[str, dict[str, float]],
    apart: dict[str, float] | None,
    compiling: float,
) -> None:
    shown = Table(title=f"seconds (of all cores); {OURS} compiled for {compiling:.1f}")
    for heading in ("", *clocks, "ratio", "curves apart, %"):
        shown.add_column(heading, justify="right" if heading else "left")
    last = list(clocks.values())[-1]
    for part in ("maps", *(x for x in last if ": " in x), "curves", "all"):
        cells = [
            f"{clocks[name][part]:.2f} ({cores[name][part]:.2f})"
            if part in clocks[name]
            else ""
            for name in clocks
        ]
        both = len(clocks) == 2 and all(part in times for times in clocks.values())
        ratio = f"{last[part] / clocks[OURS][part]:.2f}" if both else ""
        method = part.removeprefix("maps: ")
        far = f"{apart[method]:.2f}" if apart and method in apart else ""
        shown.add_row(part, *cells, ratio, far)
    screen.console.print(shown)


if __name__ == "__main__":
    sys.exit(main())
