"""Every formulation of a 3x3 convolution that was tried for the CPU, beside the dots.

    python -m benchmarks.kernels.convolutions [--images=8] [--dtype=float32]
        [--repeats=10] [--sizes=56,28,14,7]

The shapes are those of the four stages of IR-101, each of 231 MFLOP an image. Figures
are GFLOP/s of the direct sum's operations, the best of the repeats, in turns; "tiles"
need 4/9 of them, so they can exceed what products reach. Last comes one JSON line.

    XLA          jax.lax.conv_general_dilated
    columns      one product with the nine shifted images side by side
    rows         three products with three shifted images side by side
    shifts       nine products with one shifted image each
    wide         one product with all nine taps, and the sum of nine shifted results
    tiles        sixteen products of transformed 4x4 tiles: convolution.tiled
    tiles, one product   the same as one batched product
    large tiles  thirty-six products of 6x6 tiles, F(4x4, 3x3)
    ", one by one"       the same for one image at a time
    product      of matrices as large as those of "columns"
"""

import argparse
import functools
import json
import math
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.table import Table

from benchmarks import command
from sdd_jax import screen
from sdd_jax.models import convolution

CHANNELS = {56: 64, 28: 128, 14: 256, 7: 512}  # of the maps of each size

# F(4x4, 3x3), Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks",
# CVPR 2016, section 4.2.
_TILE_6 = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
_TAPS_6 = np.array(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ]
)
_OUTPUTS_6 = np.array(
    [
        [1, 1, 1, 1, 1, 0],
        [0, 1, -1, 2, -2, 0],
        [0, 1, 1, 4, 4, 0],
        [0, 1, -1, 8, -8, 1],
    ]
)

product = functools.partial(
    jnp.matmul, precision="highest", preferred_element_type=jnp.float32
)


def _padded(x: Any, kernel: Any) -> Any:
    return jnp.pad(x.astype(kernel.dtype), ((0, 0), (1, 1), (1, 1), (0, 0)))


