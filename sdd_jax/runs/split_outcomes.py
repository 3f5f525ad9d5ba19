"""What every image of a split gives: predictions, details, outcomes under masks.

Two compiled programs, each launched over a whole chunk of the split: one for the clean
pass and all methods' explanations; then one for the perturbed images, once a method.
What a method gave is kept on disk as soon as it is there.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array

from sdd_jax import screen, sharding
from sdd_jax.faithfulness import Outcome, Perturbation
from sdd_jax.faithfulness.study import explained, tested
from sdd_jax.models import FaceClassifier
from sdd_jax.models.functional import join_model, split_model
from sdd_jax.runs import store
from sdd_jax.runs.whole_split import (
    Chunk,
    batches_a_chunk,
    by_image,
    chunks,
    launch,
    loop,
)
from sdd_jax.types import Batch, Explanation, ImageSet

Methods = Mapping[str, Callable[..., Explanation]]
# (maps, ranks) -> {detail: [batch, ...]}.
Measure = Callable[[Array, Array], dict[str, Array]]
Row = dict[str, np.ndarray]  # a method's arrays, one row an image
_DETAIL = "detail_"  # begins the names of what else a method found


class SplitOutcomes(NamedTuple):
    """NumPy arrays of a split's images."""

    intact: Outcome  # [images]
    perturbed: Outcome  # [methods, perturbations, images]
    details: dict[str, dict[str, Any]]  # by method, [images, ...]


class Programs:
    """The compiled programs of a model and its methods, to be launched over splits."""

    def __init__(
        self,
        model: FaceClassifier,
        *,
        methods: Methods,
        wanted: tuple[Perturbation, ...],
        seed: int,
        batch_size: int,
        measure: Measure | None = None,
    ):
        """Prepare them; each is compiled when it is first launched.

        Args:
            model: the classifier.
            methods: from `bind_methods`.
            wanted: the perturbations.
            seed: of random maps, of ties and of fills that draw.
            batch_size: images a batch, over all devices.
            measure: what else to find out about a method's maps and their ranks; the
                results are further details.
        """
        self.graphdef, self.arrays = split_model(model)
        self.methods, self.measure, self.batch_size = methods, measure, batch_size
        self.options = {"wanted": wanted, "seed": seed, "batch_size": batch_size}
        self.test = test_program(self.graphdef, **self.options)
        self.explain = functools.cache(self._explain)

    def _explain(self, names: tuple[str, ...]) -> Callable[..., Any]:
        chosen = {name: self.methods[name] for name in names}
        return explain_program(
            self.graphdef, methods=chosen, measure=self.measure, **self.options
        )

    def __call__(
        self, chunk: Chunk, names: tuple[str, ...]
    ) -> Iterator[tuple[str, Row]]:
        """Yield each named method's part of a chunk as soon as it is there."""
        if not names:
            return
        rows, kept = launch(self.explain(names), self.arrays, chunk.images, chunk)
        for name in names:
            data = chunk.images, kept["intact"], kept["ranks"][name]
            perturbed, _ = launch(self.test, self.arrays, data, chunk)
            yield name, _flat(rows, name, perturbed, chunk)


