"""What the network must not use: clusters, by their numbers in a file, as masks."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from sdd_jax import distributed, files
from sdd_jax.errors import InputError
from sdd_jax.reports import overlay
from sdd_jax.runs import asked_regions
from sdd_jax.training import guidance
from sdd_jax.types import ImageSet

FORBID = "forbid.txt"
TEMPLATE = (
    "# The numbers of clusters that the network must not use, one a line;\n"
    "# revise/index.html shows them. Then give the same command again.\n"
)


def numbers(folder: Path, number: int) -> list[int]:
    """Return the clusters that a workdir's file names; none where it is not there.

    Raises:
        InputError: a line is no cluster's number.
    """
    path = folder / FORBID

    def read() -> list[int]:
        found = []
        possible = {str(each) for each in range(1, number + 1)}
        content = files.read_text(path)
        if "\0" in content:
            raise InputError(f"{path} is no UTF-8 text: save it as UTF-8")
        for place, line in enumerate(content.splitlines(), 1):
            text = line.partition("#")[0].strip()
            if not text:
                continue
            if text not in possible:
                raise InputError(
                    f"{path} says {text[:40]!r} in line {place}: expected the number "
                    f"of a cluster, from 1 to {number}"
                )
            found.append(int(text))
        return sorted(set(found))

    return distributed.from_first(
        "what is forbidden", lambda: read() if path.is_file() else []
    )


def check_page(folder: Path, found_by: Mapping[str, Any]) -> None:
    """Raise InputError where the page shows other clusters than those of now."""
    path = folder / "revise" / "table.json"

    def shown() -> Any:
        try:
            return dict(files.parsed(files.read_text(path))).get("found_by")
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise InputError(
                f"{path} is damaged ({error}): remove {path.parent}, and give the same "
                f"command with an empty {FORBID} to see the clusters"
            ) from error

    there = distributed.from_first("the page", shown)
    here = files.parsed(json.dumps(found_by))
    if there is None or there == here:
        return
    changed = [name for name in here if there.get(name) != here[name]]
    said = {name: f"revise.{name} was {there.get(name)!r}" for name in changed}
    said |= {"saliency": "the method's settings were others"}
    said |= {"checkpoint": "the network was trained on since"}
    raise InputError(
        f"{folder / FORBID} has the numbers of other clusters, those on the page: "
        f"{', '.join(said[name] for name in changed)}; to see the clusters of now, "
        f"empty it and give the same command, or give the earlier settings"
    )


def with_own(
    config: Mapping[str, Any],
    masks: Bool[np.ndarray, "images height width"],
    of: ImageSet,
) -> Bool[np.ndarray, "images height width"]:
    """Return masks with the regions that the training before was told of, too."""
    own = guidance.named(config["train"])
    if own is None or not set(own.terms) & set(guidance.NEED_REGIONS):
        return masks
    if own.inside:
        raise InputError(
            "train.guidance.inside=True says where the network must look, and a "
            "revision where it must not: revise a network that was trained without"
        )
    region = asked_regions.of(config, of, own).region
    return masks | np.stack([region(place) for place in range(len(of))])


def write_masks(
    folder: Path, masks: Bool[np.ndarray, "images height width"], image_set: ImageSet
) -> None:
    """Write the masks that are not empty, all of them or none."""
    if not distributed.is_first():
        return
    with files.replaced_folder(folder) as fresh:
        for place in np.flatnonzero(masks.any((1, 2))):
            path = fresh / f"{image_set.files[place]}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            mask = np.uint8(255) * masks[place]
            files.write_bytes(path, overlay.png(np.repeat(mask[..., None], 3, -1)))
