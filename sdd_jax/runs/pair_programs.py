"""The compiled programs of pairs, each a `loop` over batches of them.

Rows of pairs lie on the devices once; every program takes what it needs of them as
data, so that each is compiled once, for all methods or for few pairs.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sdd_jax import keys, sharding
from sdd_jax.faithfulness import Outcome, Perturbation, patch_games
from sdd_jax.faithfulness.map_measures import is_flat
from sdd_jax.faithfulness.perturbations import counts_of, perturbed_outcomes
from sdd_jax.faithfulness.ranks import ranks
from sdd_jax.faithfulness.study import method_keys
from sdd_jax.models.functional import join_model
from sdd_jax.pair_saliency import pair_pass
from sdd_jax.pair_saliency.covered import directions_of
from sdd_jax.runs.whole_split import Chunk, Program, by_image, launch, loop
from sdd_jax.types import Explanation


@dataclasses.dataclass(frozen=True)
class Rows:
    """Arrays of one row a pair, on the devices, in whole batches."""

    data: Any  # a tree of [length, batch, ...]
    number: int  # of the rows that are pairs
    batch_size: int


def laid_out(data: Any, *, batch_size: int) -> Rows:
    """Return arrays [pairs, ...] on the devices; what fills the last batch up is 0."""
    number = len(jax.tree.leaves(data)[0])
    missing = -number % batch_size

    def batches(x: Any) -> np.ndarray:
        x = np.asarray(x)
        padded = np.concatenate([x, np.zeros((missing, *x.shape[1:]), x.dtype)])
        return padded.reshape(-1, batch_size, *x.shape[1:])

    batched = sharding.divide_batches(jax.tree.map(batches, data))
    return Rows(batched, number, batch_size)


def over_rows(program: Program, arrays: Any, rows: Rows, number: int) -> Any:
    """Return what a program makes of the first so many rows, [number, ...]."""
    chunk = Chunk(None, None, 0, number, "")
    return by_image(launch(program, arrays, rows.data, chunk)[0], number)


def maps_program(
    graphdef: Any,
    methods: Mapping[str, Callable[..., Explanation]],
    *,
    seed: int,
    batch_size: int,
) -> Program:
    """Return: probes, references and rivals -> every method's maps, from one pass.

    Args:
        graphdef: of the model.
        methods: bound, (model, pair, key, rivals) -> an explanation.
        seed: of what methods draw.
        batch_size: pairs a batch, over all devices.
    """

    def one_batch(arrays: Any, data: Any, places: Array) -> tuple[Any, Any]:
        model = join_model(graphdef, arrays)
        pair = pair_pass(model, data["probes"], data["references"])
        drawn, _ = method_keys(seed, places)
        found = {
            name: method(model, pair, drawn, data["rivals"]).saliency
            for name, method in methods.items()
        }
        return found, ()

    return loop(one_batch, batch_size=batch_size)


def hiding_program(
    graphdef: Any,
    wanted: tuple[Perturbation, ...],
    *,
    threshold: float,
    seed: int,
    batch_size: int,
) -> Program:
    """Return: probes, references and maps -> cosines under every perturbation.

    For the host: intact [batch], hidden [batch, perturbations] and which maps are flat.
    """

    def one_batch(arrays: Any, data: Any, places: Array) -> tuple[Any, Any]:
        model = join_model(graphdef, arrays)
        images, maps = data["probes"], data["maps"]
        references = directions_of(model, data["references"])

        def answer(images: Array, targets: Array) -> Outcome:
            found = directions_of(model, images)
            cosine = jnp.einsum("bd,bd->b", found, references, precision="highest")
            return Outcome(cosine, (cosine >= threshold).astype(jnp.int32))

        _, ties = method_keys(seed, places)
        counts = counts_of(wanted, *images.shape[1:3])
        # Not one of the keys that maps and ties are drawn with.
        key = jax.random.fold_in(jax.random.key(seed), 2)
        targets = jnp.zeros(len(images), jnp.int32)
        intact = answer(images, targets)
        hidden = perturbed_outcomes(
            answer,
            images,
            ranks(maps, ties, counts=counts)[None],
            targets,
            keys.for_indices(key, places),
            intact=intact,
            wanted=wanted,
        )
        return {
            "intact": intact.confidence,
            "hidden": hidden.confidence[0].T,
            "is_flat": is_flat(maps),
        }, ()

    return loop(one_batch, batch_size=batch_size)


def games_program(*, seed: int, batch_size: int) -> Program:
    """Return: maps and masks -> `patch_games.measures`, and which maps are flat."""

    def one_batch(arrays: Any, data: Any, places: Array) -> tuple[Any, Any]:
        _, ties = method_keys(seed, places)
        found = patch_games.measures(data["maps"], data["masks"], ties)
        return found | {"is_flat": is_flat(data["maps"])}, ()

    return loop(one_batch, batch_size=batch_size)
