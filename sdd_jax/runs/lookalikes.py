"""Mode lookalikes: do the maps of two look-alikes show what differs?

The most similar identities of a split are blended into each other, and every blend is
explained twice: as the first, and as the second.

Writes `lookalikes/`: `table.json`, `table.md`, `table.csv` and `curves.png`. What is
finished is kept in `results/`: a run that was stopped goes on with the methods that
are left.
"""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from sdd_jax import distributed, files, saliency, screen, sharding
from sdd_jax.faithfulness import comparison
from sdd_jax.faithfulness.comparison import Column, Measured
from sdd_jax.faithfulness.map_measures import is_flat
from sdd_jax.faithfulness.sanity import spearman
from sdd_jax.faithfulness.study import method_keys
from sdd_jax.images import pipeline
from sdd_jax.models import FaceClassifier
from sdd_jax.models.functional import join_model, split_model
from sdd_jax.reports import lookalikes_plot, lookalikes_table
from sdd_jax.runs import protocol, settings, setup, store, workdir
from sdd_jax.runs.blends import (
    RATIOS,
    Blends,
    Pair,
    blends,
    mean_features,
    most_similar,
)
from sdd_jax.runs.method_maps import Method
from sdd_jax.runs.whole_split import by_image, over_split
from sdd_jax.saliency import bind_methods
from sdd_jax.saliency.controls import explaining
from sdd_jax.saliency.methods import USES_STAGES
from sdd_jax.types import Batch

COLLAPSED = 0.05  # a map that varies by less than this share of its largest value
NETWORK = "network"


