"""The network that fine-tuning starts from: published weights under a fresh head."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import weights_conversion
from sdd_jax import checkpoints, models, screen, sharding
from sdd_jax.errors import InputError
from sdd_jax.images import pipeline
from sdd_jax.models import FaceClassifier, convolution, inference
from sdd_jax.models.functional import join_model, split_model
from sdd_jax.models.heads import FeatureStatistic, PooledHead
from sdd_jax.types import ImageSet

# With their mirror images 8192: a feature's mean is then known to a ninetieth of its
# deviation, and the deviation to one part in 128. They are units to learn in, and no
# more: more images would change nothing but the waiting.
NUM_SAMPLED = 4096


def start_from(
    options: Mapping[str, Any], num_classes: int, *, seed: int
) -> tuple[dict[str, Any], FaceClassifier]:
    """Return a description and its model: pretrained backbone, fresh head.

    Args:
        options: the config's `model`: backbone, and pretrained, which names a published
            file, a converted checkpoint, or is empty for a random start.
        num_classes: the head's.
        seed: of a random start.

    Raises:
        InputError: there are no such weights, or they are another network's.
    """
    description = {
        "backbone": dict(options["backbone"]),
        "head": {"name": "pooled", "num_classes": num_classes},
    }
    if not options["pretrained"]:
        return description, models.build(description, seed=seed)
    source, arrays = read(weights_conversion.locate(options["pretrained"]))
    found, wanted = source["backbone"]["name"], description["backbone"]["name"]
    if found != wanted:
        raise InputError(
            f"{options['pretrained']} holds a {found}, but model.backbone.name is "
            f"{wanted}: change one of them"
        )
    found, wanted = source["backbone"].get("arch"), description["backbone"].get("arch")
    if found != wanted:
        raise InputError(
            f"{options['pretrained']} holds {found}, the config says {wanted}: pass "
            f"--config.model.backbone.arch={found}"
        )
    description["input"] = source.get("input", {})
    model = models.build(description, seed=seed)
    backbone = nnx.to_pure_dict(nnx.state(model.backbone))
    chosen = _select(backbone, arrays["backbone"], options["pretrained"])
    nnx.update(model.backbone, nnx.State(jax.tree.map(jnp.asarray, chosen)))
    return description, model


def read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the description and the arrays of a published or converted network."""
    if not path.is_dir():
        converted = weights_conversion.convert(path)
        return converted.description, converted.variables
    step = checkpoints.best_step(path)
    model = models.load(path, step=step)
    return checkpoints.description(path, step)["model"], models.variables(model)


def _select(example: Any, arrays: Any, source: str, name: str = "backbone") -> Any:
    """Return the arrays that the example names; a cut network needs not all."""
    if isinstance(example, Mapping):
        missing = [key for key in example if key not in arrays]
        if missing:
            raise InputError(
                f"{source} lacks {name}/{missing[0]}, which the config's network has: "
                f"expected weights of the same architecture"
            )
        return {
            key: _select(value, arrays[key], source, f"{name}/{key}")
            for key, value in example.items()
        }
    if example.shape != arrays.shape:
        raise InputError(
            f"{name} is {arrays.shape} in {source}, but {example.shape} in the network "
            f"of the config: expected weights of the same architecture"
        )
    return arrays


def sample(image_set: ImageSet, size: int = NUM_SAMPLED, *, seed: int) -> ImageSet:
    """Return so many images, of each person in proportion; all where there are fewer.

    They keep their order.
    """
    if len(image_set) <= size:
        return image_set
    drawn = np.random.default_rng(seed).permutation(len(image_set))
    by_person = drawn[np.argsort(image_set.labels[drawn], kind="stable")]
    steps = np.linspace(0, len(image_set), size, endpoint=False).astype(int)
    return pipeline.subset(image_set, np.sort(by_person[steps]).tolist())


def pooled_features(
    model: FaceClassifier, image_set: ImageSet, *, batch_size: int
) -> np.ndarray:
    """Return the average features of every image and of its mirror image.

    The result is float32, [2, num_images, features]. It takes two passes through the
    network for each image, so it says what it does.
    """
    # The average asks nothing of the head, whose weights may be millions.
    head = PooledHead(model.backbone.num_features, num_classes=1)
    model = FaceClassifier(model.spec, model.backbone, head)
    graphdef, arrays = split_model(inference.folded(model))

    @functools.partial(jax.jit, compiler_options=convolution.compiler_options())
    def program(arrays: Any, images: jax.Array) -> jax.Array:
        model = join_model(graphdef, arrays)
        both = [
            model.head.pool(model.feature_maps(seen))[:, 0, 0]
            for seen in (images, images[:, :, ::-1])
        ]
        return jnp.stack(both, axis=1)

    arrays = sharding.replicate(arrays)
    rows = []
    text = f"features of {len(image_set)} images and their mirror images"
    screen.say(f"computing the {text}")
    batches = pipeline.eval_batches(image_set, **sharding.share(batch_size))
    num_batches = -(-len(image_set) // batch_size)
    for batch in screen.progress(batches, text, total=num_batches):
        features = program(arrays, sharding.shard_batch(batch.images))
        rows.append(sharding.to_host(features))
    return np.concatenate(rows)[: len(image_set)].swapaxes(0, 1)


def standardise(model: FaceClassifier, features: np.ndarray) -> None:
    """Set the head's units to the features' own mean and deviation.

    Args:
        model: changed in place.
        features: [..., features], of training images.
    """
    flat = features.reshape(-1, features.shape[-1]).astype(np.float64)
    deviation = flat.std(0)
    # A feature that never changes carries nothing; any unit but 0 will do.
    deviation[deviation == 0] = 1.0
    model.head.feature_mean = FeatureStatistic(jnp.float32(flat.mean(0)))
    model.head.feature_deviation = FeatureStatistic(jnp.float32(deviation))
