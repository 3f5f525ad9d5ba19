"""Time and memory of explaining and masking, as the identities become a million.

    python -m benchmarks.identities [--arch=ir_18] [--images=32] [--batch_size=32]
        [--identities=530,10000,100000,1000000] [--dtype=float32]

Each row is a process of its own: a network of random numbers explains images of noise
and is asked again under two methods, two fills, and deletion and retention. "naive"
holds all logits and all softmax scores of a batch, for every mask, and returns those of
the intact images. Last comes one JSON line.

    ms_per_image     without compiling
    compiled_mb      what the compiled program needs besides its arguments and results
    peak_mb          the process's largest memory, with JAX and the compiler
    peak_no_head_mb  the same without the head itself
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import command
from sdd_jax import models
from sdd_jax.faithfulness import grid
from sdd_jax.faithfulness.study import study
from sdd_jax.models import inference
from sdd_jax.models.classifier import with_variables
from sdd_jax.models.functional import join_model, split_model
from sdd_jax.models.heads import PooledHead
from sdd_jax.models.ir_resnet import ARCHITECTURES
from sdd_jax.saliency import bind_methods
from sdd_jax.types import Batch, Ranking

WAYS = ("blocked", "naive")


def rank_all_scores(
    head: PooledHead, feature_maps: Any, targets: Any = None, *, num_top: int = 1
) -> Any:
    """Return what `PooledHead.ranking` does, the naive way: from all scores."""
    logits = head.logits(feature_maps)
    scores = jax.nn.softmax(logits)
    probabilities, classes = jax.lax.top_k(scores, min(num_top, head.num_classes))
    found = None
    if targets is not None:
        found = jnp.take_along_axis(logits, targets[:, None], axis=1)[:, 0]
    top = jnp.take_along_axis(logits, classes, axis=1)
    return Ranking(classes, top, 1 / probabilities[:, 0], found)


def random_model(arch: str, dtype: str, num_identities: int) -> models.FaceClassifier:
    """Return a network; nothing of a head's size exists besides its kernel."""

    def description(num_classes: int) -> dict[str, Any]:
        return {
            "backbone": {"name": "ir_resnet", "arch": arch, "dtype": dtype},
            "head": {"name": "pooled", "num_classes": num_classes},
        }

    @jax.jit
    def kernel() -> Any:
        shape = (num_features, num_identities)
        rows = jax.lax.broadcasted_iota(jnp.float32, shape, 0)
        columns = jax.lax.broadcasted_iota(jnp.float32, shape, 1)
        return jnp.sin(12.9898 * rows + 78.233 * columns)  # as good as random

    arrays = models.variables(models.build(description(1)))
    num_features = arrays["head"]["kernel"].shape[0]
    arrays["head"]["kernel"] = kernel()
    arrays["head"]["offset"] = jnp.zeros(num_identities)
    return with_variables(description(num_identities), arrays)


def measure(
    way: str,
    *,
    arch: str,
    dtype: str,
    num_identities: int,
    num_images: int,
    batch_size: int,
) -> dict[str, Any]:
    """Return one row, measured in this process."""
    model = inference.folded(random_model(arch, dtype, num_identities))
    if way == "naive":
        # Inside this process only, which does nothing else.
        setattr(PooledHead, "ranking", rank_all_scores)  # noqa: B010
    graphdef, arrays = split_model(model)

    def program(arrays: Any, batch: Batch) -> dict[str, Any]:
        model = join_model(graphdef, arrays)
        out = study(
            model,
            batch,
            methods=bind_methods(("sdd", "cam"), {}),
            wanted=grid(("black", "mean"), (0.2,)),
            seed=0,
        )
        if way == "naive":
            logits = model.logits(model.feature_maps(batch.images))
            out["scores"] = jax.nn.softmax(logits)
        return out

    size, rng = model.spec.size, np.random.default_rng(0)
    batch = Batch(
        jnp.asarray(rng.integers(0, 256, (batch_size, size, size, 3), np.uint8)),
        jnp.zeros(batch_size, jnp.int32),
        jnp.arange(batch_size),
        jnp.ones(batch_size, bool),
    )
    compiled = jax.jit(program).lower(arrays, batch).compile()
    memory = compiled.memory_analysis()
    jax.block_until_ready(compiled(arrays, batch))  # its memory is fetched once
    num_batches = max(1, num_images // batch_size)
    start = time.perf_counter()
    for _ in range(num_batches):
        jax.block_until_ready(compiled(arrays, batch))
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    head = sum(x.nbytes for x in jax.tree.leaves(arrays["head"])) / 2**20
    return {
        "way": way,
        "identities": num_identities,
        "ms_per_image": 1000 * seconds / (num_batches * batch_size),
        "compiled_mb": memory.temp_size_in_bytes / 2**20 if memory else 0.0,
        "peak_mb": peak,
        "peak_no_head_mb": peak - head,
    }


def in_its_own_process(way: str, num_identities: int, options: Any) -> dict[str, Any]:
    """Return one row; one that fails, for want of memory for example, says so."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.identities", f"--only={way}"),
            *(f"--arch={options.arch}", f"--dtype={options.dtype}"),
            *(f"--images={options.images}", f"--batch_size={options.batch_size}"),
            f"--identities={num_identities}",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        return {"way": way, "identities": num_identities, "failed": done.returncode}
    return json.loads(done.stdout.splitlines()[-1])


def main(arguments: list[str] | None = None) -> int:
    """Measure every number of identities in both ways, and return the exit status."""
    parser = command.parser(__doc__)
    parser.add_argument("--arch", choices=tuple(ARCHITECTURES), default="ir_18")
    parser.add_argument("--dtype", choices=inference.DTYPES, default="float32")
    parser.add_argument("--images", type=command.at_least(1), default=32)
    parser.add_argument("--batch_size", type=command.at_least(1), default=32)
    parser.add_argument(
        "--identities", type=command.numbers(2), default="530,10000,100000,1000000"
    )
    parser.add_argument("--only", choices=WAYS, help="one row, in this process")
    options = parser.parse_args(arguments)
    return command.run(lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    sizes = options.identities
    if options.only:
        row = measure(
            options.only,
            arch=options.arch,
            dtype=options.dtype,
            num_identities=sizes[0],
            num_images=options.images,
            batch_size=options.batch_size,
        )
        print(json.dumps(row))
        return
    rows = [in_its_own_process(way, size, options) for size in sizes for way in WAYS]
    command.show_ways(
        rows,
        ("ms_per_image", "compiled_mb", "peak_mb", "peak_no_head_mb"),
        title=f"{options.arch}, {options.dtype}, batch {options.batch_size}",
        less="--identities or a smaller --batch_size",
    )


if __name__ == "__main__":
    sys.exit(main())
