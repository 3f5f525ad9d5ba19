"""A network of random numbers, as no fresh one is: statistics and slopes too."""

import jax.numpy as jnp
import numpy as np
from flax import nnx


def randomised(module):
    """Give every number of a network a random value, statistics included."""
    rng = np.random.default_rng(0)
    for path, leaf in nnx.to_flat_state(nnx.state(module)):
        shape = leaf.shape
        if path[-1] == "kernel":
            value = rng.normal(0, np.prod(shape[:-1]) ** -0.5, shape)
        elif path[-1] in ("var", "scale", "feature_deviation"):
            value = rng.uniform(0.5, 1.5, shape)
        else:
            value = rng.normal(0, 0.5, shape)
        leaf.set_value(jnp.asarray(value, leaf.dtype))
    return module
