"""Mode compare: every method beside every other, by measures that no edge can win.

Writes `compare/`: `table.json`, `table.md` and `table.csv`; the curves, `curves.json`
and a PNG file a fill; and `index.html`, the same images under every method side by
side. What is finished is kept in `results/`: a run that was stopped goes on with the
methods that are left.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sdd_jax import distributed, files, screen
from sdd_jax.faithfulness import comparison, fills
from sdd_jax.faithfulness.curves import (
    CURVE_METRICS,
    FRACTIONS,
    relative_confidence,
)
from sdd_jax.faithfulness.metrics import METRICS
from sdd_jax.faithfulness.perturbations import ORDERS
from sdd_jax.faithfulness.statistics import bootstrap_identity_means, estimate
from sdd_jax.reports import compare_page, compare_plot, compare_table, overlay
from sdd_jax.runs import (
    compare_programs,
    protocol,
    settings,
    setup,
    store,
    workdir,
)
from sdd_jax.runs.compared import Compared, Comparison
from sdd_jax.runs.method_maps import MEAN_MAP, Method, mean_map_of
from sdd_jax.runs.spread import first_images, spread, spread_first, spread_places
from sdd_jax.saliency import bind_methods
from sdd_jax.types import ImageSet


def run(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Compare methods on the best checkpoint; return `table.json`'s content."""
    settings.check(config)
    options = config["compare"]
    methods = bind_methods(options["methods"], config["saliency"])
    setup.require_methods("compare", options, ("reference", "mean_map_of"))
    chosen = {name: options[name] for name in ("curves", "fills", "fraction")}
    wanted = comparison.perturbations(**chosen)
    split, model, provenance = setup.open_split(config, folder, "compare")

    chosen = spread(split, options["num_images"])
    image_set = spread_first(chosen, options["num_costly"])
    of_all = len(first_images(image_set, options["num_costly"]))
    results = workdir.results(folder, provenance)
    compared = Comparison(
        model=model,
        image_set=image_set,
        shown=spread_places(of_all, options["num_shown"]),
        options=options,
        wanted=wanted,
        results=results,
        facts=workdir.facts(provenance),
        programs=compare_programs.shared(model, options, wanted),
    )
    screen.say(
        f"comparing {len(methods)} methods on {len(image_set)} of {len(split)} "
        f"{options['split']} images"
    )
    found: dict[str, Compared] = {}
    for name, method in screen.progress(
        methods.items(), "comparing", total=len(methods) + 1
    ):
        found[name] = compared.method(name, method, config["saliency"].get(name))
        _say(name, found[name])
    of = options["mean_map_of"]
    found[MEAN_MAP] = _mean_map(compared, of, methods[of], config["saliency"].get(of))
    _say(MEAN_MAP, found[MEAN_MAP])
    store.keep_only(results)
    for one in found.values():
        setup.require_finite(one.outcome.confidence, image_set.files, folder)
    result = _table(config, found, image_set) | {
        "protocol": _protocol(config, image_set) | provenance
    }
    if not distributed.is_first():
        return result
    _write(folder / "compare", result, found, compared)
    screen.console.print(compare_table.summary(result))
    screen.say(f"written: {folder / 'compare' / 'index.html'}")
    return result


def _say(name: str, one: Compared) -> None:
    column = "srg", comparison.ALL
    values = one.measured.values[column][one.measured.counted[column]]
    mean = f"{values.mean():.1f}" if len(values) else "none"
    screen.say(
        f"{name}: srg {mean}, {one.forward_passes:.1f} forward passes, "
        f"{one.images_per_second:.1f} maps a second"
    )


def _mean_map(compared: Comparison, of: str, method: Method, options: Any) -> Compared:
    """Return the mean map of other people's images as if it were a method."""
    found = compared.class_sums(of, method, options)
    bound = mean_map_of(found)
    return compared.method(MEAN_MAP, bound, {"of": of, "options": options})


def _table(
    config: Mapping[str, Any],
    found: Mapping[str, Compared],
    image_set: ImageSet,
) -> dict[str, Any]:
    """Return the figures of all methods, what they cost, and the curves' means."""
    options = config["compare"]
    result = comparison.table(
        {name: one.measured for name, one in found.items()},
        image_set.labels,
        reference=options["reference"],
        seed=options["seed"],
        num_resamples=options["num_resamples"],
    )
    for name, one in found.items():
        result["methods"][name] |= {
            "forward_passes": one.forward_passes,
            "images_per_second": one.images_per_second,
            "flat_maps": one.num_flat,
            "num_images": len(one.intact.confidence),
        }
    return result


