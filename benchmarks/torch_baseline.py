"""What explaining and evaluating costs in PyTorch, by hand and with pytorch-grad-cam.

    python -m benchmarks.torch_baseline [--arch=ir_101] [--images=32] [--dtype=float32]

The job is the paper's: for every image one clean pass, SDD and a random map, and the
most salient fifth of each removed and kept alone, in black: five forward passes. With
pytorch-grad-cam it is Grad-CAM in SDD's place, which it does not have; for this head
Grad-CAM is CAM. Last comes one JSON line.
"""

import argparse
import json
import math
import sys
import time
from functools import partial

from rich.table import Table

from benchmarks import command
from sdd_jax import screen


def main(arguments: list[str] | None = None) -> int:
    """Time both, in turns, and return the exit status."""
    parser = command.parser(__doc__)
    parser.add_argument("--arch", default="ir_101")
    parser.add_argument("--images", type=command.at_least(1), default=32)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--batch_size", type=command.at_least(1), default=16)
    parser.add_argument("--repeats", type=command.at_least(1), default=3)
    parser.add_argument(
        "--compile",
        action="store_true",
        help="torch.compile what is written by hand; needs a C++ compiler",
    )
    options = parser.parse_args(arguments)
    return command.run(lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    torch = command.required("torch", command.TORCH)
    if options.compile:
        command.require_compiler()
    from benchmarks import drawn, grad_cam_baseline, torch_by_hand
    from benchmarks.torch_network import Folded, load, tensors_of
    from sdd_jax.models.ir_resnet import ARCHITECTURES

    num_classes = 530
    tensors = tensors_of(drawn.classifier(options.arch, "float32", num_classes))
    loaded = load(ARCHITECTURES[options.arch], num_classes, tensors)
    dtype = getattr(torch, options.dtype)
    by_hand, for_grad_cam = (
        Folded(loaded, size=drawn.SIZE, dtype=dtype) for _ in range(2)
    )
    if options.compile:
        by_hand.body.compile(options={"freezing": True})
    images = torch.from_numpy(drawn.images(options.images))
    jobs = {"PyTorch by hand": partial(torch_by_hand.explain_and_evaluate, by_hand)}
    if grad_cam_baseline.can_be_imported():
        jobs["pytorch-grad-cam"] = partial(
            grad_cam_baseline.explain_and_evaluate, for_grad_cam
        )
    else:
        screen.say(grad_cam_baseline.HOW_TO_GET_IT)
    seconds = {name: math.inf for name in jobs}
    effects = {}
    for job in jobs.values():  # once without the clock
        job(images[: options.batch_size], batch_size=options.batch_size)
    for _ in range(options.repeats):
        for name, job in jobs.items():
            began = time.perf_counter()
            effects[name] = job(images, batch_size=options.batch_size)
            seconds[name] = min(seconds[name], time.perf_counter() - began)

    shown = Table(title=f"{options.arch}, {options.dtype}: explain and evaluate")
    for heading in ("", "images/s", "passes/s"):
        shown.add_column(heading, justify="right" if heading else "left")
    for name in jobs:
        rate = options.images / seconds[name]
        shown.add_row(name, f"{rate:.2f}", f"{5 * rate:.1f}")
    screen.console.print(shown)
    names = ("PyTorch by hand", "pytorch-grad-cam")
    result = vars(options) | {
        "num_threads": torch.get_num_threads(),
        "images_per_second": {
            name: options.images / seconds[name] if name in jobs else None
            for name in names
        },
        "effects": {name: effects.get(name) for name in names},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    sys.exit(main())
