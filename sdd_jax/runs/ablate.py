"""Mode ablate: what SDD's open choices do to the figures, one at a time.

The paper leaves open how many classes are compared, F, alpha, where the exponential is
taken, and whether class weights are centred. Each choice stands beside the default of
the others. Writes `ablate/`: `table.json`, `table.md`, `table.csv` and `choices.png`.
What is finished is kept in `results/`: a run that was stopped goes on with the choices
that are left.
"""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jax import Array

from sdd_jax import distributed, files, screen
from sdd_jax.faithfulness import (
    CURVE_METRICS,
    METRICS,
    Outcome,
    Perturbation,
    ablation,
    comparison,
    edge_length,
    fills,
    grid,
    is_flat,
)
from sdd_jax.faithfulness.comparison import ALL, Measured
from sdd_jax.faithfulness.perturbations import counts_of
from sdd_jax.faithfulness.ranks import num_masked
from sdd_jax.models import FaceClassifier
from sdd_jax.reports import ablate_plot, ablate_table
from sdd_jax.runs import protocol, settings, setup, workdir
from sdd_jax.runs.choices import DEFAULT, FRACTIONS, Choices, choices, fraction_rows
from sdd_jax.runs.split_outcomes import Programs, SplitOutcomes, split_outcomes
from sdd_jax.runs.spread import spread
from sdd_jax.runs.store import keep_only
from sdd_jax.saliency.controls import of_wrong_class
from sdd_jax.saliency.sdd import sdd
from sdd_jax.types import ImageSet

Wanted = tuple[Perturbation, ...]

_WRONG = "wrong_class_of_"  # begins the name of a row that explains another class
_SRG = ("srg", ALL)
_PERTURBED = ("curves", "fills", "fraction")


