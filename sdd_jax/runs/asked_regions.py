"""The regions that `train.guidance` asks for, of the training images."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from sdd_jax.errors import InputError
from sdd_jax.files import expanded
from sdd_jax.images import regions
from sdd_jax.runs import setup
from sdd_jax.training.guidance import NEED_REGIONS, Guidance
from sdd_jax.types import ImageSet


def of(
    config: Mapping[str, Any], image_set: ImageSet, guidance: Guidance | None
) -> ImageSet:
    """Return the training images with the regions asked for, and without if none are.

    A folder of masks and parts of the face come before what the source itself knows.

    Raises:
        InputError: a term needs regions and there are none, there are two kinds, or
            they cannot be had.
    """
    needs = [x for x in NEED_REGIONS if guidance and x in guidance.terms]
    given = config["train"]["guidance"]
    if given["masks"] and given["parts"]:
        raise InputError(
            f"train.guidance.masks is {given['masks']} and train.guidance.parts is "
            f"{','.join(given['parts'])}: expected one of them"
        )
    if not needs:
        if given["masks"] or given["parts"]:
            named = "masks" if given["masks"] else "parts"
            raise InputError(
                f"train.guidance.{named} is given, but no term looks at regions: give "
                f"one of {', '.join(NEED_REGIONS)} a weight"
            )
        return dataclasses.replace(image_set, region=None)
    size = setup.image_size(config)
    if given["masks"]:
        return regions.of_masks(image_set, expanded(given["masks"]), size=size)
    if given["parts"]:
        root = config["data"].get("root")
        if not root:
            raise InputError(
                f"train.guidance.parts is {','.join(given['parts'])}, but "
                f"data.source={config['data']['source']} has no folder of aligned "
                f"images, data.root: draw masks, and pass --config.train.guidance."
                f"masks=FOLDER"
            )
        return regions.of_parts(image_set, expanded(root), given["parts"], size=size)
    if image_set.region is None:
        or_parts = " or --config.train.guidance.parts=eyes"
        raise InputError(
            f"train.guidance.{needs[0]} looks at regions, and data.source="
            f"{config['data']['source']} knows none: pass --config.train.guidance."
            f"masks=FOLDER{or_parts if config['data'].get('root') else ''}"
        )
    return image_set
