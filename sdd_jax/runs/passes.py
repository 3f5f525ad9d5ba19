"""What a function costs, in forward passes of the network.

Counted, not timed: the multiplications of all products and convolutions in its
program, loops included, over those of one forward pass. XLA's own count takes a loop's
body once.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.extend.core as jex
from jax.interpreters import partial_eval as pe


def num_multiplications(function: Callable[..., Any], *arguments: Any) -> int:
    """Return how many numbers a function multiplies in products and convolutions.

    Of a branch it is the costlier side. Elementwise work is left out, as is usual for
    networks. A loop whose length is not known beforehand counts once.

    Args:
        function: what `jax.jit` takes.
        arguments: arrays, or their shapes as `jax.ShapeDtypeStruct`.
    """
    program = jax.make_jaxpr(function)(*arguments).jaxpr
    # What no result depends on is never computed.
    needed, _ = pe.dce_jaxpr(program, [True] * len(program.outvars))
    return _of(needed)


def _of(jaxpr: Any) -> int:
    return sum(_of_equation(equation) for equation in jaxpr.eqns)


def _of_equation(equation: Any) -> int:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        shape = equation.invars[0].aval.shape
        return _size(equation.outvars[0]) * math.prod(shape[i] for i in contracted)
    if name == "conv_general_dilated":
        kernel = equation.invars[1].aval.shape
        out_features = kernel[params["dimension_numbers"].rhs_spec[0]]
        return _size(equation.outvars[0]) * math.prod(kernel) // out_features
    if name == "cond":
        return max(_of(branch.jaxpr) for branch in params["branches"])
    times = params["length"] if name == "scan" else 1
    if name == "shard_map":
        times = params["mesh"].size  # the body is one device's part
    return times * sum(_of(inner) for inner in _inner(params))


def _inner(params: dict[str, Any]) -> list[Any]:
    """Return the programs that an equation holds: of calls, loops and derivatives."""
    found = []
    for value in params.values():
        if isinstance(value, jex.ClosedJaxpr):
            found.append(value.jaxpr)
        elif isinstance(value, jex.Jaxpr):
            found.append(value)
    return found


def _size(variable: Any) -> int:
    return math.prod(variable.aval.shape)