def _protocol(config: Mapping[str, Any], image_set: ImageSet) -> dict[str, Any]:
    """Return how the numbers came about."""
    options = config["compare"]
    return {
        **protocol.common(config, "compare"),
        "num_images": len(image_set),
        "target": "the class predicted on the intact image",
        "fraction": options["fraction"],
        "fractions": list(FRACTIONS),
        "fills": {name: fills.IN_WORDS[name] for name in options["fills"]},
        "curves": list(options["curves"]),
        "ties": protocol.TIES,
        "p": protocol.P_VALUES.format(of="methods"),
        "forward_passes": "multiplications of clean pass and map over those of a pass",
        "costly": f"methods of more than {options['costly']} forward passes explain "
        f"the first {options['num_costly']} images",
        MEAN_MAP: f"of {options['mean_map_of']}, over the images of other people",
        "specificity": "srg less that of the map of a random wrong class, both scored "
        "on the target; 0 for methods that do not look at the target",
        **{name: metric.formula for name, metric in CURVE_METRICS.items()},
        **{name: METRICS[name].formula for name in comparison.MASKED_METRICS},
    }


def _write(
    folder: Path,
    result: Mapping[str, Any],
    found: Mapping[str, Compared],
    compared: Comparison,
) -> None:
    """Write all files of `compare/`, whole or not at all."""
    curves = _curves(found, compared)
    names = compare_table.ranked(result)
    drawn = {
        name: curves["methods"][name]
        for name in _drawn_in_plots(names, result["reference"])
        if name in curves["methods"]
    }
    with files.replaced_folder(folder) as fresh:
        workdir.write_table(fresh, result, compare_table)
        files.write_json(fresh / "curves.json", curves)
        plots = {}
        for fill in compared.options["curves"]:
            plots[fill] = f"curves_{fill}.png"
            plot = compare_plot.curves(drawn, curves["fractions"], fill)
            files.write_bytes(fresh / plots[fill], plot)
        (fresh / "images").mkdir()
        gallery = [
            _gallery_row(fresh, compared, place, {n: found[n] for n in names})
            for place in range(len(compared.shown))
        ]
        html = compare_page.render(result, gallery, plots)
        files.write_bytes(fresh / "index.html", html.encode())


def _gallery_row(
    folder: Path, compared: Comparison, place: int, found: Mapping[str, Compared]
) -> dict[str, Any]:
    """Write an image under every method; return what the page says of it."""
    of_set = compared.shown[place]
    image = compared.image_set.read(of_set)
    row = {"file": compared.image_set.files[of_set], "images": {}}
    shown_by = {"image": image} | {
        name: overlay.overlay(image, one.maps[place].astype(np.float32))
        for name, one in found.items()
    }
    for name, drawn in shown_by.items():
        path = f"images/{place:04d}_{name}.png"
        files.write_bytes(folder / path, overlay.png(drawn))
        row["images"][name] = path
    return row


def _curves(found: Mapping[str, Compared], compared: Comparison) -> dict[str, Any]:
    """Return the mean of every curve, as [method][fill][order], and its band.

    As in the table, flat maps are in no mean; who has no others has no curve.
    """
    fractions: list[float] = []
    methods: dict[str, Any] = {}
    for name, one in found.items():
        says = one.measured.counted["srg", comparison.ALL]
        labels = compared.image_set.labels[: len(says)][says]
        if not len(labels):
            continue
        for fill in compared.options["curves"]:
            for order in ORDERS:
                curve = relative_confidence(
                    order, fill, one.intact, one.outcome, compared.wanted
                )
                fractions = curve.fractions.tolist()
                values = curve.values.T[says]
                drawn = bootstrap_identity_means(
                    values,
                    labels,
                    seed=compared.options["seed"],
                    num_resamples=compared.options["num_resamples"],
                )
                figures = map(estimate, values.mean(0), drawn.T)
                of_fill = methods.setdefault(name, {}).setdefault(fill, {})
                of_fill[order] = _by_name(figures)
    return {"fractions": fractions, "methods": methods}


def _by_name(figures: Iterable[Mapping[str, float]]) -> dict[str, list[float]]:
    rows = list(figures)
    return {name: [row[name] for row in rows] for name in rows[0]}


def _drawn_in_plots(names: list[str], reference: str) -> list[str]:
    """Return the methods whose curves are drawn: the best, and what they are held to.

    More lines than ten nobody can tell apart.
    """
    return list(dict.fromkeys([*names[:6], reference, "sdd", MEAN_MAP, "random_map"]))
