"""What one method gives in a comparison: numbers of every image, and maps of a few.

All of it is kept on disk, so a method that is finished is never computed again.
"""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from sdd_jax import screen, sharding
from sdd_jax.faithfulness import Outcome, Perturbation, comparison
from sdd_jax.faithfulness.comparison import Measured
from sdd_jax.models import FaceClassifier
from sdd_jax.runs import compare_programs, store
from sdd_jax.runs.compare_programs import Shared
from sdd_jax.runs.method_maps import (
    Method,
    class_sums,
    forward_passes,
    maps_program,
)
from sdd_jax.runs.spread import first_images
from sdd_jax.runs.whole_split import (
    Chunk,
    Program,
    batches_a_chunk,
    by_image,
    chunks,
    launch,
    over_split,
)
from sdd_jax.saliency.methods import TARGET_FREE, USES_STAGES
from sdd_jax.saliency.placement import rescaled
from sdd_jax.types import ImageSet

Rows = dict[str, np.ndarray]

# Bytes that lie on the devices with every pixel of an image: maps of it, of a wrong
# class and of the shifted image, that image, and ranks.
_BYTES_A_PIXEL = 16


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
    shown: Sequence[int]  # the places of images whose maps are kept
    options: Mapping[str, Any]  # the config's section `compare`
    wanted: tuple[Perturbation, ...]  # all perturbations
    results: Path  # where finished results are
    facts: Mapping[str, Any]  # what they depend on besides
    programs: Shared

    def method(self, name: str, method: Method, options: Any) -> Compared:
        """Return what a method gives; options are its own, as JSON."""
        cost = forward_passes(
            self.model,
            method,
            self.options["batch_size"],
            stages=name in USES_STAGES,
        )
        is_costly = cost > self.options["costly"]
        number = self.options["num_costly"] if is_costly else 0
        image_set = first_images(self.image_set, number)
        rows = self._rows(name, method, image_set, options, shifts=not is_costly)
        return Compared(
            measured=self._numbers(rows),
            outcome=_outcome(rows, "own"),
            intact=Outcome(rows["confidence"], rows["prediction"]),
            maps=rows["maps"],
            forward_passes=cost,
            images_per_second=rows["timed"].sum() / rows["seconds"].sum(),
            num_flat=int(rows["own_is_flat"].sum()),
        )

    def differences(self) -> np.ndarray:
        """Return what filling squares does to the log-probability, [images, squares].

        The network's part of infidelity: once, for all methods.
        """

        def compute() -> Rows:
            rows = over_split(
                compare_programs.differences(self.programs.graphdef, self.options),
                self.programs.arrays,
                self.image_set,
                batch_size=self.options["batch_size"],
            )
            return {"differences": by_image(rows, len(self.image_set))}

        key = self.key("squares", "", None)
        return store.kept(self.results, key, compute)["differences"]

    def key(self, what: str, name: str, options: Any) -> dict[str, Any]:
        """Return what a stored result depends on."""
        return {
            "compare": what,
            "method": name,
            "options": options,
            "seed": self.options["seed"],
            "images": [list(self.image_set.files), list(self.shown)],
            "wanted": self.wanted,
            "batch_size": self.options["batch_size"],
            "devices": [sharding.num_devices(), sharding.platform()],
            "draws": [self.options["num_squares"], self.options["num_shifts"]],
            **self.facts,
        }

    def class_sums(
        self, name: str, method: Method, options: Any
    ) -> dict[str, np.ndarray]:
        """Return what the mean map of other people is made from; see `class_sums`."""

        def compute() -> Rows:
            return class_sums(
                self.model,
                self.image_set,
                method,
                self.options["seed"],
                batch_size=self.options["batch_size"],
                stages=name in USES_STAGES,
            )

        return store.kept(self.results, self.key("sums", name, options), compute)

    def _rows(
        self,
        name: str,
        method: Method,
        image_set: ImageSet,
        own: Any,
        *,
        shifts: bool,
    ) -> Rows:
        """Return a method's arrays, one row an image, from disk where they are."""
        size = self.options["batch_size"]
        explain = maps_program(
            self.programs.graphdef,
            method,
            seed=self.options["seed"],
            batch_size=size,
            stages=name in USES_STAGES,
        )
        length = batches_a_chunk(image_set, size, num_masks=_BYTES_A_PIXEL)
        parts = []
        for chunk in chunks(image_set, batch_size=size, length=length):
            key = self.key("method", name, own) | {
                "chunk": [chunk.first, chunk.num_images, chunk.sha256],
                "shifts": shifts,
            }
            if part := store.load(self.results, key):
                screen.say(f"finished before: {name}")
            else:
                part = self._part(
                    chunk, explain, shifts=shifts, two=name not in TARGET_FREE
                )
                store.save(self.results, key, part)
            parts.append(part)
        return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}

    def _part(self, chunk: Chunk, explain: Program, *, shifts: bool, two: bool) -> Rows:
        """Return a chunk's rows, and how many images were explained in what time.

        Where `shifts` is false, how much maps change with their image is left out.
        Where `two` is false, a wrong class has the same maps.
        """
        shared, images = self.programs, chunk.images
        seconds = []

        def run(program: Program, data: Any, arrays: Any = shared.arrays) -> Any:
            return launch(program, arrays, data, chunk)

        def explained(images: Any, targets: Any) -> Any:
            began = time.perf_counter()
            found = run(explain, (images, targets))
            seconds.append(time.perf_counter() - began)
            return found

        def tested(maps: Any) -> tuple[Any, Outcome]:
            measured, ranks = run(shared.judge, (images, targets, maps))
            return measured, run(shared.test, (images, intact, ranks))[0]

        outcome, (intact, wrong) = run(shared.clean, images)
        targets = intact.decision
        flat, maps = explained(images, targets)
        measured, own = tested(maps)
        other_flat, other = flat, own
        if two:
            other_flat, other_maps = explained(images, wrong)
            _, other = tested(other_maps)
        if shifts:
            measured["max_sensitivity"] = np.zeros(flat.shape, np.float32)
            for place in range(self.options["num_shifts"]):
                draw = sharding.replicate(np.int32(place))
                _, shifted = run(shared.shift, images, draw)
                _, others = explained(shifted, targets)
                changed, _ = run(shared.change, (maps, others), ())
                largest = measured["max_sensitivity"]
                measured["max_sensitivity"] = np.maximum(largest, changed)
        if len(seconds) == 1:
            explained(images, targets)
        rows = measured | {
            "confidence": outcome.confidence,
            "prediction": outcome.decision,
            "own_is_flat": flat,
            "other_is_flat": other_flat,
        }
        for begin, found in (("own", own), ("other", other)):
            rows[f"{begin}_confidence"] = found.confidence
            rows[f"{begin}_prediction"] = found.decision
        timed = seconds[1:]  # the first was compiled as well
        return by_image(rows, chunk.num_images) | {
            "maps": self._shown(maps, chunk),
            "timed": np.array([len(timed) * chunk.num_images]),
            "seconds": np.array([sum(timed)]),
        }

    def _shown(self, maps: Any, chunk: Chunk) -> np.ndarray:
        """Return those of a chunk's maps that are kept, each from 0 to 1."""
        size = self.options["batch_size"]
        places = [place - chunk.first for place in self.shown]
        inside = [divmod(p, size) for p in places if 0 <= p < chunk.num_images]
        if not inside:
            return np.zeros((0, *maps.shape[2:]), np.float16)
        kept = jnp.stack([maps[batch, row] for batch, row in inside])
        return np.asarray(sharding.to_host(rescaled(kept)), np.float16)

    def _numbers(self, rows: Rows) -> Measured:
        """Return all numbers of a method, from its rows."""
        intact = Outcome(rows["confidence"], rows["prediction"])
        differences = self.differences()[: len(intact.confidence)]
        chosen = {name: self.options[name] for name in ("curves", "fills", "fraction")}
        return comparison.method_columns(
            intact,
            _outcome(rows, "own"),
            _outcome(rows, "other"),
            self.wanted,
            **chosen,
            more=comparison.map_columns(intact, rows, differences),
            is_flat=rows["own_is_flat"],
            other_is_flat=rows["other_is_flat"],
        )


def _outcome(rows: Rows, begin: str) -> Outcome:
    """Return the outcome of perturbed images, [perturbations, images]."""
    return Outcome(rows[f"{begin}_confidence"].T, rows[f"{begin}_prediction"].T)
