"""Does training with explanations help? Every term of `train.guidance`, measured.

    python -m benchmarks.guided [--workdir runs/guided] [--seeds 0 1 2]
        [--parts shortcut faces longer] [--jobs 2]

`shortcut`: a mark goes with the person in 90 % of the training images (see
`images.sources.shortcut`); each term's weight is chosen on validation images of the
first seed, then all seeds are measured on test images. `faces`: ORL as it is, with
five, three and two training images a person; the weights are those chosen before.
`longer`, only if asked for, adds to `faces` the plain training with twice the steps.

Writes guided.json. What is finished is kept in results/ and not trained
again. Last comes one JSON line. On CPUs two networks are trained at a time: tracing
takes one core, and leaves the other one idle.
"""

import argparse
import concurrent.futures
import copy
import dataclasses
import functools
import itertools
import json
import multiprocessing
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks import command, guided_tables
from configs import orl
from configs import shortcut as shortcut_config
from sdd_jax import files, screen, sharding
from sdd_jax.faithfulness import Outcome
from sdd_jax.faithfulness.curves import curve_grid, measured_fills
from sdd_jax.images import pipeline
from sdd_jax.images.sources import shortcut
from sdd_jax.models import FaceClassifier
from sdd_jax.models.functional import join_model, split_model
from sdd_jax.runs import reliance, settings, setup, store, train, workdir
from sdd_jax.runs.reliance import Rows
from sdd_jax.runs.split_outcomes import Programs, split_outcomes
from sdd_jax.runs.spread import spread
from sdd_jax.runs.whole_split import by_image, over_split
from sdd_jax.saliency import bind_methods
from sdd_jax.types import Batch, ImageSet

METHODS = reliance.METHODS
FRACTIONS = (0.2, 0.5, 0.8)  # of srg's curves
NUM_EXPLAINED = 40  # test images whose maps are judged, one a person
OCCLUDED = 0.4  # the side of a grey square, in image widths
IMAGES = (5, 3, 2)  # for training, a person


@dataclasses.dataclass(frozen=True)
class Variant:
    """A way to train, and the weights it is tried with."""

    settings: Mapping[str, Any]  # of `train`, by dotted names; None is the weight
    weights: Sequence[float] = (0.0,)
    needs_regions: bool = True

    def train_settings(self, weight: float) -> dict[str, Any]:
        """Return the settings with a weight."""
        return {k: weight if v is None else v for k, v in self.settings.items()}


VARIANTS: dict[str, Variant] = {
    "plain": Variant({}, needs_regions=False),
    "masking": Variant({"augmentation.masking": None}, (0.5,)),
    "painted": Variant({"guidance.painted": None}, (0.5, 1.0)),
    "group_dro": Variant({"guidance.group_dro": None}, (0.01, 0.1)),
    "input_gradients": Variant(
        {"guidance.input_gradients": None, "guidance.every": 4}, (1e-4, 1e-2)
    ),
    "cam_energy": Variant({"guidance.cam_energy": None}, (3.0, 30.0)),
    "sdd_energy": Variant({"guidance.sdd_energy": None}, (3.0, 30.0)),
    "sdd_weighted": Variant(
        {"guidance.sdd_weighted": None}, (0.3, 1.0), needs_regions=False
    ),
    "sdd_weighted, not detached": Variant(
        {"guidance.sdd_weighted": None, "guidance.detach": False},
        (0.3, 1.0),
        needs_regions=False,
    ),
    "erase": Variant({"guidance.erase": None}, (0.3, 1.0), needs_regions=False),
    "consistency": Variant(
        {"guidance.consistency": None}, (1.0, 10.0), needs_regions=False
    ),
}
# What erase and consistency, which see two views of each image, must beat.
LONGER = {
    "plain, twice the steps": Variant(
        {"steps": 120, "validate_every": 120}, needs_regions=False
    )
}


def base_config(part: str) -> dict[str, Any]:
    """Return the config that all variants of a part change."""
    if part == "shortcut":
        return shortcut_config.get_config().to_dict()
    config = orl.get_config()
    # Few steps: the head's learning rate was chosen for them on validation images.
    config.train.update(
        steps=60, batch_size=24, validate_every=60, head_learning_rate=3e-2
    )
    return config.to_dict()


def configured(
    base: Mapping[str, Any], variant: Variant, weight: float, seed: int
) -> dict[str, Any]:
    """Return a config with a variant's settings and a seed."""
    config = copy.deepcopy(dict(base))
    config["seed"] = seed
    for name, value in variant.train_settings(weight).items():
        section = config["train"]
        *path, last = name.split(".")
        for part in path:
            section = section[part]
        section[last] = value
    return config