def run(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Try SDD's choices on the best checkpoint; return `table.json`'s content."""
    settings.check(config)
    options = config["ablate"]
    chosen = {name: options[name] for name in _PERTURBED}
    wanted = comparison.perturbations(**chosen)
    split, model, provenance = setup.open_split(config, folder, "ablate")
    image_set = spread(split, options["num_images"])
    own = config["saliency"].get("sdd", {})
    tried = choices(own, model.num_classes, options["parameters"])
    for line in tried.left_out:
        screen.say(line)
    screen.say(
        f"trying {len(tried.options)} choices on {len(image_set)} of {len(split)} "
        f"{options['split']} images"
    )
    results = workdir.results(folder, provenance)
    trial = _Trial(model, image_set, results, provenance, options)
    found = trial.measured(tried.options, wanted)
    found |= trial.at_fractions(tried.options[DEFAULT])
    keep_only(results)
    result = table(found, tried, image_set, options) | {
        "protocol": _protocol(config, image_set) | provenance
    }
    if not distributed.is_first():
        return result
    with files.replaced_folder(folder / "ablate") as fresh:
        workdir.write_table(fresh, result, ablate_table)
        files.write_bytes(fresh / "choices.png", ablate_plot.choices(result))
    screen.console.print(ablate_table.summary(result))
    for line in result["findings"]:
        screen.say(line)
    screen.say(f"written: {folder / 'ablate' / 'table.md'}")
    return result


@dataclasses.dataclass(frozen=True)
class _Trial:
    """What choices are tried on, and how."""

    model: FaceClassifier
    image_set: ImageSet
    results: Path  # where finished results are
    provenance: Mapping[str, Any]
    options: Mapping[str, Any]  # the config's section `ablate`

    def measured(
        self, rows: Mapping[str, Mapping[str, Any]], wanted: Wanted
    ) -> dict[str, Measured]:
        """Return the numbers of every row, by its options of SDD."""
        methods = {name: functools.partial(sdd, **own) for name, own in rows.items()}
        others = {
            _WRONG + name: of_wrong_class(method) for name, method in methods.items()
        }
        own = dict(rows) | {_WRONG + name: of for name, of in rows.items()}
        found = self._outcomes(methods | others, wanted, own)
        return {name: self._numbers(found, name, wanted) for name in rows}

    def at_fractions(self, own: Mapping[str, Any]) -> dict[str, Measured]:
        """Return the default's numbers where more or fewer pixels are masked."""
        chosen = self.options["fills"]
        wanted = grid(chosen, FRACTIONS)
        methods = {DEFAULT: functools.partial(sdd, **own)}
        found = self._outcomes(methods, wanted, {DEFAULT: own})
        rows = fraction_rows(self.options["fraction"]).values()
        says = ~found.details[DEFAULT]["is_flat"]
        result = {}
        for fraction, row in zip(FRACTIONS, rows, strict=True):
            if row != DEFAULT:
                values = comparison.masked_columns(
                    found.intact,
                    _of(found, DEFAULT),
                    wanted,
                    fills=chosen,
                    fraction=fraction,
                )
                result[row] = Measured(values, dict.fromkeys(values, says))
        return result

    def _outcomes(
        self, methods: Mapping[str, Any], wanted: Wanted, own: Mapping[str, Any]
    ) -> SplitOutcomes:
        """Return what every image gives: one clean pass, one program that tests."""
        programs = Programs(
            self.model,
            methods=methods,
            wanted=wanted,
            seed=self.options["seed"],
            batch_size=self.options["batch_size"],
            measure=functools.partial(_measure, wanted, self.options["fraction"]),
        )
        found = split_outcomes(
            programs,
            self.image_set,
            results=self.results,
            facts={"ablate": self.options["fraction"]} | workdir.facts(self.provenance),
            options=own,
        )
        confidence = found.perturbed.confidence
        names, checkpoint = self.image_set.files, Path(self.provenance["checkpoint"])
        setup.require_finite(confidence, names, checkpoint)
        return found

    def _numbers(self, rows: SplitOutcomes, name: str, wanted: Wanted) -> Measured:
        """Return all numbers of a row."""
        details = rows.details[name]
        return comparison.method_columns(
            rows.intact,
            _of(rows, name),
            _of(rows, _WRONG + name),
            wanted,
            **{name: self.options[name] for name in _PERTURBED},
            more={("edge_length", ALL): details["edge_length"].astype(float)},
            is_flat=details["is_flat"],
            other_is_flat=rows.details[_WRONG + name]["is_flat"],
        )


def table(
    found: Mapping[str, Measured],
    tried: Choices,
    image_set: ImageSet,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the figures of all rows, which choice is which row, and what is found."""
    bootstrap = {name: options[name] for name in ("seed", "num_resamples")}
    labels = image_set.labels
    result = comparison.table(found, labels, reference=DEFAULT, **bootstrap)
    for name, one in found.items():
        says = one.counted["confidence_drop", options["fills"][0]]
        result["methods"][name]["flat_maps"] = int((~says).sum())
    findings = []
    numbers = tried.groups.get("num_classes_compared", {})
    known = {label: found[row] for label, row in numbers.items()}
    margin = options["margin"]
    enough = ablation.smallest_enough(known, labels, _SRG, margin=margin, **bootstrap)
    if enough:
        findings.append(
            f"competing classes: {enough[0]} are enough, by srg; the best: {enough[1]}"
        )
    for group, rows in tried.groups.items():
        names = [row for row in rows.values() if row != DEFAULT]
        differ = ablation.that_differ(result["differences"], names, _SRG)
        said = ", ".join(
            f"{name} by {one['value']:+.1f} [{one['low']:+.1f}, {one['high']:+.1f}]"
            for name, one in differ.items()
        )
        of = f"of {len(names)}" if names else "there are no others"
        findings.append(
            f"{group}: differ from the default in srg: {said or 'none'} ({of})"
        )
    groups = tried.groups | {"fraction": fraction_rows(options["fraction"])}
    return result | {
        "groups": groups,
        "findings": findings,
        "left_out": tried.left_out,
        "num_images": len(image_set),
    }


def _of(rows: SplitOutcomes, name: str) -> Outcome:
    place = list(rows.details).index(name)
    return Outcome(*(values[place] for values in rows.perturbed))


def _measure(
    wanted: Wanted, fraction: float, maps: Array, ranks: Array
) -> dict[str, Array]:
    """Return what else is measured of a row's maps; see `split_outcomes.Measure`."""
    found = {"is_flat": is_flat(maps)}
    count = num_masked(fraction, *maps.shape[1:])
    counts = counts_of(wanted, *maps.shape[1:])
    if count in counts:
        found["edge_length"] = edge_length(ranks <= counts.index(count))
    return found


def _protocol(config: Mapping[str, Any], image_set: ImageSet) -> dict[str, Any]:
    """Return how the numbers came about."""
    options = config["ablate"]
    return {
        **protocol.common(config, "ablate", methods=("sdd",)),
        "num_images": len(image_set),
        "target": "the class predicted on the intact image",
        "choices": "one parameter at a time away from the default of the others",
        "fraction": options["fraction"],
        "fills": {name: fills.IN_WORDS[name] for name in options["fills"]},
        "curves": list(options["curves"]),
        "ties": protocol.TIES,
        "enough": ablation.ENOUGH_RULE.format(margin=options["margin"]),
        "differs": ablation.DIFFERS_RULE,
        "p": protocol.P_VALUES.format(of="choices"),
        "specificity": "srg less that of the map of a random wrong class, both scored "
        "on the target",
        **{name: metric.formula for name, metric in CURVE_METRICS.items()},
        **{name: METRICS[name].formula for name in comparison.MASKED_METRICS},
    }
