"""Mode prove_pairs: do maps of pairs show why two are alike, and where they differ?

On the images that `verify` compares, by the same network. Where they differ: patch
games, whose altered part is known. Why they are alike: what of the cosine is lost when
the most salient pixels are hidden.

Writes `prove_pairs/`: `table.json`, `table.md` and `table.csv`. What is finished is
kept in `results/`: a run that was stopped goes on with the methods that are left.
"""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sdd_jax import checks, distributed, files, screen, sharding
from sdd_jax.faithfulness import comparison, fills, pair_curves, patch_games
from sdd_jax.faithfulness.comparison import ALL, Measured
from sdd_jax.images import pipeline
from sdd_jax.models import references_of
from sdd_jax.pair_saliency.methods import METHODS
from sdd_jax.reports import prove_pairs_table
from sdd_jax.runs import (
    embedder,
    pair_choice,
    protocol,
    settings,
    setup,
    workdir,
)
from sdd_jax.runs.method_maps import MEAN_MAP
from sdd_jax.runs.proved import Found, Proof, Sets
from sdd_jax.runs.verify_images import load_images
from sdd_jax.types import ImageSet
from sdd_jax.verification import rates
from sdd_jax.verification.pairs import all_pairs, cosines

GENUINE, IMPOSTOR, BOTH = "genuine", "impostor", "both"
MAIN = "drop"  # the figure that a method and a fill have first


