"""Mode sanity: do a method's maps depend on the network, and on the class?

Each method's maps of the intact network are compared with those of networks whose
layers are spoilt, and with those of another class. A method whose maps stay the same
shows something, but not what this network sees in this person. Writes `sanity/`:
`table.json`, `table.md`, `table.csv` and `layers.png`. What is finished is kept in
`results/`: a run that was stopped goes on with the methods that are left.

References:
    Adebayo, Gilmer, Muelly, Goodfellow, Hardt and Kim, "Sanity Checks for Saliency
    Maps", NeurIPS 2018, section 3: cascading and independent randomisation.
    Hedstroem, Weber, Lapuschkin and Hoehne, "A Fresh Look at Sanity Checks for Saliency
    Maps", xAI 2024: ends of the randomisation, and what not to average.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdd_jax import distributed, files, models, screen
from sdd_jax.faithfulness.sanity_table import CASCADING, RULE, method_table
from sdd_jax.reports import sanity_plot, sanity_table
from sdd_jax.runs import protocol, settings, setup, workdir
from sdd_jax.runs.method_maps import Method, forward_passes
from sdd_jax.runs.spoilt import Spoilt, networks
from sdd_jax.runs.spread import first_images, spread, spread_first
from sdd_jax.runs.store import keep_only
from sdd_jax.saliency import bind_methods
from sdd_jax.saliency.methods import USES_STAGES
from sdd_jax.types import ImageSet

# They do not look at the network, so they must fail.
CONTROLS = ("random_map", "random_pixels", "centre", "sobel")


def run(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Check methods on the best checkpoint; return `table.json`'s content."""
    settings.check(config)
    options = config["sanity"]
    methods = bind_methods(options["methods"], config["saliency"])
    split, model, provenance = setup.open_split(config, folder, "sanity")
    chosen = spread(split, options["num_images"])
    image_set = spread_first(chosen, options["num_costly"])
    # Folding mixes layers, and a divided head cannot be spoilt.
    apart = models.load(folder, step=provenance["step"], divide_head=False)
    spoilt = Spoilt(
        model,
        networks(apart, options["seed"], config["compute_dtype"]),
        seed=options["seed"],
        results=workdir.results(folder, provenance),
        facts=workdir.facts(provenance),
    )
    screen.say(
        f"checking {len(methods)} methods on {len(image_set)} of {len(split)} "
        f"{options['split']} images, against {len(spoilt.spoilt)} spoilt networks"
    )
    found = {}
    for name, method in screen.progress(
        methods.items(), "checking", total=len(methods)
    ):
        own = config["saliency"].get(name)
        found[name] = _checked(spoilt, name, method, image_set, options, own)
        screen.say(f"{name}: {'; '.join(found[name]['verdict'].values())}")
    keep_only(spoilt.results)
    result = {"methods": found, "protocol": _protocol(config, image_set) | provenance}
    if not distributed.is_first():
        return result
    _write(folder / "sanity", result)
    screen.console.print(sanity_table.summary(result))
    screen.say(f"written: {folder / 'sanity' / 'table.md'}")
    return result


def _checked(
    spoilt: Spoilt,
    name: str,
    method: Method,
    image_set: ImageSet,
    options: Mapping[str, Any],
    own: Any,
) -> dict[str, Any]:
    """Return a method's part of the table, and what it cost."""
    stages = name in USES_STAGES
    cost = forward_passes(spoilt.model, method, options["batch_size"], stages=stages)
    is_costly = cost > options["costly"]
    last = [network for network in spoilt.spoilt if network[0] == CASCADING][-1:]
    found = spoilt.similarities(
        name,
        method,
        first_images(image_set, options["num_costly"] if is_costly else 0),
        options=own,
        batch_size=options["batch_size"],
        only=tuple(last) if is_costly else None,
        stages=stages,
    )
    number = len(next(iter(found.values())).is_flat)
    table = method_table(
        found,
        image_set.labels[:number],
        threshold=options["threshold"],
        seed=options["seed"],
        num_resamples=options["num_resamples"],
    )
    is_control = name in CONTROLS
    counts = {"num_images": number, "forward_passes": cost, "is_control": is_control}
    return table | counts


def _protocol(config: Mapping[str, Any], image_set: ImageSet) -> dict[str, Any]:
    """Return how the numbers came about."""
    options = config["sanity"]
    common = protocol.common(config, "sanity")
    return common | {
        "num_images": len(image_set),
        "target": "the class predicted by the intact network on the intact image",
        "verdict": RULE.format(threshold=options["threshold"]),
        "threshold": options["threshold"],
        "spoilt": "every array of a layer keeps its values in a random order: filters, "
        "biases, PReLU's slopes, scales, shifts and running statistics of "
        "normalisations, all of the head; before folding, one draw, a key an array",
        "layers": "the head, the network's stages, the stem; cascading spoils all from "
        "the head down to the one named, independent that one alone; the untouched "
        "network is in no mean",
        "wrong_class": "a random other class, the intact network",
        "similarity": "Spearman over pixels; SSIM, 11 x 11 Gaussian windows of 1.5 "
        "pixels, of maps scaled to 0 to 1",
        "intervals": f"{common['intervals']}; of images, not of draws of the spoilt "
        f"network",
        "flat_maps": "pairs with a map that is flat or not finite, in no mean",
        "costly": f"methods of more than {options['costly']} forward passes explain "
        f"the first {options['num_costly']} images, intact and with all layers spoilt",
        "controls": [name for name in options["methods"] if name in CONTROLS],
    }


def _write(folder: Path, result: Mapping[str, Any]) -> None:
    """Write all files of `sanity/`, whole or not at all."""
    with files.replaced_folder(folder) as fresh:
        workdir.write_table(fresh, result, sanity_table)
        files.write_bytes(fresh / "layers.png", sanity_plot.layers(result["methods"]))