def split_outcomes(
    programs: Programs,
    image_set: ImageSet,
    *,
    names: tuple[str, ...] | None = None,
    results: Path | None = None,
    facts: Any = None,
    options: Mapping[str, Any] | None = None,
) -> SplitOutcomes:
    """Return what every image of a split gives under every method's perturbations.

    Args:
        programs: of the model and the methods.
        image_set: the split.
        names: of the methods; all of the programs' where None.
        results: a folder for finished results; what is there is not computed again.
        facts: what results depend on and this function cannot know: see
            `workdir.facts`; as JSON.
        options: each method's options, by its name; as JSON.
    """
    names = tuple(programs.methods) if names is None else names
    size = programs.batch_size
    common = {
        **programs.options,
        "devices": [sharding.num_devices(), sharding.platform()],
        "facts": facts,
    }

    def key_of(chunk: Chunk, name: str) -> dict[str, Any]:
        images = [chunk.first, chunk.num_images, chunk.sha256]
        own = {"method": name, "options": (options or {}).get(name), "images": images}
        return common | own

    parts: dict[str, list[Row]] = {name: [] for name in names}
    length = batches_a_chunk(image_set, size, num_masks=len(names))
    for chunk in chunks(image_set, batch_size=size, length=length):
        keys = {name: key_of(chunk, name) for name in names}
        rows = {}
        if results:
            found = {name: store.load(results, key) for name, key in keys.items()}
            rows = {name: row for name, row in found.items() if row}
        if rows:
            screen.say(f"finished before: {', '.join(rows)}")
        missing = tuple(name for name in names if name not in rows)
        for name, row in programs(chunk, missing):
            rows[name] = row
            if results:
                store.save(results, keys[name], row)
        for name in names:
            parts[name].append(rows[name])
    return _joined(parts)


def explain_program(
    graphdef: Any,
    *,
    methods: Methods,
    wanted: tuple[Perturbation, ...],
    seed: int,
    batch_size: int,
    measure: Measure | None = None,
) -> Callable[..., Any]:
    """Return the loop, for `launch`, that explains images.

    For the host: prediction, confidence, and each method's details. On the
    devices stay what the perturbed images are made and judged from.
    """

    def one_batch(arrays: Any, images: Any, places: Any) -> tuple[Any, Any]:
        batch = Batch(images, None, places, None)
        model = join_model(graphdef, arrays)
        out = explained(model, batch, methods=methods, wanted=wanted, seed=seed)
        details = {
            name: explanation.details
            for name, explanation in out["explanations"].items()
        }
        if measure:
            for name, explanation in out["explanations"].items():
                found = measure(explanation.saliency, out["ranks"][name])
                details[name] = details[name] | found
        rows = {
            "prediction": out["intact"].decision,
            "confidence": out["intact"].confidence,
            "details": details,
        }
        return rows, {"intact": out["intact"], "ranks": out["ranks"]}

    return loop(one_batch, batch_size=batch_size)


def test_program(
    graphdef: Any, *, wanted: tuple[Perturbation, ...], seed: int, batch_size: int
) -> Callable[..., Any]:
    """Return the loop, for `launch`, over images, their intact outcome and ranks.

    For the host: an `Outcome` of [batch, perturbations].
    """

    def one_batch(arrays: Any, data: Any, places: Any) -> tuple[Any, Any]:
        images, intact, ranks = data
        model = join_model(graphdef, arrays)
        out = tested(
            model, images, places, intact, ranks[None], wanted=wanted, seed=seed
        )
        return jax.tree.map(lambda row: row[0].T, out), ()

    return loop(one_batch, batch_size=batch_size)


def _flat(rows: Any, name: str, perturbed: Outcome, chunk: Chunk) -> Row:
    """Return a method's arrays of a chunk, one row an image, without padding."""
    found = {
        "prediction": rows["prediction"],
        "confidence": rows["confidence"],
        "masked_confidence": perturbed.confidence,
        "masked_prediction": perturbed.decision,
    }
    for detail, value in rows["details"][name].items():
        found[_DETAIL + detail] = value
    return by_image(found, chunk.num_images)


def _joined(parts: Mapping[str, list[Row]]) -> SplitOutcomes:
    rows = [
        {key: np.concatenate([part[key] for part in chunks]) for key in chunks[0]}
        for chunks in parts.values()
    ]

    def stacked(key: str) -> np.ndarray:
        return np.stack([row[key].T for row in rows])

    first = rows[0]
    return SplitOutcomes(
        Outcome(first["confidence"], first["prediction"]),
        Outcome(stacked("masked_confidence"), stacked("masked_prediction")),
        {
            name: {
                key.removeprefix(_DETAIL): value
                for key, value in row.items()
                if key.startswith(_DETAIL)
            }
            for name, row in zip(parts, rows, strict=True)
        },
    )
