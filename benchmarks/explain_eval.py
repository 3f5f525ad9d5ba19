"""Explaining and evaluating a split: this project beside PyTorch, in turns.

    python -m benchmarks.explain_eval [--arch=ir_101] [--images=64] [--dtype=float32]
        [--batch_size=32] [--identities=530] [--repeats=3] [--baseline=...]

The job is the paper's: for every image one clean pass, SDD and a random map, and the
most salient fifth of each removed and kept alone, in black: five forward passes. Here
it is the program of `--mode=eval`, launched once; compiling is not in the time. Both
sides have the same weights. dlib's network, `--arch=dlib`, is compared with PyTorch by
hand only. Last comes one JSON line.

    flops_ratio     XLA's count for the job over that of five forward passes; to count
                    them is to compile twice; null with --no-flops_ratio
    launches, compilations: of the first run
    peak_memory_mb  of this process before PyTorch is loaded, with JAX and the compiler
"""

import argparse
import functools
import json
import math
import resource
import sys
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from rich.table import Table

from benchmarks import command, drawn
from benchmarks.counting import compilations, launches
from sdd_jax import screen
from sdd_jax.faithfulness import ORDERS, Outcome, grid, measured_each
from sdd_jax.faithfulness.study import explained, tested
from sdd_jax.models import FaceClassifier, inference
from sdd_jax.models.functional import join_model, split_model
from sdd_jax.models.inference import parts
from sdd_jax.models.ir_resnet import ARCHITECTURES
from sdd_jax.runs.split_outcomes import Programs, split_outcomes
from sdd_jax.saliency import bind_methods
from sdd_jax.types import Batch, ImageSet

METHODS = ("sdd", "random_map")
WANTED = grid(("black",), (0.2,))
BASELINES = ("none", "by_hand", "all")


class Job:
    """The evaluation of a set of images, compiled when it first runs."""

    def __init__(self, model: FaceClassifier, image_set: ImageSet, batch_size: int):
        """Prepare the program; nothing is computed."""
        self.image_set = image_set
        self.programs = Programs(
            model,
            methods=bind_methods(METHODS, {}),
            wanted=WANTED,
            seed=0,
            batch_size=batch_size,
        )

    def __call__(self) -> dict[str, Any]:
        """Return the mean effects in the form of `torch_by_hand`."""
        rows = split_outcomes(self.programs, self.image_set)
        names = ("confidence_drop", "prediction_change")
        means = {
            name: measured_each(name, rows.intact, rows.perturbed, WANTED).mean(-1)
            for name in names
        }
        return {
            method: {
                order: {name: float(means[name][m, o]) for name in names}
                for o, order in enumerate(ORDERS)
            }
            for m, method in enumerate(METHODS)
        }


def num_passes(methods: tuple[str, ...]) -> int:
    """Return how often every image goes through the network: clean, and masked."""
    return 1 + len(methods) * len(WANTED)


def flops_ratio(
    model: FaceClassifier, batch_size: int, methods: tuple[str, ...] = METHODS
) -> float:
    """Return the flops of a batch's evaluation over those of its forward passes.

    XLA counts the body of a loop once, so loops are written out for the count.
    """
    bound = bind_methods(methods, {})
    size = model.spec.size
    batch = jax.eval_shape(
        lambda: Batch(
            jnp.zeros((batch_size, size, size, 3), jnp.uint8),
            jnp.zeros(batch_size, jnp.int32),
            jnp.zeros(batch_size, jnp.int32),
            jnp.zeros(batch_size, bool),
        )
    )
    graphdef, arrays = split_model(model)

    # The halves are two programs, as in the evaluation.
    def explain(arrays: Any, batch: Batch) -> Any:
        model = join_model(graphdef, arrays)
        out = explained(model, batch, methods=bound, wanted=WANTED, seed=0)
        return out["intact"], jnp.stack(list(out["ranks"].values()))

    def test(arrays: Any, batch: Batch, intact: Outcome, ranks: Any) -> Any:
        model = join_model(graphdef, arrays)
        images, places = batch.images, batch.indices
        return tested(model, images, places, intact, ranks, wanted=WANTED, seed=0)

    def forward(arrays: Any, images: Any) -> Any:
        model = join_model(graphdef, arrays)
        return model.logits(model.feature_maps(images))

    def flops(f: Callable[..., Any], *operands: Any) -> float:
        # Blocks of images are loops too: one block is the whole batch here.
        with (
            mock.patch.object(jax.lax, "map", _written_out),
            mock.patch.object(parts, "_BYTES_A_BLOCK", 2**60),
        ):
            compiled = jax.jit(f).lower(*operands).compile()
        return (compiled.cost_analysis() or {})["flops"]

    job = flops(explain, arrays, batch)
    # After the count: what is traced once keeps its loops as they were.
    kept = jax.eval_shape(explain, arrays, batch)
    job += flops(test, arrays, batch, *kept)
    return job / (num_passes(methods) * flops(forward, arrays, batch.images))


def _written_out(f: Callable[[Any], Any], xs: Any) -> Any:
    length = len(jax.tree.leaves(xs)[0])
    results = [f(jax.tree.map(lambda x, i=i: x[i], xs)) for i in range(length)]
    return jax.tree.map(lambda *rows: jnp.stack(rows), *results)


