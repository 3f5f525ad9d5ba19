"""What a step costs with each term of `train.guidance`, beside the plain one.

    python -m benchmarks.guided_cost [--steps 8] [--batch_size 32] [--blocks 6789]

dlib's network on poor ORL faces with marks (configs/shortcut.py), one process: all
variants take their steps in turns, so whatever else the machine does, it does to all of
them. `input_gradients` is the gradient penalty that other work uses. Last comes one
JSON line.

    ms        the median step
    ratio     to the plain step's, the median over turns
"""

import argparse
import copy
import functools
import json
import statistics
import sys
import time
from typing import Any

import jax
from rich.table import Table

from benchmarks import command
from configs import shortcut
from sdd_jax import sharding
from sdd_jax.images import pipeline
from sdd_jax.runs import asked_regions, setup, train
from sdd_jax.runs.pretrained import pooled_features, standardise, start_from
from sdd_jax.screen import console
from sdd_jax.training import guidance
from sdd_jax.training.optimizer import make_optimizer
from sdd_jax.training.step import init_state

PLAIN = "plain"
TERMS = {
    PLAIN: {},
    "sdd_weighted, not detached": {"sdd_weighted": 1.0, "detach": False},
    **{name: {name: 1.0} for name in guidance.WEIGHTS},
}


def stepper(config: dict[str, Any], chosen: dict[str, Any]) -> Any:
    """Return a function that takes a step of a variant and waits for it."""
    config = copy.deepcopy(config)
    config["train"]["guidance"] |= chosen
    options = config["train"]
    asked = guidance.named(options)
    images = asked_regions.of(config, setup.load_splits(config)["train"], asked)
    _, model = start_from(config["model"], len(images.names), seed=0)
    few = pipeline.subset(images, range(options["batch_size"]))
    standardise(model, pooled_features(model, few, batch_size=options["batch_size"]))
    tx = make_optimizer(options)
    graphdef, state = init_state(model, tx, options["parts"], guidance=asked)
    step = functools.partial(
        train.step_on_images(config, graphdef, tx), given=train.given_to_steps(config)
    )
    batch = next(
        pipeline.train_batches(
            images, batch_size=options["batch_size"], seed=0, start_step=0, num_steps=1
        )
    )
    now = {"state": sharding.replicate(state), "batch": sharding.shard_batch(batch)}

    def take() -> float:
        began = time.perf_counter()
        now["state"], metrics = step(now["state"], now["batch"])
        jax.block_until_ready((now["state"], metrics))
        return 1000 * (time.perf_counter() - began)

    take()  # compiles
    return take


def measure(config: dict[str, Any], num_steps: int) -> dict[str, dict[str, float]]:
    """Return each variant's row."""
    steppers = {name: stepper(config, chosen) for name, chosen in TERMS.items()}
    turns = [
        {name: take() for name, take in steppers.items()} for _ in range(num_steps)
    ]
    return {
        name: {
            "ms": statistics.median(turn[name] for turn in turns),
            "ratio": statistics.median(turn[name] / turn[PLAIN] for turn in turns),
        }
        for name in steppers
    }


def main(arguments: list[str] | None = None) -> int:
    """Measure all variants, and return the exit status."""
    parser = command.parser(__doc__)
    parser.add_argument("--steps", type=command.at_least(1), default=8)
    parser.add_argument("--batch_size", type=command.at_least(1), default=32)
    parser.add_argument("--blocks", default="6789", help="which of dlib's are trained")
    options = parser.parse_args(arguments)
    return command.run(lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    config = shortcut.get_config()
    config.train.batch_size = options.batch_size
    config.train.parts = f"head|backbone/blocks/[{options.blocks}]/"
    rows = measure(config.to_dict(), options.steps)
    shown = Table(title=f"A step of {options.batch_size} images")
    for heading in ("", "ms", "images/s", "ratio"):
        shown.add_column(heading, justify="right" if heading else "left")
    for name, row in rows.items():
        rate = 1000 * options.batch_size / row["ms"]
        shown.add_row(name, f"{row['ms']:.0f}", f"{rate:.1f}", f"{row['ratio']:.2f}")
    console.print(shown)
    print(json.dumps(rows))


if __name__ == "__main__":
    sys.exit(main())