@dataclasses.dataclass(frozen=True)
class Study:
    """Where finished results are, and what they depend on besides a config."""

    folder: Path
    code: str
    batch_size: int = 40

    def rows(self, part: str, config: Mapping[str, Any]) -> Rows:
        """Return what a config's network gives on its images, trained once."""

        def compute() -> Rows:
            shutil.rmtree(self.workdir, ignore_errors=True)
            train.run(config, self.workdir)
            return self._shortcut(config) if part == "shortcut" else self._faces(config)

        return store.kept(self.results, self._key(part, config), compute)

    @property
    def results(self) -> Path:
        """What is finished."""
        return self.folder / "results"

    @property
    def workdir(self) -> Path:
        """This process's network."""
        return self.folder / f"workdir-{os.getpid()}"

    def train_ahead(
        self, part: str, configs: Sequence[Mapping[str, Any]], jobs: int
    ) -> None:
        """Train what is not finished yet, `jobs` networks at a time."""
        missing = [
            config
            for config in configs
            if store.load(self.results, self._key(part, config)) is None
        ]
        if jobs == 1 or not missing:
            return  # `rows` trains them one by one
        pool = concurrent.futures.ProcessPoolExecutor(
            jobs,
            multiprocessing.get_context("spawn"),
            initializer=keep_programs,
            initargs=(self.folder,),
        )
        try:
            for found in [pool.submit(self.rows, part, x) for x in missing]:
                found.result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _key(self, part: str, config: Mapping[str, Any]) -> dict[str, Any]:
        measured = [NUM_EXPLAINED, OCCLUDED, *FRACTIONS] if part == "faces" else []
        of = {"guided": part, "measured": measured}
        return of | {"config": settings.flat(config), "code": self.code}

    def of_seeds(
        self,
        part: str,
        base: Mapping[str, Any],
        variants: Mapping[str, Variant],
        weights: Mapping[str, float],
        *,
        seeds: Sequence[int],
        jobs: int,
    ) -> dict[str, list[Rows]]:
        """Return each variant's rows, one of each seed."""
        configs = {
            name: [configured(base, variant, weights[name], seed) for seed in seeds]
            for name, variant in variants.items()
        }
        by_seed = itertools.chain(*zip(*configs.values(), strict=True))
        self.train_ahead(part, list(by_seed), jobs)
        return {
            name: [self.rows(part, config) for config in of_variant]
            for name, of_variant in configs.items()
        }

    def _model(
        self, config: Mapping[str, Any]
    ) -> tuple[FaceClassifier, dict[str, ImageSet]]:
        splits = setup.load_splits(config, self.workdir)
        names = splits["train"].names
        return setup.load_model(self.workdir, names, None)[0], splits

    def _shortcut(self, config: Mapping[str, Any]) -> Rows:
        model, _ = self._model(config)
        arguments = setup.source_arguments(config, self.workdir)
        versions = {
            f"{split}/{name}": version
            for split, of_split in shortcut.evidence(**arguments).items()
            for name, version in of_split.items()
            if split != "train"
        }
        rows = reliance.answers(
            model, versions, batch_size=self.batch_size, options=config["saliency"]
        )
        return {
            f"{v}/{name}": row for v, of in rows.items() for name, row in of.items()
        }

    def _faces(self, config: Mapping[str, Any]) -> Rows:
        model, splits = self._model(config)
        test = splits["test"]
        both = pipeline.joined([test, occluded(test)])
        rows = {"labels": test.labels}
        for column, row in self._predicted(model, both).items():
            rows[f"intact/{column}"], rows[f"occluded/{column}"] = np.split(row, 2)
        few = spread(test, NUM_EXPLAINED)
        wanted = curve_grid(("mean",), FRACTIONS)
        programs = Programs(
            model,
            methods=bind_methods(METHODS, config["saliency"]),
            wanted=wanted,
            seed=0,
            batch_size=self.batch_size,
        )
        found = split_outcomes(programs, few)
        rows["explained/labels"] = few.labels
        for place, method in enumerate(METHODS):
            of_method = Outcome(*(x[place] for x in found.perturbed))
            values = measured_fills("srg", ("mean",), found.intact, of_method, wanted)
            rows[f"srg/{method}"] = values[0]
        return rows

    def _predicted(self, model: FaceClassifier, images: ImageSet) -> Rows:
        """Return the likeliest class of each image, and its probability."""
        graphdef, arrays = split_model(model)

        def one_batch(arrays: Any, batch: Batch) -> dict[str, jax.Array]:
            model = join_model(graphdef, arrays)
            scores = model.ranking(model.feature_maps(batch.images)).scores
            return {"prediction": scores.decision, "confidence": scores.confidence}

        rows = over_split(one_batch, arrays, images, batch_size=self.batch_size)
        return by_image(rows, len(images))


def occluded(image_set: ImageSet) -> ImageSet:
    """Return images with a grey square, somewhere else in each."""

    def read(place: int) -> np.ndarray:
        image = image_set.read(place).copy()
        size = round(OCCLUDED * len(image))
        random = np.random.default_rng([place, 7])
        top, left = random.integers(0, len(image) - size + 1, 2)
        image[top : top + size, left : left + size] = 128
        return image

    return dataclasses.replace(image_set, read=read)


