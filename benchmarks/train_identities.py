"""A training step of the head alone, as the identities become a million.

    python -m benchmarks.train_identities [--identities=530,10000,100000,1000000]
        [--ways=whole,divided] [--loss=softmax] [--features=128] [--batch_size=32]
        [--devices=2] [--steps=10]

Each row is a process of its own, on virtual devices of the CPU that share its cores:
mode train's step with AdamW, on features of noise. "whole" is a copy of the head on
each device, "divided" a part (`train.divide_head`). Last comes one JSON line.

    ms               the fastest step
    cpu_ms           processor time a step, on all cores: what other programs on the
                     machine disturb least
    state_mb         the head and the optimiser's state, on one device
    temporary_mb     what the compiled program needs besides, on one device
    peak_mb          the process's largest memory, of all devices, with the compiler

The features are few, so that two whole copies of a million identities fit a small
machine; IR-101 has 512.
"""

import argparse
import functools
import json
import resource
import subprocess
import sys
import time
from typing import Any

from benchmarks import command
from sdd_jax.errors import InputError

WAYS = ("whole", "divided")
NUMBERS = "ms", "cpu_ms", "state_mb", "temporary_mb", "peak_mb"


def measure(way: str, num_identities: int, options: Any) -> dict[str, Any]:
    """Return one row, measured in this process."""
    import jax
    import numpy as np
    from flax import nnx

    jax.config.update("jax_num_cpu_devices", options.devices)

    from benchmarks.train_step_worker import TRAIN
    from sdd_jax import models, sharding
    from sdd_jax.models.heads import PooledHead
    from sdd_jax.training import division, margins, step
    from sdd_jax.training.optimizer import make_optimizer

    jax.set_mesh(sharding.make_mesh(options.devices))
    margin = margins.LOSSES[options.loss]
    tx = make_optimizer(TRAIN | {"steps": 10**6, "warmup_fraction": 0.0})
    spec = models.input_spec({"backbone": {"name": "ir_resnet"}})
    head = PooledHead(options.features, num_identities)
    model = models.FaceClassifier(spec, nnx.Module(), head)  # the head takes features
    if margin is not None:
        shape = options.features, num_identities
        model.head.kernel[...] = margins.start(jax.random.key(0), shape)
    is_divided = way == "divided"
    model = models.placed(model, divide_head=is_divided)
    graphdef, state = step.init_state(model, tx, "head", margin)
    del model
    state = division.placed(state, is_divided=is_divided)
    rng = np.random.default_rng(0)
    cells = rng.normal(size=(options.batch_size, 1, 1, options.features))
    labels = rng.integers(0, num_identities, options.batch_size)
    batch = sharding.shard_batch((np.float32(cells), np.int32(labels)))
    take = jax.jit(
        functools.partial(
            step.train_step,
            graphdef=graphdef,
            tx=tx,
            feature_maps=lambda model, cells: cells,
            label_smoothing=0.1,
            update_batch_stats=False,
            margin=margin,
        ),
        donate_argnums=0,
    )
    compiled = take.lower(state, *batch).compile()
    planned = compiled.memory_analysis()
    on_first = sum(
        leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(state)
    )
    seconds, began = [], 0.0
    for number in range(-1, options.steps):
        if number == 0:  # the first fetched its memory
            began = time.process_time()
        then = time.perf_counter()
        state, metrics = compiled(state, *batch)
        jax.block_until_ready((state, metrics))
        seconds.append(time.perf_counter() - then)
    cpu = (time.process_time() - began) / options.steps
    return {
        "way": way,
        "identities": num_identities,
        "ms": 1000 * min(seconds[1:]),
        "cpu_ms": 1000 * cpu,
        "state_mb": on_first / 2**20,
        "temporary_mb": planned.temp_size_in_bytes / 2**20 if planned else 0.0,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def in_its_own_process(way: str, num_identities: int, options: Any) -> dict[str, Any]:
    """Return one row; one that fails, for want of memory for example, says so."""
    names = "loss", "features", "batch_size", "devices", "steps"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.train_identities", "--only"),
            *(f"--ways={way}", f"--identities={num_identities}"),
            *(f"--{name}={getattr(options, name)}" for name in names),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        return {"way": way, "identities": num_identities, "failed": done.returncode}
    return json.loads(done.stdout.splitlines()[-1])


def main(arguments: list[str] | None = None) -> int:
    """Measure every number of identities in every way, and return the exit status."""
    parser = command.parser(__doc__)
    parser.add_argument(
        "--identities", type=command.numbers(2), default="530,10000,100000,1000000"
    )
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument(
        "--loss", choices=("softmax", "arcface", "adaface"), default="softmax"
    )
    parser.add_argument("--features", type=command.at_least(1), default=128)
    parser.add_argument("--batch_size", type=command.at_least(2), default=32)
    parser.add_argument("--devices", type=command.at_least(1), default=2)
    parser.add_argument("--steps", type=command.at_least(1), default=10)
    parser.add_argument(
        "--only", action="store_true", help="the first row, in this process"
    )
    options = parser.parse_args(arguments)
    return command.run(lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    ways = options.ways.split(",")
    for way in ways:
        if way not in WAYS:
            raise InputError(f"unknown way {way!r}: expected some of {', '.join(WAYS)}")
    if options.batch_size % options.devices:
        raise InputError(
            f"--batch_size is {options.batch_size}, which cannot be shared equally by "
            f"{options.devices} devices: choose a multiple"
        )
    if options.only:
        print(json.dumps(measure(ways[0], options.identities[0], options)))
        return
    rows = [
        in_its_own_process(way, size, options)
        for size in options.identities
        for way in ways
    ]
    title = f"{options.loss}, {options.features} features, batch {options.batch_size}"
    command.show_ways(
        rows,
        NUMBERS,
        title=f"{title}, {options.devices} devices",
        less="--identities or --features",
    )


if __name__ == "__main__":
    sys.exit(main())