def run(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Prove maps on pairs of known people; return `table.json`'s content."""
    settings.check(config)
    options = config["prove_pairs"]
    checks.require_names(options["methods"], METHODS, "method")
    checks.require_names(options["fills"], fills.FILLS, "fill")
    sharding.check_batch_size(options["batch_size"], "prove_pairs.batch_size")
    setup.require_files(config)
    workdir.check(folder, config, setup.SECTIONS)
    model, provenance = embedder.load(config)
    images = pipeline.cached(load_images(config, folder))
    people = pair_choice.half_of(images.names, images.labels, options["people"])
    workdir.claim(folder, config, setup.SECTIONS)
    size = config["verify"]["batch_size"]
    found = embedder.kept(model, images, folder, provenance, batch_size=size)
    threshold = _threshold(images, found["embeddings"], config)
    sets = _sets(images, people, found["embeddings"], options)
    proof = Proof(
        model=model,
        sets=sets,
        options=options,
        threshold=threshold,
        wanted=pair_curves.grid(options["fills"], _fractions(options)),
        results=workdir.results(folder, provenance),
        key={
            "prove_pairs": pipeline.sha256(images),
            "people": [int(label) for label in people],
            **{
                name: options[name]
                for name in ("num_pairs", "num_games", "seed", "batch_size")
            },
            "devices": [sharding.num_devices(), sharding.platform()],
            **workdir.facts(provenance),
        },
    )
    screen.say(
        f"{options['num_pairs']} pairs of either kind and {options['num_games']} "
        f"games of {len(people)} of {len(np.unique(images.labels))} people"
    )
    proved = proof.all_methods()
    result = _table(options, proved, sets, found["embeddings"].shape[1])
    result |= {
        "num_people": len(people),
        "threshold": threshold,
        "protocol": _protocol(config, images, people) | provenance,
    }
    if not distributed.is_first():
        return result
    with files.replaced_folder(folder / "prove_pairs") as fresh:
        workdir.write_table(fresh, result, prove_pairs_table)
    for one in prove_pairs_table.summaries(result):
        screen.console.print(one)
    screen.say(f"written: {folder / 'prove_pairs' / 'table.md'}")
    return result


def _threshold(
    images: ImageSet, embeddings: np.ndarray, config: Mapping[str, Any]
) -> float:
    """Return the cosine at the equal error rate of all pairs of intact images."""
    pairs = all_pairs(images.labels, images.names, seed=config["verify"]["seed"])
    found = rates.by_score(cosines(embeddings, pairs), pairs.is_same)
    return rates.eer_threshold(found, rates.curve(found))


def _fractions(options: Mapping[str, Any]) -> list[float]:
    """Return the shares of the curves, and that of the other figures among them."""
    number = options["num_fractions"]
    even = {place / (number + 1) for place in range(1, number + 1)}
    return sorted({*even, options["fraction"]})


def _sets(
    images: ImageSet,
    people: Sequence[int],
    embeddings: np.ndarray,
    options: Mapping[str, Any],
) -> Sets:
    """Return the pairs and games, drawn, with their images and rivals."""
    labels, seed = images.labels, options["seed"]
    pick = functools.partial(pair_choice.pairs, labels, people, options["num_pairs"])
    kinds = [pick(genuine=kind, seed=seed) for kind in (True, False)]
    # In turns, so that the first few are of both kinds.
    chosen = pair_choice.Chosen(
        *(np.stack(x, axis=1).reshape(-1) for x in zip(*kinds, strict=True))
    )
    games = pair_choice.games(labels, people, options["num_games"], seed=seed)
    among = np.flatnonzero(np.isin(labels, people))
    named = [images.files[place] for place in among]
    templates = references_of(embeddings[among], labels[among], named)

    def read(places: np.ndarray) -> np.ndarray:
        return np.stack([images.read(place) for place in places.tolist()])

    own, donors = read(games.probes), read(games.donors)
    masks = patch_games.regions(games.kinds, own.shape[1:3], seed=seed)
    altered = patch_games.altered(own, donors, masks)

    def data(one: pair_choice.Chosen, probes: np.ndarray) -> dict[str, np.ndarray]:
        return {
            "probes": probes,
            "references": read(one.references),
            "rivals": pair_choice.rivals(
                one, labels, embeddings, np.unique(people).tolist(), templates
            ),
        }

    return Sets(
        pairs=data(chosen, read(chosen.probes)),
        is_genuine=np.tile([True, False], options["num_pairs"]),
        pair_people=labels[np.stack([chosen.probes, chosen.references], axis=1)],
        games=data(games, altered),
        game_people=labels[np.stack([games.probes, games.references], axis=1)],
        masks=masks,
    )


def _table(
    options: Mapping[str, Any],
    proved: Mapping[str, Found],
    sets: Sets,
    num_dimensions: int,
) -> dict[str, Any]:
    """Return the figures of all methods; see `reports.prove_pairs_table`."""
    games, figures = {}, {}
    for name, one in proved.items():
        if one.games:
            rows = {x: row.astype(np.float64) for x, row in one.games.items()}
            counted = rows.pop("is_flat") == 0
            games[name] = Measured(
                {(x, ALL): row for x, row in rows.items()},
                dict.fromkeys(((x, ALL) for x in rows), counted),
            )
    how = {name: options[name] for name in ("seed", "num_resamples")}
    found = _compared(games, sets.game_people[:, 0], "different_to", options, how)
    figures["patch_games"] = _without_fill(found["methods"])
    figures["patch_games_differences"] = _without_fill(found["differences"])
    is_same = sets.is_genuine
    kinds = {GENUINE: is_same, IMPOSTOR: ~is_same, BOTH: np.ones_like(is_same)}
    figures |= {"deletion": {}, "deletion_differences": {}}
    for kind, among in kinds.items():
        hidden = {
            name: one.measured(options["fills"], among)
            for name, one in proved.items()
            if one.columns
        }
        found = _compared(hidden, sets.pair_people[:, 0], "alike_to", options, how)
        by_fill = {name: _by_fill(found[name]) for name in ("methods", "differences")}
        if kind == BOTH:
            figures["accuracy"] = by_fill["methods"]
            continue
        figures["deletion"][kind] = by_fill["methods"]
        figures["deletion_differences"][kind] = by_fill["differences"]
    figures["costs"] = {name: one.costs(num_dimensions) for name, one in proved.items()}
    return figures


def _compared(
    methods: Mapping[str, Measured],
    people: np.ndarray,
    reference: str,
    options: Mapping[str, Any],
    how: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the table of methods, beside the one that a setting names, if it is there.

    Without it, the first is the one the others are compared with.
    """
    if not methods:
        return {"methods": {}, "differences": {}}
    name = options[reference] if options[reference] in methods else next(iter(methods))
    return comparison.table(methods, people, reference=name, **how)


def _without_fill(found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: {metric: one[ALL] for metric, one in measures.items()}
        for name, measures in found.items()
    }


def _by_fill(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return [METHOD][FILL]: the figure of DROP itself, and all others by name."""
    result: dict[str, Any] = {}
    for name, measures in found.items():
        for metric, one in measures.items():
            for fill, figure in one.items():
                cell = result.setdefault(name, {}).setdefault(fill, {})
                cell |= figure if metric == MAIN else {metric: figure}
    return result


def _protocol(
    config: Mapping[str, Any], images: ImageSet, people: Sequence[int]
) -> dict[str, Any]:
    """Return how the numbers came about."""
    options = config["prove_pairs"]
    return {
        **protocol.basis(config, "prove_pairs", over="the probes' people"),
        "methods": "with their default options; thresholds of methods are this one",
        "people": [images.names[label] for label in people],
        "half": options["people"],
        "chosen_on": "this project's formulas, and their blurs, were "
        "chosen on the first half of ORL's people; the second is reported",
        "pairs": f"{options['num_pairs']} of either kind, drawn by seed; everybody is "
        f"on as many probes",
        "games": "a part of the probe (eyes, nose, mouth, or a random square inside "
        "the face, in turns) is another person's, feathered, each channel matched in "
        "mean and deviation; the reference is another image of the probe's person",
        "alike": "maps of likeness enter the games with their sign turned",
        "iou": "the map's most salient pixels, as many as the part has, and the part",
        "tolerant_pointing": f"within {patch_games.TOLERANCE:.4f} of the width",
        "found_at_1": "share of the part before 1 % of the rest; found_at_5 likewise",
        "fraction": options["fraction"],
        "fractions": _fractions(options),
        "fills": {name: fills.IN_WORDS[name] for name in options["fills"]},
        **{name: formula for name, formula in pair_curves.FORMULAS.items()},
        "threshold": "where FAR and 1 - TAR are equal, over all pairs of intact images",
        "ties": protocol.TIES,
        "p": protocol.P_VALUES.format(of="methods"),
        MEAN_MAP: "of fine_similarity over pairs, of fine_distance over games, that "
        "have nobody of the pair",
        "costly": f"methods of more than {options['costly']} passes explain the first "
        f"{options['num_costly']} pairs of both kinds together, and as many games",
    }
