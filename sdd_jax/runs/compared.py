"""What one method gives in a comparison: numbers of every image, and maps of a few.

All of it is kept on disk, so a method that is finished is never computed again.
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import Array

from sdd_jax import keys, saliency, sharding
from sdd_jax.faithfulness import Outcome, Perturbation, comparison
from sdd_jax.faithfulness.average_drop import explained_image
from sdd_jax.faithfulness.comparison import Measured
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
    is_flat,
)
from sdd_jax.faithfulness.perturbations import counts_of
from sdd_jax.faithfulness.ranks import num_masked
from sdd_jax.faithfulness.sensitivity import max_sensitivity
from sdd_jax.faithfulness.study import method_keys
from sdd_jax.models import FaceClassifier
from sdd_jax.models.functional import join_model, split_model
from sdd_jax.runs import store
from sdd_jax.runs.method_maps import Method, class_sums, forward_passes, timed_maps
from sdd_jax.runs.split_outcomes import Programs, SplitOutcomes, split_outcomes
from sdd_jax.runs.spread import first_images
from sdd_jax.runs.whole_split import by_image, over_split
from sdd_jax.saliency.controls import of_wrong_class
from sdd_jax.saliency.methods import TARGET_FREE, USES_STAGES
from sdd_jax.types import Batch, ImageSet

Wanted = tuple[Perturbation, ...]

SQUARES = "mean"  # the fill of infidelity
_WRONG = "wrong_class_of_"  # begins the name of a method that explains another class


@dataclasses.dataclass(frozen=True)
class Compared:
    """A method in a comparison."""

    measured: Measured  # numbers of the first images, or of all
    outcome: Outcome  # of perturbed images, [perturbations, images]
    intact: Outcome  # of the images as they are, [images]
    maps: np.ndarray  # float16 [shown, height, width], from 0 to 1
    forward_passes: float  # of the network, for a map
    images_per_second: float  # maps of that many
    num_flat: int  # maps that say nothing, and are in no mean


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What methods are compared on, and how."""

    model: FaceClassifier
    image_set: ImageSet
    shown: ImageSet  # of which maps are kept
    options: Mapping[str, Any]  # the config's section `compare`
    wanted: Wanted  # all perturbations
    results: Path  # where finished results are
    facts: Mapping[str, Any]  # what they depend on besides
    programs: Programs  # of the model; each method puts its own in

    def method(self, name: str, method: Method, options: Any) -> Compared:
        """Return what a method gives; options are its own, as JSON."""
        stages = name in USES_STAGES
        cost = forward_passes(
            self.model, method, self.options["batch_size"], stages=stages
        )
        is_costly = cost > self.options["costly"]
        number = self.options["num_costly"] if is_costly else 0
        image_set = first_images(self.image_set, number)
        methods = {name: method}
        if name not in TARGET_FREE:
            methods[_WRONG + name] = of_wrong_class(method)
        measure = _measure(self.wanted, self.options, shifts=not is_costly)
        measures = [self.options[name] for name in ("num_squares", "num_shifts")]
        facts = {"compare": [*measures, is_costly], **self.facts}
        rows = split_outcomes(
            self.programs.of(methods, measure),
            image_set,
            results=self.results,
            facts=facts,
            options=dict.fromkeys(methods, options),
        )
        maps, rate = self._maps(name, method, options)
        return Compared(
            measured=_numbers(rows, self.differences(), self.wanted, self.options),
            outcome=Outcome(*(values[0] for values in rows.perturbed)),
            intact=rows.intact,
            maps=maps,
            forward_passes=cost,
            images_per_second=rate,
            num_flat=int(rows.details[name]["is_flat"].sum()),
        )

    def differences(self) -> np.ndarray:
        """Return what filling squares does to the log-probability, [images, squares].

        The network's part of infidelity: once, for all methods.
        """
        key = self.key("squares", "", None)
        if found := store.load(self.results, key):
            return found["differences"]
        graphdef, arrays = split_model(self.model)

        def one_batch(arrays: Any, batch: Batch) -> Array:
            model = join_model(graphdef, arrays)
            scores = saliency.clean_pass(model, batch.images).scores

            def answer(images: Array, targets: Array) -> Array:
                return model.scores(model.feature_maps(images), targets).log_confidence

            return log_differences(
                answer,
                batch.images,
                scores.decision,
                _squares(batch, self.options),
                _squares_keys(batch, self.options),
                fill=SQUARES,
                intact=scores.log_confidence,
            ).T

        size = self.options["batch_size"]
        rows = over_split(one_batch, arrays, self.image_set, batch_size=size)
        rows = by_image(rows, len(self.image_set))
        store.save(self.results, key, {"differences": rows})
        return rows

    def key(self, what: str, name: str, options: Any) -> dict[str, Any]:
        """Return what a stored result that no split_outcomes made depends on."""
        return {
            "compare": what,
            "method": name,
            "options": options,
            "seed": self.options["seed"],
            "images": [list(self.image_set.files), list(self.shown.files)],
            "devices": [sharding.num_devices(), sharding.platform()],
            "squares": self.options["num_squares"],
            **self.facts,
        }

    def class_sums(
        self, name: str, method: Method, options: Any
    ) -> dict[str, np.ndarray]:
        """Return what the mean map of other people is made from; see `class_sums`."""
        key = self.key("sums", name, options)
        found = store.load(self.results, key)
        if not found:
            found = class_sums(
                self.model,
                self.image_set,
                method,
                self.options["seed"],
                batch_size=self.options["batch_size"],
                stages=name in USES_STAGES,
            )
            store.save(self.results, key, found)
        return found

    def _maps(
        self, name: str, method: Method, options: Any
    ) -> tuple[np.ndarray, float]:
        """Return the shown images' maps, and how many a second come."""
        key = self.key("maps", name, options)
        if found := store.load(self.results, key):
            return found["maps"], float(found["rate"])
        maps, rate = timed_maps(
            self.model,
            self.shown,
            method,
            self.options["seed"],
            stages=name in USES_STAGES,
        )
        store.save(self.results, key, {"maps": maps, "rate": np.array(rate)})
        return maps, rate