def run(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Blend look-alikes and explain them; return `table.json`'s content."""
    settings.check(config)
    options = config["lookalikes"]
    methods = bind_methods(options["methods"], config["saliency"])
    image_set, model, provenance = setup.open_split(config, folder, "lookalikes")
    size = options["batch_size"]
    pairs = most_similar(
        mean_features(model, image_set, batch_size=size), options["num_pairs"]
    )
    found_blends = blends(image_set, pairs, options["num_faces"])
    cached = found_blends._replace(images=pipeline.cached(found_blends.images))
    facts = {
        "lookalikes": [pipeline.sha256(cached.images), cached.images.labels.tolist()],
        "seconds": cached.seconds.tolist(),
        "seed": options["seed"],
        "batch_size": size,
        "devices": [sharding.num_devices(), sharding.platform()],
        **workdir.facts(provenance),
    }
    results = workdir.results(folder, provenance)
    screen.say(f"{len(pairs)} pairs, {len(cached.images)} blends")
    found = {}
    for name, method in screen.progress(methods.items(), "pairs", total=len(methods)):
        key = facts | {"method": name, "options": config["saliency"].get(name)}
        compute = functools.partial(
            explained_twice,
            model,
            cached,
            method,
            options["seed"],
            batch_size=size,
            stages=name in USES_STAGES,
        )
        rows = store.kept(results, key, compute)
        setup.require_finite(rows["first"], cached.images.files, folder)
        found[name] = rows
    store.keep_only(results)
    result = _table(config, cached, found) | {
        "ratios": list(RATIOS),
        "pairs": [_in_words(pair, image_set.names) for pair in pairs],
        "protocol": _protocol(config, cached) | provenance,
    }
    if not distributed.is_first():
        return result
    _write(folder / "lookalikes", result)
    screen.console.print(lookalikes_table.summary(result))
    for line in lookalikes_table.in_words(result):
        screen.say(line)
    screen.say(f"written: {folder / 'lookalikes' / 'table.md'}")
    return result


def explained_twice(
    model: FaceClassifier,
    found: Blends,
    method: Method,
    seed: int,
    *,
    batch_size: int,
    stages: bool,
) -> dict[str, np.ndarray]:
    """Return what a method makes of blends for the first identity and the second.

    One value an image: `first` and `second`, float32, their probabilities; `spearman`,
    float32, of the two maps; `flat` and `collapsed`, bool, the share of either map that
    says nothing, or varies by less than COLLAPSED: [images, 2].
    """
    graphdef, arrays = split_model(model)

    def one_batch(inputs: Any, batch: Batch) -> dict[str, Array]:
        arrays, seconds = inputs
        model = join_model(graphdef, arrays)
        clean = saliency.clean_pass(model, batch.images, batch.labels, stages=stages)
        other = explaining(model, clean, seconds[batch.indices])
        drawn, _ = method_keys(seed, batch.indices)
        maps = [method(model, each, drawn).saliency for each in (clean, other)]
        return {
            "first": clean.scores.confidence,
            "second": other.scores.confidence,
            "spearman": spearman(*maps),
            "flat": jnp.stack([is_flat(each) for each in maps], axis=1),
            "collapsed": jnp.stack([varies(each) < COLLAPSED for each in maps], axis=1),
        }

    inputs = arrays, sharding.replicate(found.seconds)
    rows = over_split(one_batch, inputs, found.images, batch_size=batch_size)
    return by_image(rows, len(found.images))


def varies(maps: Array) -> Array:
    """Return (largest - smallest) / largest absolute value of maps; 0 of flat ones.

    Of SDD, whose largest value is exp(0), it is 1 - exp(-r), r the range of what stands
    in its exponent: below 0.05, r is below 0.0513.
    """
    largest = jnp.abs(maps).max((1, 2))
    span = maps.max((1, 2)) - maps.min((1, 2))
    return jnp.where(is_flat(maps), 0, span / jnp.where(largest > 0, largest, 1))


def _table(
    config: Mapping[str, Any], found: Blends, methods: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the figures of the network and of all methods, at every ratio."""
    options = config["lookalikes"]

    def by_ratio(columns: Mapping[str, np.ndarray], says: np.ndarray) -> Measured:
        values: dict[Column, np.ndarray] = {}
        counted: dict[Column, np.ndarray] = {}
        for place, ratio in enumerate(RATIOS):
            is_ratio = found.ratios == place
            for name, column in columns.items():
                values[name, str(ratio)] = column.astype(np.float64)
                # Flat maps are counted, and are like nothing.
                own = says if name == "spearman" else np.ones_like(says)
                counted[name, str(ratio)] = is_ratio & own
        return Measured(values, counted)

    def figures(rows: Mapping[str, Measured]) -> dict[str, Any]:
        return comparison.table(
            rows,
            found.pairs,
            reference=next(iter(rows)),
            seed=options["seed"],
            num_resamples=options["num_resamples"],
        )["methods"]

    measured = {
        name: by_ratio(
            {
                "spearman": rows["spearman"],
                "flat": 100 * rows["flat"].mean(1),
                "collapsed": 100 * rows["collapsed"].mean(1),
            },
            ~rows["flat"].any(1),
        )
        for name, rows in methods.items()
    }
    first = next(iter(methods.values()))
    answers = {name: 100 * first[name] for name in ("first", "second")}
    network = by_ratio(answers, np.ones(len(found.pairs), bool))
    return {
        "network": figures({NETWORK: network})[NETWORK],
        "methods": figures(measured),
    }


def _protocol(config: Mapping[str, Any], found: Blends) -> dict[str, Any]:
    """Return how the numbers came about."""
    return {
        **protocol.common(config, "lookalikes", over="pairs of identities"),
        "num_blends": len(found.images),
        "pairs": "the largest cosine of identities' mean pooled features, less the "
        "mean of all identities; nobody is in two pairs",
        "blend": "(1 - ratio) first + ratio second, pixel by pixel, image k with k",
        "spearman": "of the map for the first and the map for the second; images with "
        "a flat map are left out",
        "flat": "per cent of both maps of which all values are equal",
        "collapsed": f"per cent of both maps that vary by less than {COLLAPSED} of "
        f"their largest absolute value",
    }


def _in_words(pair: Pair, names: tuple[str, ...]) -> dict[str, Any]:
    first, second = names[pair.first], names[pair.second]
    return {"first": first, "second": second, "cosine": pair.cosine}


def _write(folder: Path, result: Mapping[str, Any]) -> None:
    """Write all files of `lookalikes/`, whole or not at all."""
    with files.replaced_folder(folder) as fresh:
        workdir.write_table(fresh, result, lookalikes_table)
        files.write_bytes(fresh / "curves.png", lookalikes_plot.plot(result))
