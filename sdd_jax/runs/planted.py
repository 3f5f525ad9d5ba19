"""Mode planted: which methods show the evidence that a network is known to use?

For data of `source="planted"`, in which a mark alone tells two identities apart. First
it is measured that the network looks at the marks: what it answers without them, and
with those of twins swapped. Then every method's maps are held against the marks.

Writes `planted/`: `table.json`, `table.md`, `table.csv` and `marks.png`. What is
finished is kept in `results/`: a run that was stopped goes on with the methods that
are left.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sdd_jax import distributed, files, screen
from sdd_jax.errors import InputError
from sdd_jax.faithfulness import comparison
from sdd_jax.faithfulness.comparison import ALL, Measured
from sdd_jax.images.sources import planted as source
from sdd_jax.reports import planted_plot, planted_table
from sdd_jax.runs import found_marks, protocol, settings, setup, store, workdir
from sdd_jax.runs.found_marks import VERSIONS, Evidence, Rows
from sdd_jax.runs.method_maps import MEAN_MAP, mean_map_of
from sdd_jax.saliency import bind_methods

LESS_TWIN = "cam_less_twin"  # the row of CAM less the twin's CAM
MEASURES = ("pointing_game", "energy_inside", "relevance_rank", "random_value")


def run(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Measure the best checkpoint on planted marks; return `table.json`'s content."""
    settings.check(config)
    options = config["planted"]
    if config["data"]["source"] != "planted":
        raise InputError(
            f"data.source is {config['data']['source']!r}, whose images have no known "
            f"marks: expected 'planted', as in configs/planted.py"
        )
    methods = bind_methods(options["methods"], config["saliency"])
    setup.require_methods("planted", options, ("reference", "mean_map_of"))
    _, model, provenance = setup.open_split(config, folder, "planted")
    plan, splits = source.evidence(**setup.source_arguments(config, folder))
    results = workdir.results(folder, provenance)
    evidence = found_marks.evidence(
        model,
        splits[options["split"]],
        plan,
        seed=options["seed"],
        batch_size=options["batch_size"],
        results=results,
        facts=workdir.facts(provenance),
    )
    answers = evidence.answers()
    for version, rows in answers.items():
        image_files = evidence.images[version].files
        setup.require_finite(rows["own"], image_files, folder)
    relies = _relies(evidence, answers)
    screen.say(f"images whose answer follows the mark: {relies.sum()} of {len(relies)}")

    found: dict[str, Rows] = {}
    for name, method in screen.progress(methods.items(), "marks", total=len(methods)):
        found[name] = evidence.found(name, method, config["saliency"].get(name))
    of = options["mean_map_of"]
    of_options = config["saliency"].get(of)
    sums = evidence.class_sums(of, methods[of], of_options)
    about = {"of": of, "options": of_options}
    found[MEAN_MAP] = evidence.found(MEAN_MAP, mean_map_of(sums), about)
    contrast = found_marks.less_the_twin(evidence.twin_of)
    found[LESS_TWIN] = evidence.found(LESS_TWIN, contrast, None)
    store.keep_only(results)

    result = _table(config, evidence, found, relies) | {
        "reliance": _reliance(config, evidence, answers),
        "protocol": _protocol(config, evidence, plan, relies) | provenance,
    }
    if not distributed.is_first():
        return result
    _write(folder / "planted", result)
    screen.console.print(planted_table.reliance(result))
    screen.console.print(planted_table.summary(result))
    screen.say(f"written: {folder / 'planted' / 'table.md'}")
    return result


def _relies(evidence: Evidence, answers: Mapping[str, Rows]) -> np.ndarray:
    """Return for which images the mark decides, bool [images].

    The network is right, and names the twin when only the mark becomes the twin's.
    """
    is_right = answers["marked"]["prediction"] == evidence.labels
    return is_right & (answers["swapped"]["prediction"] == evidence.twins)