def _measure(
    wanted: Wanted, options: Mapping[str, Any], *, shifts: bool
) -> Callable[..., dict[str, Array]]:
    """Return what a method's explanations are measured by, besides the outcomes.

    Where `shifts` is false, how much maps change with their image is left out.
    """

    def measure(
        name: str, method: Method, model: FaceClassifier, batch: Batch, own: Any
    ) -> dict[str, Array]:
        found, targets = own["saliency"], own["intact"].decision
        if name.startswith(_WRONG):
            return {"is_flat": is_flat(found)}
        height, width = found.shape[1:]
        place = counts_of(wanted, height, width).index(
            num_masked(options["fraction"], height, width)
        )
        shown = explained_image(batch.images, found)
        foretells = foretold(
            found[None],
            batch.images,
            _squares(batch, options),
            _squares_keys(batch, options),
            fill=SQUARES,
        )
        measured = {
            "is_flat": is_flat(found),
            "edge_length": edge_length(own["ranks"] <= place),
            "gini": gini(found),
            "half_mass_area": half_mass_area(found),
            "explained_confidence": model.scores(
                model.feature_maps(shown), targets
            ).confidence,
            "foretold": foretells[0].T,
        }
        if not shifts:
            return measured
        drawn, _ = method_keys(options["seed"], batch.indices)

        def explain(images: Array) -> Array:
            clean = saliency.clean_pass(
                model, images, targets, stages=name in USES_STAGES
            )
            return method(model, clean, drawn).saliency

        shifts_key = jax.random.fold_in(jax.random.key(options["seed"]), 4)
        shifted = keys.for_indices(shifts_key, batch.indices)
        measured["max_sensitivity"] = max_sensitivity(
            explain,
            batch.images,
            shifted,
            saliency=found,
            num_draws=options["num_shifts"],
        )
        return measured

    return measure


def _squares_keys(batch: Batch, options: Mapping[str, Any]) -> Array:
    key = jax.random.fold_in(jax.random.key(options["seed"]), 3)
    return keys.for_indices(key, batch.indices)


def _squares(batch: Batch, options: Mapping[str, Any]) -> Squares:
    """Return the squares of infidelity, the same for every method."""
    return draw_squares(
        _squares_keys(batch, options),
        *batch.images.shape[1:3],
        num_draws=options["num_squares"],
    )


def _numbers(
    rows: SplitOutcomes,
    differences: np.ndarray,
    wanted: Wanted,
    options: Mapping[str, Any],
) -> Measured:
    """Return all numbers of a method, the first of the rows; the second explains the
    wrong class, and is missing where that makes no difference.
    """
    names = list(rows.details)
    own, *other = (
        Outcome(*(values[place] for values in rows.perturbed))
        for place in range(len(names))
    )
    curves = options["curves"]
    values = comparison.curve_columns(rows.intact, own, wanted, fills=curves)
    specificity = comparison.specificity_columns(
        rows.intact, own, other[0] if other else own, wanted, fills=curves
    )
    details = rows.details[names[0]]
    number = len(rows.intact.confidence)
    values |= specificity
    values |= comparison.masked_columns(
        rows.intact, own, wanted, fills=options["fills"], fraction=options["fraction"]
    )
    values |= comparison.map_columns(rows.intact, details, differences[:number])
    says = ~details["is_flat"]
    counted = dict.fromkeys(values, says)
    # A wrong class may have nothing that speaks for it.
    says_both = says & ~rows.details[names[-1]]["is_flat"]
    counted |= dict.fromkeys(specificity, says_both)
    return Measured(values, counted)
