"""How the numbers of a mode came about: what all results say of it."""

from collections.abc import Mapping, Sequence
from typing import Any

from sdd_jax.runs import workdir

TIES = "broken at random, seeded by image, never by position"
P_VALUES = "Wilcoxon signed-rank on the identities' means, Holm over the {of}"


def common(
    config: Mapping[str, Any],
    section: str,
    *,
    methods: Sequence[str] | None = None,
    over: str = "identities",
) -> dict[str, Any]:
    """Return what every mode's protocol has.

    Args:
        config: plain dict.
        section: the mode's own.
        methods: whose options are told; those of the section where None.
        over: what the bootstrap draws.
    """
    options = config[section]
    return {
        "split": options["split"],
        "saliency": {
            name: config["saliency"].get(name, {})
            for name in methods or options["methods"]
        },
        **basis(config, section, over=over),
    }


def basis(config: Mapping[str, Any], section: str, *, over: str) -> dict[str, Any]:
    """Return what also those modes' protocols have that explain nothing."""
    options = config[section]
    return {
        "intervals": f"95 % percentile bootstrap over {over}, "
        f"{options['num_resamples']} resamples, seed {options['seed']}",
        "seed": options["seed"],
        "config": {name: config[name] for name in ("seed", "data", "model", "train")},
        "versions": workdir.versions(),
    }
