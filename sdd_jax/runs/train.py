"""Mode train: fine-tune a pretrained network on the config's identities.

Leaves `checkpoints/` (the last and the best on the validation images), the lines of
`metrics.jsonl` and TensorBoard's events. A step is a function of the config and its
number alone, so a run that was interrupted, however rudely, goes on from its last
checkpoint and ends in the same parameters.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from sdd_jax import checkpoints, distributed, models, screen, sharding
from sdd_jax.errors import InputError, Stopped
from sdd_jax.images import pipeline
from sdd_jax.images.augmentation import augment, move_regions
from sdd_jax.models import FaceClassifier
from sdd_jax.reports import table
from sdd_jax.runs import asked_regions, settings, setup, workdir
from sdd_jax.runs.pretrained import pooled_features, sample, standardise, start_from
from sdd_jax.training import division, margins, resume
from sdd_jax.training import guidance as guidances
from sdd_jax.training.log import TrainingLog, open_log
from sdd_jax.training.optimizer import make_optimizer, trained_parts
from sdd_jax.training.step import (
    compiler_options,
    init_state,
    merge,
    step_keys,
    train_step,
    validation_step,
)
from sdd_jax.types import Batch, ImageSet, TrainState

SECTIONS = ("seed", "data", "model", "train")  # must not differ within a workdir
Step = Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]


def run(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Train until `train.steps`; return what is known of the best checkpoint."""
    settings.check(config)
    options = config["train"]
    sharding.check_batch_size(options["batch_size"], "train.batch_size")
    margin, guidance = margins.named(options), guidances.named(options)
    setup.require_files(config)
    workdir.check(folder, config, SECTIONS)
    splits = setup.load_splits(config, folder)
    splits["train"] = asked_regions.of(config, splits["train"], guidance)
    if options["cache_images"]:
        splits = {name: pipeline.cached(split) for name, split in splits.items()}
    tx = make_optimizer(options)
    if checkpoints.exists(folder):
        step = checkpoints.latest_step(folder)
        description = checkpoints.description(folder, step)
        setup.check_names(description, splits["train"].names, folder)
        workdir.claim(folder, config, SECTIONS)
        graphdef, state = resume.restore(
            *(folder, step, tx, options["parts"]),
            divide_head=options["divide_head"],
            margin=margin,
            guidance=guidance,
        )
        screen.say(f"going on from step {step} in {folder}")
        features = None
    else:
        description, graphdef, state, features = _start(config, splits["train"], tx)
        workdir.claim(folder, config, SECTIONS)
    is_divided = merge(graphdef, state).head.is_divided
    state = division.placed(state, is_divided=is_divided)
    if int(state.step) < options["steps"]:
        step = _make_step(config, graphdef, state, tx, splits["train"], features)
        _train(config, folder, description, splits, graphdef, state, step)
    return _report(folder)


def _start(
    config: Mapping[str, Any], train_set: ImageSet, tx: optax.GradientTransformation
) -> tuple[dict[str, Any], nnx.GraphDef, TrainState, np.ndarray | None]:
    """Return a description, the state before the first step, and the features.

    The features only where the head alone is trained, on them. Where the network is
    trained too, they only tell in which units, and a sample of the images does.
    """
    names = train_set.names
    model_description, model = start_from(
        config["model"], len(names), seed=config["seed"]
    )
    options = config["train"]
    guidance = guidances.named(options)
    is_head_alone = "backbone" not in trained_parts(model, options["parts"])
    is_head_alone &= guidance is None  # which looks at images
    if not is_head_alone:
        train_set = sample(train_set, seed=config["seed"])
    features = pooled_features(model, train_set, batch_size=options["batch_size"])
    standardise(model, features)
    margin = margins.named(options)
    if margin is not None:
        key = jax.random.fold_in(jax.random.key(config["seed"]), margins.FOLD)
        model.head.kernel[...] = margins.start(key, model.head.kernel.shape)
    model = models.placed(
        model, divide_head=options["divide_head"], copies=division.COPIES
    )
    graphdef, state = init_state(model, tx, options["parts"], margin, guidance)
    description = {"model": model_description, "names": names}
    return description, graphdef, state, features if is_head_alone else None


