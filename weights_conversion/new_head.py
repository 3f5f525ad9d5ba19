"""A published network under a fresh head that classifies.

The head is global average pooling and a linear layer, as in the paper's CAM; the
network's own last layer is left out of the checkpoint. It knows nobody yet: fine-tuning
starts from it as from the network without it.
"""

import dataclasses
import re

import jax

from sdd_jax import models
from sdd_jax.errors import InputError
from weights_conversion.convert import Converted, sizes


def num_classes_of(head: str) -> int:
    """Return the number of classes in "pooled:NUMBER".

    Raises:
        InputError: the text is of another form, or there is nothing to choose between.
    """
    match = re.fullmatch(r"pooled:([0-9]{1,7})", head)
    if not match or int(match[1]) < 2:
        raise InputError(
            f"--head is {head!r}: expected pooled:NUMBER with the number of people, "
            f"2 to 9,999,999, such as pooled:530"
        )
    return int(match[1])


def with_pooled_head(
    converted: Converted, num_classes: int, *, seed: int = 0
) -> Converted:
    """Return the network with a fresh `PooledHead` instead of its own head.

    Args:
        converted: left as it is.
        num_classes: the fresh head's.
        seed: of the initialisation. A `PooledHead` starts at zero, so that today every
            seed gives the same.
    """
    head = {"name": "pooled", "num_classes": num_classes}
    description = converted.description | {"head": head}
    # Compiled as one program, which leaves out all that is drawn for other layers.
    fresh = jax.jit(
        lambda: models.variables(models.build(description, seed=seed))["head"]
    )
    variables = {
        "backbone": converted.variables["backbone"],
        "head": jax.device_get(fresh()),
    }
    own = jax.tree.leaves(converted.variables["head"])
    left_out = [
        f"{len(own)} arrays of the published head",
        *(f"head.{name}" for name in converted.training_head),
    ]
    card = dict(converted.card)
    if "num_used" in card:
        card["num_used"] -= len(own)
    card |= {
        "head": f"pooled, {num_classes} classes, fresh: it starts at zero",
        "kept": "nothing",
        "left_out": ", ".join(left_out),
        **sizes(variables),
    }
    return dataclasses.replace(
        converted,
        description=description,
        variables=variables,
        card=card,
        training_head={},
    )