def columns(x: Any, kernel: Any) -> Any:
    """Return the convolution as one product."""
    height, width, inputs = x.shape[1:]
    x = _padded(x, kernel)
    shifted = [x[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return product(jnp.concatenate(shifted, -1), kernel.reshape(9 * inputs, -1))


def rows(x: Any, kernel: Any) -> Any:
    """Return the convolution as three products."""
    height, width, inputs = x.shape[1:]
    x = _padded(x, kernel)
    x = jnp.concatenate([x[:, :, j : j + width] for j in range(3)], -1)
    kernel = kernel.reshape(3, 3 * inputs, -1)
    return sum(product(x[:, i : i + height], kernel[i]) for i in range(3))


def shifts(x: Any, kernel: Any) -> Any:
    """Return the convolution as nine products."""
    height, width = x.shape[1:3]
    x = _padded(x, kernel)
    return sum(
        product(x[:, i : i + height, j : j + width], kernel[i, j])
        for i in range(3)
        for j in range(3)
    )


def wide(x: Any, kernel: Any) -> Any:
    """Return the convolution as one product and nine shifted sums."""
    batch, height, width, inputs = x.shape
    taps = kernel.transpose(2, 0, 1, 3).reshape(inputs, -1)
    y = product(x.astype(kernel.dtype), taps)
    y = y.reshape(batch, height, width, 3, 3, -1)
    y = jnp.pad(y, ((0, 0), (1, 1), (1, 1), (0, 0), (0, 0), (0, 0)))
    return sum(
        y[:, i : i + height, j : j + width, i, j] for i in range(3) for j in range(3)
    )


def tiles_in_one_product(x: Any, kernel: Any) -> Any:
    """Return `convolution.tiled` with its sixteen products batched."""
    return _tiled(x, kernel, 2, _TILE_4, _OUTPUTS_4, batched=True)


def large_tiles(x: Any, kernel: Any) -> Any:
    """Return the convolution as thirty-six products for 4x4 outputs each."""
    return _tiled(x, kernel, 4, _TILE_6, _OUTPUTS_6, batched=False)


_TILE_4 = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
_OUTPUTS_4 = np.array([[1, 1, 1, 0], [0, 1, -1, -1]])


def _tiled(
    x: Any, kernel: Any, step: int, tile: Any, outputs: Any, *, batched: bool
) -> Any:
    batch, height, width, inputs = x.shape
    down, across = -(-height // step), -(-width // step)
    size = step + 2
    ends = (1, step * down + 1 - height), (1, step * across + 1 - width)
    x = jnp.pad(x, ((0, 0), *ends, (0, 0)))
    parts = [
        [
            x[:, i : i + step * (down - 1) + 1 : step][
                :, :, j : j + step * (across - 1) + 1 : step
            ]
            for j in range(size)
        ]
        for i in range(size)
    ]
    parts = _both(tile, parts)
    places = [(i, j) for i in range(size) for j in range(size)]
    flat = [parts[i][j].reshape(-1, inputs).astype(kernel.dtype) for i, j in places]
    if batched:
        products = product(jnp.stack(flat), kernel.reshape(-1, *kernel.shape[2:]))
    else:
        products = [
            product(p, kernel[place]) for p, place in zip(flat, places, strict=True)
        ]
    y = [[products[i * size + j] for j in range(size)] for i in range(size)]
    y = _both(outputs, y)
    y = jnp.stack([jnp.stack(line, 1) for line in y], 1)
    y = y.reshape(batch, down, across, step, step, -1).transpose(0, 1, 3, 2, 4, 5)
    return y.reshape(batch, step * down, step * across, -1)[:, :height, :width]


def _both(matrix: Any, square: list[list[Any]]) -> list[list[Any]]:
    def along(line: list[Any]) -> list[Any]:
        return [
            sum(float(f) * v for f, v in zip(factors, line, strict=True) if f)
            for factors in matrix
        ]

    lines = [along(list(column)) for column in zip(*square, strict=True)]
    return [along(list(line)) for line in zip(*lines, strict=True)]


def _transformed(taps: Any, kernel: Any) -> Any:
    return np.einsum("ia,jb,abco->ijco", taps, taps, kernel)


def one_by_one(form: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Return the same formulation for one image at a time."""
    return lambda x, kernel: jax.lax.map(lambda one: form(one[None], kernel)[0], x)


def _same(kernel: Any) -> Any:
    return kernel


FORMS: dict[str, tuple[Callable[..., Any], Callable[[Any], Any]]] = {
    "XLA": (convolution.direct, _same),
    **{form.__name__: (form, _same) for form in (columns, rows, shifts, wide)},
    **{
        f"{form.__name__}, one by one": (one_by_one(form), _same)
        for form in (columns, rows, shifts, wide)
    },
    "tiles": (convolution.tiled, convolution.tile_kernel),
    "tiles, one product": (tiles_in_one_product, convolution.tile_kernel),
    "tiles, one by one": (one_by_one(convolution.tiled), convolution.tile_kernel),
    "large tiles": (large_tiles, functools.partial(_transformed, _TAPS_6)),
}


def sums_of_products(maps: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Return the convolution in float64."""
    height, width = maps.shape[1:3]
    maps = np.pad(maps, ((0, 0), (1, 1), (1, 1), (0, 0)))
    products = [
        np.tensordot(maps[:, i : i + height, j : j + width], kernel[i, j], 1)
        for i in range(3)
        for j in range(3)
    ]
    return np.sum(products, axis=0)


def main(arguments: list[str] | None = None) -> int:
    """Check every formulation against float64 sums, and time them in turns."""
    parser = command.parser(__doc__)
    parser.add_argument("--images", type=command.at_least(1), default=8)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--repeats", type=command.at_least(1), default=10)
    parser.add_argument("--sizes", type=_sizes, default=list(CHANNELS))
    options = parser.parse_args(arguments)
    return command.run(lambda: _run(options))


def _sizes(text: str) -> list[int]:
    """Read an option of map sizes with commas between."""
    sizes = command.numbers(1)(text)
    if not set(sizes) <= set(CHANNELS):
        known = ", ".join(map(str, CHANNELS))
        raise argparse.ArgumentTypeError(f"found {text!r}, expected some of {known}")
    return sizes


def _run(options: argparse.Namespace) -> None:
    rng = np.random.default_rng(0)
    dtype = jnp.dtype(options.dtype)
    rates: dict[str, list[float]] = {name: [] for name in (*FORMS, "product")}
    errors = dict.fromkeys(FORMS, 0.0)
    for size in options.sizes:
        channels = CHANNELS[size]
        maps = rng.normal(0, 1, (options.images, size, size, channels))
        kernel = rng.normal(0, (9 * channels) ** -0.5, (3, 3, channels, channels))
        x = jnp.asarray(maps, jnp.float32)
        exact = sums_of_products(maps, kernel)
        runs = {}
        for name, (form, prepared) in FORMS.items():
            weights = jnp.asarray(prepared(kernel), dtype)
            runs[name] = functools.partial(jax.jit(form), x, weights)
            error = np.abs(np.asarray(runs[name]()) - exact).max()
            errors[name] = max(errors[name], error / np.abs(exact).max())
        a = jnp.zeros((options.images * size * size, 9 * channels), dtype)
        b = jnp.zeros((9 * channels, channels), dtype)
        runs["product"] = functools.partial(jax.jit(product), a, b)
        runs["product"]().block_until_ready()
        seconds = dict.fromkeys(runs, math.inf)
        for _ in range(options.repeats):
            for name, run in runs.items():
                began = time.perf_counter()
                run().block_until_ready()
                seconds[name] = min(seconds[name], time.perf_counter() - began)
        flops = 2 * options.images * (3 * size * channels) ** 2
        for name, value in seconds.items():
            rates[name].append(flops / value / 1e9)
    shown = Table(title=f"GFLOP/s, {options.dtype}, {options.images} images")
    for heading in (
        "",
        *(f"{s}x{s}x{CHANNELS[s]}" for s in options.sizes),
        "largest error",
    ):
        shown.add_column(heading, justify="right" if heading else "left")
    for name, values in rates.items():
        error = f"{errors[name]:.1e}" if name in errors else ""
        shown.add_row(name, *(f"{value:.0f}" for value in values), error)
    screen.console.print(shown)
    print(json.dumps(vars(options) | {"gflops": rates, "errors": errors}))


if __name__ == "__main__":
    sys.exit(main())
