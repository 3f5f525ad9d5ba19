"""A method's maps of the intact network against those of spoilt ones, image by image.

All networks are arrays of one structure, so a method is compiled once, not once a
network. What is finished is kept on disk, so it is never computed again.
"""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sdd_jax import screen, sharding
from sdd_jax.faithfulness.sanity import Similarity, similarity
from sdd_jax.faithfulness.sanity_table import (
    CASCADING,
    INDEPENDENT,
    WRONG_CLASS,
    Network,
)
from sdd_jax.models import FaceClassifier, inference
from sdd_jax.models.functional import split_model
from sdd_jax.models.reinitialisation import layers, reinitialised
from sdd_jax.runs import store
from sdd_jax.runs.method_maps import Method, clean_program, maps_program
from sdd_jax.runs.whole_split import (
    Chunk,
    Program,
    batches_a_chunk,
    by_image,
    chunks,
    launch,
    loop,
)
from sdd_jax.types import ImageSet

_BYTES_A_PIXEL = 8  # of two float32 maps beside every image


def networks(
    model: FaceClassifier, seed: int, dtype: str | None
) -> dict[Network, FaceClassifier]:
    """Return the spoilt networks, folded: of both orders, from the head to the input.

    The independent one of the head is the cascade's first, and is not made again.

    Args:
        model: not folded.
        seed: of the random orders.
        dtype: what convolutions multiply in; see `inference.folded`.
    """
    # Not one of the keys that methods, ties and fills are drawn from.
    key = jax.random.fold_in(jax.random.key(seed), 5)
    names = layers(model)
    found: dict[Network, FaceClassifier] = {}
    for number, name in enumerate(names, 1):
        spoilt = reinitialised(model, names[:number], key)
        found[CASCADING, name] = inference.folded(spoilt, dtype=dtype)
    found[INDEPENDENT, names[0]] = found[CASCADING, names[0]]
    for name in names[1:]:
        spoilt = reinitialised(model, [name], key)
        found[INDEPENDENT, name] = inference.folded(spoilt, dtype=dtype)
    return found


class Spoilt:
    """An intact network and spoilt ones, and how their maps are compared."""

    def __init__(
        self,
        model: FaceClassifier,
        spoilt: Mapping[Network, FaceClassifier],
        *,
        seed: int,
        results: Path,
        facts: Mapping[str, Any],
    ):
        """Prepare the programs that all methods share.

        Args:
            model: intact, folded.
            spoilt: from `networks`.
            seed: of what methods draw, and of the wrong classes.
            results: where finished results are.
            facts: what they depend on besides, as JSON.
        """
        self.graphdef, self.arrays = split_model(model)
        self.spoilt = {name: split_model(one)[1] for name, one in spoilt.items()}
        self.model, self.seed, self.results, self.facts = model, seed, results, facts
        self.clean = functools.cache(self._clean)
        self.alike = functools.cache(_alike)

    def similarities(
        self,
        name: str,
        method: Method,
        image_set: ImageSet,
        *,
        options: Any,
        batch_size: int,
        only: tuple[Network, ...] | None = None,
        stages: bool = False,
    ) -> dict[Network, Similarity]:
        """Return how alike a method's maps are to those of the intact network.

        Arrays of [images]: of the spoilt networks, in their order, and of another
        class. The class explained is the one that the intact network predicts.

        Args:
            name: the method's.
            method: bound.
            image_set: the images.
            options: the method's own, as JSON.
            batch_size: images a batch, over all devices, at most.
            only: some of the spoilt networks; all where None.
            stages: the method looks at stages of the network.
        """
        wanted = tuple(self.spoilt) if only is None else only
        devices = sharding.num_devices()
        size = min(batch_size, -(-len(image_set) // devices) * devices)
        explain = maps_program(
            self.graphdef, method, seed=self.seed, batch_size=size, stages=stages
        )
        length = batches_a_chunk(image_set, size, num_masks=_BYTES_A_PIXEL)
        parts = []
        for chunk in chunks(image_set, batch_size=size, length=length):
            key = {
                "sanity": name,
                "options": options,
                "networks": wanted,
                "seed": self.seed,
                "images": [chunk.first, chunk.num_images, chunk.sha256],
                "batch_size": size,
                "devices": [devices, sharding.platform()],
                **self.facts,
            }
            rows = store.load(self.results, key)
            if rows is None:
                rows = self._rows(explain, chunk, size, wanted)
                store.save(self.results, key, rows)
            else:
                screen.say(f"finished before: {name}")
            parts.append(rows)
        joined = {
            each: np.concatenate([part[each] for part in parts]) for each in parts[0]
        }
        return {
            network: Similarity(
                *(joined[_name(network, field)] for field in Similarity._fields)
            )
            for network in (*wanted, (WRONG_CLASS, ""))
        }

    def _clean(self, size: int) -> Program:
        return clean_program(self.graphdef, seed=self.seed, batch_size=size)

    def _rows(
        self, explain: Program, chunk: Chunk, size: int, wanted: tuple[Network, ...]
    ) -> dict[str, np.ndarray]:
        """Return all similarities of a chunk's images, by name."""
        _, (outcome, wrong) = launch(self.clean(size), self.arrays, chunk.images, chunk)
        targets = outcome.decision

        def maps(arrays: Any, classes: Any) -> Any:
            return launch(explain, arrays, (chunk.images, classes), chunk)[1]

        intact = maps(self.arrays, targets)
        rows = {}
        for network in (*wanted, (WRONG_CLASS, "")):
            if network[0] == WRONG_CLASS:
                other = maps(self.arrays, wrong)
            else:
                other = maps(self.spoilt[network], targets)
            found, _ = launch(self.alike(size), (), (intact, other), chunk)
            found = by_image(found, chunk.num_images)
            rows |= {_name(network, field): found[field] for field in found}
        return rows


def _alike(size: int) -> Program:
    """Return the program that compares maps, the same for all methods."""

    def one_batch(_: Any, maps: Any, places: Any) -> tuple[Any, Any]:
        return similarity(*maps)._asdict(), ()

    return loop(one_batch, batch_size=size)


def _name(network: Network, field: str) -> str:
    return "_".join((*network, field))