def _make_step(
    config: Mapping[str, Any],
    graphdef: nnx.GraphDef,
    state: TrainState,
    tx: optax.GradientTransformation,
    train_set: ImageSet,
    features: np.ndarray | None,
) -> Step:
    """Return the jitted step, on images or, for the head alone, on features."""
    options = config["train"]
    if not _is_on_features(options, state):
        given, every = given_to_steps(config), options["guidance"]["every"]
        due = step_on_images(config, graphdef, tx)
        if every == 1 or "input_gradients" not in given["weights"]:
            return functools.partial(due, given=given)
        rest = step_on_images(config, graphdef, tx, is_due=False)
        return functools.partial(_every_nth(due, rest, every), given=given)
    step = _bound_step(options, graphdef, tx)
    key = jax.random.key(config["seed"])
    if features is None:
        model = merge(graphdef, state)
        features = pooled_features(model, train_set, batch_size=options["batch_size"])
    mirror = options["augmentation"]["mirror"]

    @functools.partial(jax.jit, donate_argnums=0)
    def on_features(state: TrainState, batch: Batch, features: jax.Array) -> Any:
        keys = step_keys(key, state.step, len(batch.labels))
        mirrored = jax.vmap(lambda k: jax.random.bernoulli(k, mirror))(keys)
        cells = features[mirrored.astype(jnp.int32), batch.indices][:, None, None]
        return step(state, cells, batch.labels, feature_maps=lambda _, cells: cells)

    return functools.partial(on_features, features=sharding.replicate(features))


def _is_on_features(options: Mapping[str, Any], state: TrainState) -> bool:
    """Return whether nothing but the head is trained, nor looked at."""
    return "backbone" not in state.params and guidances.named(options) is None


def _every_nth(due: Any, rest: Any, every: int) -> Any:
    """Return the step that is `due` at every nth number, and else `rest`.

    Two programs: as one with a condition, XLA for CPUs takes ten times as long.
    """
    numbers: list[int] = []

    def step(state: TrainState, batch: Batch, given: Any) -> Any:
        # Asked for once: to ask for it is to wait for the step before.
        numbers.append(numbers.pop() + 1 if numbers else int(state.step))
        program = rest if numbers[0] % every else due
        return program(state, batch, given)

    return step


def step_on_images(
    config: Mapping[str, Any],
    graphdef: nnx.GraphDef,
    tx: optax.GradientTransformation,
    *,
    is_due: bool = True,
) -> Any:
    """Return the jitted step that augments a batch of images and learns from it.

    Args:
        config: plain dict; its train decides.
        graphdef: the model's structure.
        tx: the optimiser.
        is_due: whether the step takes input gradients, if they are asked for at all.

    Returns:
        A jitted function: state, batch, `given_to_steps` -> the next state, metrics.
    """
    options = config["train"]
    augmentation, guidance = options["augmentation"], guidances.named(options)
    if guidance is not None:
        guidance = dataclasses.replace(guidance, is_due=is_due)
    moves = {name: augmentation[name] for name in ("mirror", "max_shift")}
    step = _bound_step(options, graphdef, tx)

    def on_images(state: TrainState, batch: Batch, given: Any) -> Any:
        keys = step_keys(given["key"], state.step, len(batch.images))
        images = augment(batch.images, keys, **augmentation)
        if guidance is None:
            return step(state, images, batch.labels, feature_maps=_maps_of_images)
        weights, regions = given["weights"], None
        if batch.regions is not None:
            regions = move_regions(batch.regions, keys, **moves)
        if regions is not None and "painted" in weights:
            share = weights["painted"]
            images = guidances.painted(images, regions, keys, share=share)
        return step(
            state,
            images,
            batch.labels,
            feature_maps=_maps_of_images,
            # Of a network that is not trained, nothing changes, as without guidance.
            update_batch_stats=options["update_batch_stats"]
            and "backbone" in state.params,
            guidance=guidance,
            weights=weights,
            regions=regions,
            keys=keys,
        )

    # The state's memory is the next one's: Adam's moments are twice the parameters'.
    return jax.jit(
        on_images,
        donate_argnums=0,
        compiler_options=compiler_options(remat=options["remat"]),
    )