def _groups(evidence: Evidence) -> dict[str, np.ndarray]:
    """Return the images of each kind of twins, and all; bool [images]."""
    kinds = {kind: evidence.kinds == kind for kind in source.KINDS}
    return kinds | {ALL: np.ones(len(evidence.kinds), bool)}


def _table(
    config: Mapping[str, Any],
    evidence: Evidence,
    found: Mapping[str, Rows],
    relies: np.ndarray,
) -> dict[str, Any]:
    """Return the figures of all methods, in per cent, by measure and kind of twins."""

    def measured(rows: Rows) -> Measured:
        values, counted = {}, {}
        for kind, is_kind in _groups(evidence).items():
            for name in MEASURES:
                values[name, kind] = 100 * rows[name].astype(np.float64)
                counted[name, kind] = relies & is_kind & ~rows["is_flat"]
        return Measured(values, counted)

    options = config["planted"]
    result = comparison.table(
        {name: measured(rows) for name, rows in found.items()},
        evidence.labels,
        reference=options["reference"],
        seed=options["seed"],
        num_resamples=options["num_resamples"],
    )
    for name, rows in found.items():
        flat = relies & rows["is_flat"]
        result["methods"][name] |= {"flat_maps": int(flat.sum())}
    return result


def _reliance(
    config: Mapping[str, Any], evidence: Evidence, answers: Mapping[str, Rows]
) -> dict[str, Any]:
    """Return what the network says of each version, in per cent, by kind of twins."""

    def measured(rows: Rows) -> Measured:
        columns = {
            "names_own": rows["prediction"] == evidence.labels,
            "names_twin": rows["prediction"] == evidence.twins,
            "confidence_own": rows["own"],
            "confidence_twin": rows["twin"],
        }
        groups = _groups(evidence)
        keys = [(name, kind) for name in columns for kind in groups]
        return Measured(
            {(name, kind): 100.0 * columns[name] for name, kind in keys},
            {(name, kind): groups[kind] for name, kind in keys},
        )

    options = config["planted"]
    table = comparison.table(
        {version: measured(rows) for version, rows in answers.items()},
        evidence.labels,
        reference=VERSIONS[0],
        seed=options["seed"],
        num_resamples=options["num_resamples"],
    )
    return {"versions": table["methods"], "differences": table["differences"]}


def _protocol(
    config: Mapping[str, Any],
    evidence: Evidence,
    plan: source.Plan,
    relies: np.ndarray,
) -> dict[str, Any]:
    """Return how the numbers came about."""
    options = config["planted"]
    names = evidence.images["marked"].names
    groups = _groups(evidence)
    return {
        **protocol.common(config, "planted"),
        "num_images": {kind: int(is_kind.sum()) for kind, is_kind in groups.items()},
        "num_counted": {
            kind: int((is_kind & relies).sum()) for kind, is_kind in groups.items()
        },
        "counted": "images that the network names rightly, and as the twin when only "
        "the mark becomes the twin's",
        "target": "the class predicted, which is the mark's bearer",
        "unique": "marks of one pair of twins",
        "shared": "two pairs of twins have the same two marks",
        "random_value": "the mask's share of the pixels: what a random map has",
        MEAN_MAP: f"of {options['mean_map_of']}, over the marked images of others",
        LESS_TWIN: "class map less the twin's: it is told what to compare with",
        "ties": protocol.TIES,
        "p": protocol.P_VALUES.format(of="methods"),
        "marks": {
            names[label]: mark._asdict()
            | {"twin": names[plan.twins[label]], "kind": plan.kinds[label]}
            for label, mark in plan.marks.items()
        },
    }


def _write(folder: Path, result: Mapping[str, Any]) -> None:
    """Write all files of `planted/`, whole or not at all."""
    with files.replaced_folder(folder) as fresh:
        workdir.write_table(fresh, result, planted_table)
        files.write_bytes(fresh / "marks.png", planted_plot.plot(result))