def keep_programs(folder: Path) -> None:
    """Let JAX find compiled programs of earlier runs.

    Weights and seeds are arguments of a step: most runs compile nothing.
    """
    jax.config.update("jax_compilation_cache_dir", str(folder / "compiled"))


def chosen_weights(
    study: Study,
    base: Mapping[str, Any],
    variants: Mapping[str, Variant],
    seed: int,
    jobs: int,
) -> dict[str, float]:
    """Return each variant's weight that is best on validation images.

    By the accuracy of the worse group, with and without the mark; of equals, by the
    confidence in the true person where there is no mark.
    """
    # First one weight of each, so that two processes do not compile the same program.
    tried = {
        (name, variant.weights[place]): configured(
            base, variant, variant.weights[place], seed
        )
        for place in range(max(len(each.weights) for each in variants.values()))
        for name, variant in variants.items()
        if place < len(variant.weights) > 1
    }
    study.train_ahead("shortcut", list(tried.values()), jobs)
    found = {}
    for name, variant in variants.items():
        scores = {}
        for weight in (weight for other, weight in tried if other == name):
            rows = study.rows("shortcut", tried[name, weight])
            scores[weight] = (
                min(_accuracy(rows, f"validation/{x}") for x in ("marked", "without")),
                float(rows["validation/without/confidence"].mean()),
            )
        found[name] = max(scores, key=lambda x: scores[x], default=variant.weights[0])
        screen.say(f"{name}: weight {found[name]:g} of {variant.weights}")
    return found


def _accuracy(rows: Rows, version: str) -> float:
    return float((rows[f"{version}/prediction"] == rows[f"{version}/labels"]).mean())


def _with_images(base: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Return a config with so many training images a person, where it says how many."""
    config = copy.deepcopy(dict(base))
    if config["data"]["source"] == "orl":
        config["data"]["num_train"] = number
    return config


def run(
    folder: Path,
    seeds: Sequence[int],
    parts: Sequence[str],
    bases: Mapping[str, Mapping[str, Any]],
    *,
    variants: Mapping[str, Variant] = VARIANTS,
    batch_size: int = 40,
    jobs: int = 1,
) -> dict[str, Any]:
    """Measure the parts, write and print their tables, and return them."""
    study = Study(folder, workdir.code_sha256(), batch_size)
    base = bases["shortcut"]
    weights = chosen_weights(study, base, variants, seeds[0], jobs)
    result: dict[str, Any] = {"weights": weights, "seeds": list(seeds)}
    of = functools.partial(study.of_seeds, seeds=seeds, jobs=jobs)
    if "shortcut" in parts:
        each = of("shortcut", base, variants, weights)
        result["shortcut"] = guided_tables.shortcut_table(each, weights)
        screen.console.print(guided_tables.shown_shortcut(result["shortcut"]))
    if not {"faces", "longer"}.isdisjoint(parts):
        without = {k: v for k, v in variants.items() if not v.needs_regions}
        if "longer" in parts:
            without |= LONGER
            weights |= dict.fromkeys(LONGER, 0.0)
        result["faces"] = {
            str(number): guided_tables.faces_table(
                of("faces", _with_images(bases["faces"], number), without, weights)
            )
            for number in IMAGES
        }
        screen.console.print(guided_tables.shown_faces(result["faces"]))
    for left in folder.glob("workdir-*"):
        shutil.rmtree(left, ignore_errors=True)
    files.write_json(folder / "guided.json", result)
    screen.say(f"written: {folder / 'guided.json'}")
    return result


def main(arguments: list[str] | None = None) -> int:
    """Measure everything, and return the exit status."""
    parser = command.parser(__doc__)
    parser.add_argument(
        "--workdir",
        type=Path,
        default=Path("runs/guided"),
        help="where what is finished is kept (%(default)s)",
    )
    parser.add_argument(
        "--seeds",
        type=command.at_least(0),
        nargs="+",
        default=[0, 1, 2],
        help="of the networks; the first one chooses the weights (0 1 2)",
    )
    parser.add_argument(
        "--parts",
        nargs="+",
        choices=("shortcut", "faces", "longer"),
        default=["shortcut", "faces"],
        help="what is measured (shortcut faces)",
    )
    parser.add_argument(
        "--jobs",
        type=command.at_least(1),
        help="networks trained at a time; by default two on CPUs, one elsewhere",
    )
    options = parser.parse_args(arguments)
    return command.run(lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    options.workdir.mkdir(parents=True, exist_ok=True)
    keep_programs(options.workdir)
    jobs = options.jobs or (2 if sharding.platform() == "cpu" else 1)
    bases = {part: base_config(part) for part in ("shortcut", "faces")}
    result = run(options.workdir, options.seeds, options.parts, bases, jobs=jobs)
    print(json.dumps(result))


if __name__ == "__main__":
    sys.exit(main())
