"""One variant of `train_step` in a process of its own; started by it, not by people.

It takes "ready", "step" or "end" a line and answers with a line of JSON. PyTorch's
processes never import JAX, nor JAX's PyTorch, so neither pays for the other's memory.
"""

import contextlib
import json
import resource
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import command

NUM_CLASSES = 530
TRAIN = {
    "head_learning_rate": 1e-3,
    "backbone_learning_rate": 1e-6,  # drawn weights bear smaller steps
    "weight_decay": 5e-2,
    "label_smoothing": 0.1,
    "clip_norm": 1.0,
}
Step = Callable[[int], float]


def write_images(folder: Path, options: Mapping[str, Any]) -> None:
    """Write the images and the labels that both sides use."""
    from benchmarks import drawn

    # A batch more than is timed: the first step compiles.
    num_steps = -(-options["images"] // options["batch_size"])
    num_images = (num_steps + 1) * options["batch_size"]
    labels = np.random.default_rng(1).integers(0, NUM_CLASSES, num_images)
    np.savez(folder / "images.npz", images=drawn.images(num_images), labels=labels)


def write_files(folder: Path, options: Mapping[str, Any]) -> None:
    """Write the images, the labels and the weights that both sides use."""
    from benchmarks import drawn
    from sdd_jax.models.ir_resnet import ARCHITECTURES

    write_images(folder, options)
    model = drawn.classifier(options["arch"], "float32", NUM_CLASSES)
    with contextlib.suppress(ImportError):  # where only JAX is measured
        from benchmarks.torch_network import tensors_of

        np.savez(folder / "weights.npz", allow_pickle=False, **tensors_of(model))
    (folder / "stages.json").write_text(json.dumps(ARCHITECTURES[options["arch"]]))


def jax_side(
    variant: Mapping[str, Any], options: Mapping[str, Any], folder: Path
) -> tuple[Step, dict[str, Any]]:
    """Return the step and what else is known of it."""
    import functools

    import jax
    import jax.numpy as jnp

    from benchmarks import drawn
    from sdd_jax.models import FaceClassifier
    from sdd_jax.runs.pretrained import pooled_features
    from sdd_jax.training import step as training
    from sdd_jax.training.optimizer import make_optimizer

    batches = _batches(folder, options)
    model = drawn.classifier(options["arch"], options["dtype"], NUM_CLASSES)
    # So many steps that the learning rate has not begun to fall.
    tx = make_optimizer(TRAIN | {"steps": 10**6, "warmup_fraction": 0.0})
    is_head = variant["parts"] == "head"
    graphdef, state = training.init_state(model, tx, "head" if is_head else ".*")
    facts: dict[str, Any] = {"features_seconds": None}
    inputs = [images for images, _ in batches]
    if is_head:
        image_set = drawn.image_set(np.concatenate(inputs))
        size = options["batch_size"]
        both, facts["features_seconds"] = _timed(
            lambda: pooled_features(model, image_set, batch_size=size)
        )
        inputs = [x[:, None, None] for x in np.split(both[0], len(batches))]

    def feature_maps(model: FaceClassifier, inputs: jax.Array) -> jax.Array:
        return inputs if is_head else model.feature_maps(inputs)

    step = jax.jit(
        functools.partial(
            training.train_step,
            graphdef=graphdef,
            tx=tx,
            feature_maps=feature_maps,
            label_smoothing=TRAIN["label_smoothing"],
            update_batch_stats=False,
            remat=variant["remat"],
        ),
        donate_argnums=0,
        compiler_options=training.compiler_options(remat=variant["remat"]),
    )
    first = jnp.asarray(inputs[0]), jnp.asarray(batches[0][1])
    compiled = step.lower(state, *first).compile()
    planned = compiled.memory_analysis()
    # Not every compiler tells.
    facts["compiled_temporary_mb"] = planned and planned.temp_size_in_bytes / 1e6

    def take(number: int) -> float:
        nonlocal state
        state, metrics = compiled(state, inputs[number], batches[number][1])
        # The loss is there before the new parameters are.
        jax.block_until_ready(state)
        return float(metrics["loss"])

    return take, facts


def torch_side(
    variant: Mapping[str, Any], options: Mapping[str, Any], folder: Path
) -> tuple[Step, dict[str, Any]]:
    """Return the step and what else is known of it."""
    import torch

    from benchmarks import torch_training
    from benchmarks.torch_network import Folded, load

    batches = [
        (torch.from_numpy(images), torch.from_numpy(labels).long())
        for images, labels in _batches(folder, options)
    ]
    stages = json.loads((folder / "stages.json").read_text())
    with np.load(folder / "weights.npz") as tensors:
        network = load(stages, NUM_CLASSES, tensors)
    dtype = getattr(torch, options["dtype"])
    optimizer = torch_training.make_optimizer(network, TRAIN, parts=variant["parts"])
    facts: dict[str, Any] = {"features_seconds": None}
    features = None
    if variant["parts"] == "head":
        size = batches[0][0].shape[1]
        folded = Folded(network, size=size, dtype=dtype)
        everything = torch.cat([images for images, _ in batches])
        features, facts["features_seconds"] = _timed(
            lambda: torch_training.pooled_features(
                folded, everything, batch_size=options["batch_size"]
            )
        )
        # Tensors of inference mode take no part in training.
        features = features[0].clone().split(options["batch_size"])

    def take(number: int) -> float:
        images, labels = batches[number]

        def logits() -> Any:
            if features is not None:
                return network.logits_of_features(features[number])
            return torch_training.logits_of_images(
                network, images, dtype, remat=variant["remat"]
            )

        return torch_training.train_step(
            logits,
            labels,
            optimizer,
            label_smoothing=TRAIN["label_smoothing"],
            clip_norm=TRAIN["clip_norm"],
        )

    return take, facts


def _batches(
    folder: Path, options: Mapping[str, Any]
) -> list[tuple[np.ndarray, np.ndarray]]:
    with np.load(folder / "images.npz") as arrays:
        images, labels = arrays["images"], arrays["labels"].astype(np.int32)
    size = options["batch_size"]
    return [
        (images[start : start + size], labels[start : start + size])
        for start in range(0, len(images), size)
    ]


def _timed(compute: Callable[[], Any]) -> tuple[Any, float]:
    """Return a result and the seconds it took, compiling included."""
    began = time.perf_counter()
    return compute(), time.perf_counter() - began


def main(arguments: list[str] | None = None) -> int:
    """Write the files, or be a variant, and return the exit status."""
    parser = command.parser(__doc__)
    parser.add_argument("what", help='"files", or a variant in JSON')
    parser.add_argument("folder", type=Path, help="of the files")
    options = parser.parse_args(arguments)
    return command.run(lambda: _run(options.what, options.folder))


def _run(what: str, folder: Path) -> None:
    options = json.loads((folder / "options.json").read_text())
    if what == "files":
        write_files(folder, options)
        return
    variant = json.loads(what)
    side = {"JAX": jax_side, "PyTorch": torch_side}[variant["side"]]
    answers = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        take, facts = side(variant, options, folder)
        take(0)
        number = 0
        for line in sys.stdin:
            answer: dict[str, Any] = {}
            if line.strip() == "step":
                number += 1
                began = time.perf_counter()
                loss = take(number)
                answer = {"seconds": time.perf_counter() - began, "loss": loss}
            elif line.strip() == "end":
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
                per_mb = 2**20 if sys.platform == "darwin" else 2**10  # bytes, or KiB
                answer = facts | {"peak_memory_mb": peak / per_mb}
            print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    sys.exit(main())
