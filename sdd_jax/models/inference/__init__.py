"""The inference form of a network: no normalisation is left, only what it amounts to.

`folded` makes it. On a CPU, `convolution.tiled` takes the place of XLA's convolution,
and images go through in blocks that stay in the cache.
"""

from sdd_jax.models.inference.form import DTYPES, check_dtype, folded

__all__ = ["DTYPES", "check_dtype", "folded"]
