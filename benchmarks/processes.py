"""One process of two devices beside two processes of one: images a second.

    python -m benchmarks.processes [--images=128] [--batch_size=32]

On this machine's cores, by the embedded default's network (or smoke's): a step that
trains all parameters, and SDD's evaluation. Each is compiled before it is timed; the
layouts take turns, and the fastest turn of each counts. Last comes one JSON line.
"""

import argparse
import functools
import importlib
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax

from benchmarks import command
from sdd_jax import distributed, launch, sharding
from sdd_jax.errors import InputError
from sdd_jax.faithfulness import grid
from sdd_jax.images import pipeline
from sdd_jax.models import inference
from sdd_jax.reports import text
from sdd_jax.runs import setup, split_outcomes
from sdd_jax.runs.pretrained import start_from
from sdd_jax.runs.train import given_to_steps, step_on_images
from sdd_jax.saliency import bind_methods
from sdd_jax.training.optimizer import make_optimizer
from sdd_jax.training.step import init_state
from sdd_jax.types import ImageSet

LAYOUTS = [(1, 2), (2, 1)]  # processes, devices each
STEPS = 4


def main(arguments: list[str] | None = None) -> int:
    """Measure both layouts, and return the exit status."""
    parser = command.parser(__doc__)
    parser.add_argument("--config", choices=("orl", "smoke"), default="orl")
    for name, default in (("images", 128), ("batch_size", 32), ("turns", 3)):
        parser.add_argument(f"--{name}", type=command.at_least(1), default=default)
    for name in ("coordinator", "num_processes", "process_id"):
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    return command.run(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    if options.process_id is not None:
        asked = launch.Asked(
            options.coordinator, int(options.num_processes), int(options.process_id)
        )
        return launch.run(asked, dict, functools.partial(_measure, options))
    if os.environ.get(_ALONE):
        _measure(options)
        return 0
    best: dict[tuple[int, int], dict[str, float]] = {}
    for _ in range(options.turns):
        for layout in LAYOUTS:
            found = _started(layout, options)
            before = best.setdefault(layout, found)
            best[layout] = {name: max(before[name], found[name]) for name in found}
    rows = [("images/s", *("{} x {}".format(*x) for x in LAYOUTS), "ratio")]
    for name in best[LAYOUTS[0]]:
        one, two = (best[layout][name] for layout in LAYOUTS)
        rows.append((name, f"{one:.1f}", f"{two:.1f}", f"{two / one:.2f}"))
    print(text.markdown(rows))
    print(json.dumps({"{} x {}".format(*layout): best[layout] for layout in best}))
    return 0


_ALONE = "SDD_JAX_ALONE"


def _started(layout: tuple[int, int], options: argparse.Namespace) -> dict[str, float]:
    """Return what the processes of a layout measure."""
    count, devices = layout
    with socket.socket() as found:
        found.bind(("localhost", 0))
        port = found.getsockname()[1]
    begin = [sys.executable, "-m", "benchmarks.processes"]
    begin += [
        f"--config={options.config}",
        f"--images={options.images}",
        f"--batch_size={options.batch_size}",
    ]
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": str(devices)}
    several = [f"--coordinator=localhost:{port}", f"--num_processes={count}"]
    processes = [
        subprocess.Popen(
            [*begin, *((*several, f"--process_id={i}") if count > 1 else ())],
            env=environment | ({_ALONE: "1"} if count == 1 else {}),
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[1],
        )
        for i in range(count)
    ]
    said = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise InputError(f"{count} processes of {devices} devices did not end well")
    return json.loads(said[0].splitlines()[-1])


def _measure(options: argparse.Namespace) -> None:
    jax.set_mesh(sharding.make_mesh())
    module = importlib.import_module(f"configs.{options.config}")
    config = module.get_config().to_dict()
    config["train"] |= {"parts": ".*", "batch_size": options.batch_size}
    train_set = setup.load_splits(config)["train"]
    places = [i % len(train_set) for i in range(options.images)]
    images = pipeline.cached(pipeline.subset(train_set, places))
    found = {
        "train": _trained(config, images),
        "eval, SDD": _evaluated(config, images, options.batch_size),
    }
    if distributed.is_first():
        print(json.dumps(found), flush=True)


def _trained(config: dict[str, Any], images: ImageSet) -> float:
    """Return the images a second of training steps, reading included."""
    _, model = start_from(config["model"], len(images.names), seed=0)
    tx = make_optimizer(config["train"])
    graphdef, state = init_state(model, tx, ".*")
    state = sharding.replicate(state)
    step = step_on_images(config, graphdef, tx)
    given = given_to_steps(config)
    size = config["train"]["batch_size"]
    batches = pipeline.train_batches(
        images, **sharding.share(size), seed=0, start_step=0, num_steps=1 + STEPS
    )
    state, _ = step(state, sharding.shard_batch(next(batches)), given)
    jax.block_until_ready(state)
    began = time.perf_counter()
    for batch in batches:
        state, _ = step(state, sharding.shard_batch(batch), given)
    jax.block_until_ready(state)
    return STEPS * size / (time.perf_counter() - began)


def _evaluated(config: dict[str, Any], images: ImageSet, batch_size: int) -> float:
    """Return the images a second of SDD's evaluation, reading included."""
    _, model = start_from(config["model"], len(images.names), seed=0)
    programs = split_outcomes.Programs(
        inference.folded(model),
        methods=bind_methods(("sdd",), config["saliency"]),
        wanted=grid(("black", "mean"), (0.2,)),
        seed=0,
        batch_size=batch_size,
    )
    split_outcomes.split_outcomes(programs, images)
    began = time.perf_counter()
    split_outcomes.split_outcomes(programs, images)
    return len(images) / (time.perf_counter() - began)


if __name__ == "__main__":
    sys.exit(main())