def main(arguments: list[str] | None = None) -> int:
    """Time all sides, in turns, and return the exit status."""
    parser = command.parser(__doc__)
    parser.add_argument("--arch", choices=(*ARCHITECTURES, "dlib"), default="ir_101")
    parser.add_argument("--images", type=command.at_least(1), default=64)
    parser.add_argument("--dtype", choices=inference.DTYPES, default="float32")
    parser.add_argument("--batch_size", type=command.at_least(1), default=32)
    parser.add_argument("--identities", type=command.at_least(5), default=530)
    parser.add_argument("--repeats", type=command.at_least(1), default=3)
    parser.add_argument("--baseline", choices=BASELINES, default="all")
    yes_or_no = argparse.BooleanOptionalAction
    parser.add_argument("--flops_ratio", action=yes_or_no, default=True)
    options = parser.parse_args(arguments)
    return command.run(lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    trained = drawn.classifier(options.arch, "float32", options.identities)
    model = inference.folded(trained, dtype=options.dtype)
    pixels = drawn.images(options.images, size=trained.spec.size)
    with launches() as launched, compilations() as compiled:
        job = Job(model, drawn.image_set(pixels), options.batch_size)
        effects = {"sdd_jax": job()}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    jobs: dict[str, Callable[[], Any]] = {"sdd_jax": job}
    if options.baseline != "none" and options.dtype == "float32":
        unfolded = Job(trained, drawn.image_set(pixels), options.batch_size)
        jobs["sdd_jax, not folded"] = unfolded
    jobs |= _baselines(options, trained, pixels)
    for name in list(jobs)[1:]:  # once without the clock
        effects[name] = jobs[name]()
    seconds = {name: math.inf for name in jobs}
    for _ in range(options.repeats):
        for name, run in jobs.items():
            began = time.perf_counter()
            run()
            seconds[name] = min(seconds[name], time.perf_counter() - began)

    rates = {name: options.images / value for name, value in seconds.items()}
    shown = Table(title=f"{options.arch}, {options.dtype}: explain and evaluate")
    for heading in ("", "images/s", "passes/s", "times as fast as it"):
        shown.add_column(heading, justify="right" if heading else "left")
    for name, rate in rates.items():
        ratio = rates["sdd_jax"] / rate
        shown.add_row(
            name, f"{rate:.2f}", f"{num_passes(METHODS) * rate:.1f}", f"{ratio:.2f}"
        )
    screen.console.print(shown)
    result = vars(options) | {
        "images_per_second": rates["sdd_jax"],
        "baseline_images_per_second": {
            name: rate for name, rate in rates.items() if name != "sdd_jax"
        },
        "launches": len(launched),
        "compilations": len(compiled),
        "compile_seconds": sum(compiled),
        "flops_ratio": flops_ratio(model, 4) if options.flops_ratio else None,
        "peak_memory_mb": peak,
        "effects": effects,
    }
    print(json.dumps(result))


def _baselines(
    options: argparse.Namespace, trained: FaceClassifier, pixels: np.ndarray
) -> dict[str, Callable[[], Any]]:
    """Return PyTorch's jobs; a note is printed where one cannot be had."""
    if options.baseline == "none":
        return {}
    try:
        import torch
    except (ImportError, OSError) as error:  # or a library that it loads
        screen.say(f"left out, no PyTorch ({error}): {command.TORCH} to measure it")
        return {}
    from benchmarks import grad_cam_baseline, torch_by_hand, torch_dlib
    from benchmarks.torch_network import Folded, load, tensors_of

    folded_dtype = getattr(torch, options.dtype)

    def job(explain_and_evaluate: Callable[..., Any], network: Any) -> Any:
        images = torch.from_numpy(pixels)
        return functools.partial(
            explain_and_evaluate, network, images, batch_size=options.batch_size
        )

    by_hand = torch_by_hand.explain_and_evaluate
    if options.arch == "dlib":
        network = torch_dlib.Network(trained, folded_dtype)
        return {"PyTorch by hand": job(by_hand, network)}
    stages = ARCHITECTURES[options.arch]
    network = load(stages, options.identities, tensors_of(trained))

    def folded() -> Folded:
        return Folded(network, size=drawn.SIZE, dtype=folded_dtype)

    jobs = {"PyTorch by hand": job(by_hand, folded())}
    if options.baseline != "all":
        return jobs
    if not grad_cam_baseline.can_be_imported():
        screen.say(grad_cam_baseline.HOW_TO_GET_IT)
        return jobs
    theirs = grad_cam_baseline.explain_and_evaluate
    jobs["pytorch-grad-cam, tuned"] = job(theirs, folded())
    if options.dtype == "float32":
        # A network as it comes, without a memory format; and, beside it, one image
        # at a time and with the metrics' defaults, as in the package's documentation.
        plain = load(stages, options.identities, tensors_of(trained))
        plain.to(memory_format=torch.contiguous_format).requires_grad_(True)
        jobs["pytorch-grad-cam"] = job(theirs, plain)
        jobs["pytorch-grad-cam, as documented"] = functools.partial(
            job(theirs, plain), batch_size=1, return_diff=True
        )
    return jobs


if __name__ == "__main__":
    sys.exit(main())
