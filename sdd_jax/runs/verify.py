"""Mode verify: is this one person or two? Measured on pairs of images of known people.

Nothing is trained. Every image is embedded by the published network; pairs are compared
by the cosine, and every figure has its interval over people.

Writes `verify/`: `metrics.json`, `metrics.md`, `metrics.csv`, `images.csv` (each
image's person, group and norm), `curves.png` and `index.html`. Embeddings are kept in
`results/`.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sdd_jax import distributed, files, screen
from sdd_jax.files import expanded
from sdd_jax.reports import text, verify_page, verify_plot, verify_table
from sdd_jax.runs import protocol, settings
from sdd_jax.runs.embedded_pairs import EmbeddedPairs, embedded_pairs
from sdd_jax.types import ImageSet
from sdd_jax.verification import groups, measured
from sdd_jax.verification.held_out import HeldOut, held_out
from sdd_jax.verification.pairs import Pairs


def run(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Embed, compare and measure; return `metrics.json`'s content."""
    settings.check(config)
    options = config["verify"]
    labels = _read_groups(config)
    found = embedded_pairs(config, folder)
    scores, pairs = found.scores, found.pairs
    own = _groups_of(labels, found.images, config)
    judged = held_out(scores, pairs, far=options["far"])
    figures = measured.measured(
        scores,
        pairs,
        judged,
        seed=options["seed"],
        num_resamples=options["num_resamples"],
        groups=groups.members(own, pairs) if own else None,
    )
    kept = measured.calibrated(scores, pairs, far=options["far"])
    result = figures | {
        "num_genuine": int(pairs.is_same.sum()),
        "num_impostor": int((~pairs.is_same).sum()),
        "num_skipped": found.num_skipped,
        "num_images": len(found.images),
        "num_people": len(np.unique(found.images.labels)),
        "calibration": dataclasses.asdict(kept),
        "protocol": _protocol(config, pairs) | found.provenance,
    }
    if not distributed.is_first():
        return result
    _write(folder / "verify", result, judged, found, own)
    screen.console.print(verify_table.summary(result))
    for line in verify_table.in_words(result):
        screen.say(line)
    screen.say(f"written: {folder / 'verify' / 'index.html'}")
    return result


def _read_groups(config: Mapping[str, Any]) -> dict[str, str]:
    path = config["data"].get("groups")
    return groups.read(expanded(path)) if path else {}


def _groups_of(
    labels: Mapping[str, str], images: ImageSet, config: Mapping[str, Any]
) -> list[str]:
    """Return each image's group; nothing where no groups were given."""
    path = config["data"].get("groups")
    if not path:
        return []
    people = [images.names[label] for label in images.labels]
    return groups.labels_of(labels, images.files, people, expanded(path))


def _protocol(config: Mapping[str, Any], pairs: Pairs) -> dict[str, Any]:
    """Return how the numbers came about."""
    options = config["verify"]
    num_folds = len(np.unique(pairs.folds))
    return {
        **protocol.basis(config, "verify", over="people"),
        "pairs": options["pairs"] or "all pairs of images",
        "aligned": options["align"],
        "score": "cosine of two embeddings",
        "num_folds": num_folds,
        "folds": "the list's own" if options["pairs"] else "of people, at random",
        "accuracy": "mean of the shares of genuine and of impostor pairs told rightly; "
        "each by the threshold of most accuracy on pairs without anybody of its folds",
        "auc, eer, tar": "of all pairs' curve; a FAR needs so many impostor pairs that "
        "three are accepted",
        "fmr, fnmr": f"at the threshold of FAR {options['far']:g} on pairs without "
        f"anybody of a pair's folds",
        "cllr": "of logistic, cllr_isotonic of isotonic likelihood ratios, chosen "
        "likewise, bounded by the numbers of people and couples; cllr_min of the best "
        "rising function of these pairs",
        "far": options["far"],
        "threshold": "calibration.threshold is of all pairs at that FAR, for other "
        "people than these",
    }


def _write(
    folder: Path,
    result: Mapping[str, Any],
    judged: HeldOut,
    found: EmbeddedPairs,
    own: Sequence[str],
) -> None:
    """Write all files of `verify/`, whole or not at all."""
    images, is_same = found.images, found.pairs.is_same
    plot = verify_plot.plot(found.scores, is_same, judged.logistic, result)
    rows: list[tuple[Any, ...]] = [("image", "person", "group", "norm")]
    for place, file in enumerate(images.files):
        group = own[place] if own else groups.UNKNOWN
        norm = f"{found.norms[place]:.4f}"
        rows.append((file, images.names[images.labels[place]], group, norm))
    page = verify_page.render(result, "curves.png")
    with files.replaced_folder(folder) as fresh:
        files.write_json(fresh / "metrics.json", result)
        files.write_bytes(fresh / "metrics.md", verify_table.markdown(result).encode())
        files.write_bytes(fresh / "metrics.csv", verify_table.csv(result).encode())
        names = text.csv(rows).encode("utf-8", "surrogateescape")
        files.write_bytes(fresh / "images.csv", names)
        files.write_bytes(fresh / "curves.png", plot)
        files.write_bytes(fresh / "index.html", page.encode())
