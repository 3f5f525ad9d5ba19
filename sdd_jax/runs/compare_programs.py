"""The compiled programs that all methods of a comparison share, each a `loop`.

Of a method, only its own explanation is compiled besides (`method_maps.maps_program`):
the images and the classes to explain are its data. So one program gives the maps of the
images as they are, of other classes, and of images that are changed a little.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from jax import Array

from sdd_jax import keys, saliency
from sdd_jax.faithfulness import Perturbation
from sdd_jax.faithfulness.average_drop import explained_image
from sdd_jax.faithfulness.infidelity import (
    Squares,
    draw_squares,
    foretold,
    log_differences,
)
from sdd_jax.faithfulness.map_measures import (
    edge_length,
    gini,
    half_mass_area,
)
from sdd_jax.faithfulness.perturbations import counts_of
from sdd_jax.faithfulness.ranks import num_masked, ranks
from sdd_jax.faithfulness.sensitivity import relative_change, shifted
from sdd_jax.faithfulness.study import method_keys
from sdd_jax.models import FaceClassifier
from sdd_jax.models.functional import join_model, split_model
from sdd_jax.runs.method_maps import clean_program
from sdd_jax.runs.split_outcomes import test_program
from sdd_jax.runs.whole_split import Program, loop
from sdd_jax.types import Batch

SQUARES = "mean"  # the fill of infidelity


@dataclasses.dataclass(frozen=True)
class Shared:
    """The programs that all methods share, and what they are launched with."""

    graphdef: Any  # of the model
    arrays: Any  # its variables
    clean: Program
    judge: Program
    shift: Program
    change: Program
    test: Program  # images, their intact outcome and ranks -> masked outcomes


def shared(
    model: FaceClassifier,
    options: Mapping[str, Any],
    wanted: tuple[Perturbation, ...],
) -> Shared:
    """Return them; each is compiled when it is first launched.

    Args:
        model: the classifier.
        options: the config's section `compare`.
        wanted: all perturbations.
    """
    graphdef, arrays = split_model(model)
    how = {name: options[name] for name in ("seed", "batch_size")}
    return Shared(
        graphdef,
        arrays,
        clean=clean_program(graphdef, **how),
        judge=judge(graphdef, options, wanted),
        shift=shift(options),
        change=change(options),
        test=test_program(graphdef, wanted=wanted, **how),
    )


def differences(
    graphdef: Any, options: Mapping[str, Any]
) -> Callable[[Any, Batch], Array]:
    """Return: a batch -> what filling squares does to the log-probability.

    The network's part of infidelity, [batch, squares], for `whole_split.over_split`.
    """

    def one_batch(arrays: Any, batch: Batch) -> Array:
        model = join_model(graphdef, arrays)
        scores = saliency.clean_pass(model, batch.images).scores

        def answer(images: Array, targets: Array) -> Array:
            return model.scores(model.feature_maps(images), targets).log_confidence

        return log_differences(
            answer,
            batch.images,
            scores.decision,
            _squares(batch.images, batch.indices, options),
            _squares_keys(batch.indices, options["seed"]),
            fill=SQUARES,
            intact=scores.log_confidence,
        ).T

    return one_batch


def judge(
    graphdef: Any, options: Mapping[str, Any], wanted: Sequence[Perturbation]
) -> Program:
    """Return: images, targets and their maps -> what needs no masked image.

    For the host: edge_length, gini, half_mass_area, the confidence in the explained
    image, and `foretold`, the map's part of infidelity. On the devices: the ranks.
    """

    def one_batch(arrays: Any, data: Any, places: Array) -> tuple[Any, Array]:
        images, targets, found = data
        model = join_model(graphdef, arrays)
        _, ties = method_keys(options["seed"], places)
        counts = counts_of(wanted, *found.shape[1:])
        last = counts.index(num_masked(options["fraction"], *found.shape[1:]))
        ranked = ranks(found, ties, counts=counts)
        shown = model.feature_maps(explained_image(images, found))
        foretells = foretold(
            found[None],
            images,
            _squares(images, places, options),
            _squares_keys(places, options["seed"]),
            fill=SQUARES,
        )
        measured = {
            "edge_length": edge_length(ranked <= last),
            "gini": gini(found),
            "half_mass_area": half_mass_area(found),
            "explained_confidence": model.scores(shown, targets).confidence,
            "foretold": foretells[0].T,
        }
        return measured, ranked

    return loop(one_batch, batch_size=options["batch_size"])


def shift(options: Mapping[str, Any]) -> Program:
    """Return: images -> images that are changed by what nobody sees.

    The place of the draw stands for the arrays that other programs take.
    """

    def one_batch(draw: Array, images: Array, places: Array) -> tuple[Any, Array]:
        key = jax.random.fold_in(jax.random.key(options["seed"]), 4)
        return (), shifted(images, keys.for_indices(key, places), draw)

    return loop(one_batch, batch_size=options["batch_size"])


def change(options: Mapping[str, Any]) -> Program:
    """Return: maps, and those of changed images -> how much they changed."""

    def one_batch(_: Any, data: Any, places: Array) -> tuple[Array, Any]:
        return relative_change(*data), ()

    return loop(one_batch, batch_size=options["batch_size"])


def _squares_keys(places: Array, seed: int) -> Array:
    return keys.for_indices(jax.random.fold_in(jax.random.key(seed), 3), places)


def _squares(images: Array, places: Array, options: Mapping[str, Any]) -> Squares:
    """Return the squares of infidelity, the same for every method."""
    return draw_squares(
        _squares_keys(places, options["seed"]),
        *images.shape[1:3],
        num_draws=options["num_squares"],
    )