def given_to_steps(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is the same in all steps: the seed's key, the guidance's weights.

    Arguments, not constants: one program serves all seeds and weights.
    """
    key, weights = jax.random.key(config["seed"]), guidances.weights(config["train"])
    return sharding.replicate({"key": key, "weights": weights})


def _bound_step(
    options: Mapping[str, Any], graphdef: nnx.GraphDef, tx: optax.GradientTransformation
) -> Callable[..., Any]:
    return functools.partial(
        train_step,
        graphdef=graphdef,
        tx=tx,
        label_smoothing=options["label_smoothing"],
        update_batch_stats=options["update_batch_stats"],
        remat=options["remat"],
        margin=margins.named(options),
    )


def _maps_of_images(model: FaceClassifier, images: jax.Array) -> jax.Array:
    return model.feature_maps(images)


def _train(
    config: Mapping[str, Any],
    folder: Path,
    description: dict[str, Any],
    splits: Mapping[str, ImageSet],
    graphdef: nnx.GraphDef,
    state: TrainState,
    step: Step,
) -> None:
    """Take the steps that are left, validating and saving on the way."""
    options = config["train"]
    validate = jax.jit(
        functools.partial(validation_step, graphdef=graphdef),
        compiler_options=compiler_options(remat=False),
    )
    start, end = int(state.step), options["steps"]
    train_set = splits["train"]
    if _is_on_features(options, state):
        # The features are cached: there is no image to read.
        train_set = pipeline.without_images(train_set)
    batches = pipeline.train_batches(
        train_set,
        **sharding.share(options["batch_size"]),
        seed=config["seed"],
        start_step=start,
        num_steps=end,
    )
    unchecked: dict[int, Any] = {}
    log = open_log(
        folder,
        screen.console,
        num_steps=end,
        start_step=start,
        batch_size=options["batch_size"],
    )
    with log as log, distributed.stops() as must_stop:
        for number, batch in enumerate(batches, start + 1):
            state, unchecked[number] = step(state, sharding.shard_batch(batch))
            is_stop = number == end or number % options["validate_every"] == 0
            is_cut_short = must_stop(number)
            if is_stop or is_cut_short or number % options["log_every"] == 0:
                _log_finite(unchecked, log, folder)
                unchecked = {}
            if is_stop or is_cut_short:
                # Without validation images the later checkpoint is the better one.
                numbers, score = {}, float(number)
                if not is_stop:
                    score = math.nan  # no time to validate: never the best
                elif len(splits["validation"]):
                    numbers, score = _validate(
                        validate, state, splits["validation"], options["batch_size"]
                    )
                    _require_finite(numbers, "validation ", number, folder)
                    log.validation(number, numbers)
                known = description | {"validation": numbers}
                trees = resume.trees(graphdef, state)
                _require_finite_weights(trees, number, folder)
                checkpoints.save(folder, number, trees, known, score)
            if is_cut_short and number < end:
                raise Stopped(
                    f"told to stop with SIGTERM: step {number} of {end} is saved, the "
                    f"same command goes on"
                )


def _log_finite(unchecked: Mapping[int, Any], log: TrainingLog, folder: Path) -> None:
    """Log the steps since the last time; stop at one that overflowed."""
    numbers: dict[str, float] = {}
    for number, metrics in unchecked.items():
        numbers = {name: float(value) for name, value in metrics.items()}
        _require_finite(numbers, "", number, folder)
        log.train(number, numbers)
    log.show(number, numbers)


def _require_finite(
    numbers: Mapping[str, float], kind: str, step: int, folder: Path
) -> None:
    # The loss first: with it, everything else overflows too.
    for name, value in sorted(numbers.items(), key=lambda item: item[0] != "loss"):
        if not math.isfinite(value):
            raise InputError(
                f"the {kind}{name} is {value} at step {step}, expected a finite "
                f"number; {_what_is_kept(folder)}"
            )


def _require_finite_weights(trees: Mapping[str, Any], step: int, folder: Path) -> None:
    """Raise InputError where the last step before a save went wrong.

    Its loss was still good: that is of the weights before the step.
    """
    checkpoints.require_finite(
        trees, f"step {step} overflowed and is not saved; {_what_is_kept(folder)}"
    )


def _what_is_kept(folder: Path) -> str:
    kept = "no checkpoint was saved yet"
    if checkpoints.exists(folder):
        last = checkpoints.path(folder, checkpoints.latest_step(folder))
        kept = f"the last good checkpoint is {last}"
    return f"{kept}; lower the learning rates and use another --workdir"


def _validate(
    validate: Callable[..., Any],
    state: TrainState,
    image_set: ImageSet,
    batch_size: int,
) -> tuple[dict[str, float], float]:
    """Return the loss, the accuracy (0 to 1), and the score: larger is better.

    The score is the number of right answers; of equals, the lower loss is better.
    """
    sums = {"loss": 0.0, "correct": 0.0, "num_images": 0.0}
    for batch in pipeline.eval_batches(image_set, **sharding.share(batch_size)):
        more = validate(state, sharding.shard_batch(batch))
        sums = {name: value + float(more[name]) for name, value in sums.items()}
    loss = sums["loss"] / sums["num_images"]
    numbers = {"loss": loss, "accuracy": sums["correct"] / sums["num_images"]}
    return numbers, sums["correct"] - loss / (1 + loss)


def _report(folder: Path) -> dict[str, Any]:
    """Return and print what the best checkpoint reached."""
    step = checkpoints.best_step(folder)
    validation = checkpoints.description(folder, step)["validation"]
    result = {
        "last_step": checkpoints.latest_step(folder),
        "best_step": step,
        **{f"validation_{name}": value for name, value in validation.items()},
        "checkpoint": str(checkpoints.path(folder, step)),
    }
    screen.console.print(table.results("Training", result))
    return result
