import bisect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sdd_jax.errors import InputError
from sdd_jax.models.dlib_resnet import DlibResNet, ResidualBlock, max_pool
from sdd_jax.types import CellGrid

# After block 1, 2, ..., 14: cells a side, features, and where the cells are.
SIZES = [35] * 3 + [17] * 4 + [8] * 3 + [4] * 3 + [2]
FEATURES = [32] * 3 + [64] * 4 + [128] * 3 + [256] * 4
CELLS = [
    *[CellGrid(5.0, 4.0)] * 3,
    *[CellGrid(9.0, 8.0)] * 4,
    *[CellGrid(17.0, 16.0)] * 3,
    *[CellGrid(33.0, 32.0)] * 3,
    CellGrid(65.0, 64.0),
]


def filled(make, fill):
    """Split a module whose parameters are made from their shapes, at no cost."""
    graphdef, state = nnx.split(nnx.eval_shape(make))
    return graphdef, jax.tree.map(lambda p: jnp.asarray(fill(p.shape)), state)


@pytest.mark.parametrize("num_blocks", range(1, 15))
def test_every_depth_has_the_published_shape(num_blocks):
    model = nnx.eval_shape(lambda: DlibResNet(num_blocks=num_blocks, rngs=nnx.Rngs(0)))
    graphdef, state = nnx.split(model)
    images = jax.ShapeDtypeStruct((2, 150, 150, 3), jnp.float32)
    maps = jax.eval_shape(lambda s, x: nnx.merge(graphdef, s)(x), state, images)
    size, features = SIZES[num_blocks - 1], FEATURES[num_blocks - 1]
    assert maps.shape == (2, size, size, features)
    assert model.num_features == features
    assert model.cells == CELLS[num_blocks - 1]


def test_parameters_are_counted_by_hand():
    model = nnx.eval_shape(lambda: DlibResNet(rngs=nnx.Rngs(0)))
    widths = [32, *FEATURES]
    convolutions = [(7 * 7, 3, 32)]
    for before, after in zip(widths, widths[1:], strict=False):
        convolutions += [(9, before, after), (9, after, after)]
    expected = sum(area * i * o + o for area, i, o in convolutions)
    leaves = jax.tree.leaves(nnx.state(model))
    assert sum(leaf.size for leaf in leaves) == expected
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype("float32")}


@pytest.mark.parametrize("num_blocks", [0, 15, -1])
def test_a_depth_the_network_does_not_have_is_refused(num_blocks):
    with pytest.raises(InputError, match="choose 1 to 14"):
        DlibResNet(num_blocks=num_blocks, rngs=nnx.Rngs(0))


def test_a_block_is_zero_padded_at_the_end_and_rectified_after_the_sum():
    graphdef, state = filled(
        lambda: ResidualBlock(1, 2, stride=2, padding=0, rngs=nnx.Rngs(0)), jnp.zeros
    )
    block = nnx.merge(graphdef, state)
    block.conv2.bias[...] = jnp.array([10.0, 20.0])
    x = jnp.arange(16.0).reshape(1, 4, 4, 1) - 6
    # Means of 2x2 cells: -3.5, -1.5, 4.5, 6.5. The unpadded convolution has a single
    # cell, top left, which is its bias; the shortcut has the first channel only.
    expected = [[[6.5, 20], [0, 0]], [[4.5, 0], [6.5, 0]]]
    np.testing.assert_array_equal(block(x)[0], expected)


def test_a_block_of_stride_1_adds_its_input_unchanged():
    graphdef, state = filled(
        lambda: ResidualBlock(2, 2, stride=1, padding=1, rngs=nnx.Rngs(0)), jnp.zeros
    )
    x = np.random.default_rng(0).normal(size=(1, 5, 4, 2)).astype(np.float32)
    out = nnx.merge(graphdef, state)(jnp.asarray(x))
    np.testing.assert_array_equal(out, np.maximum(x, 0))


def test_a_truncated_network_is_the_beginning_of_the_whole_one():
    rng = np.random.default_rng(0)

    def noise(shape):
        return rng.normal(0, 0.1, shape).astype(np.float32)

    graphdef, whole = filled(lambda: DlibResNet(num_blocks=5, rngs=nnx.Rngs(0)), noise)
    short_def, short = filled(
        lambda: DlibResNet(num_blocks=4, rngs=nnx.Rngs(0)), jnp.zeros
    )
    first = nnx.to_pure_dict(whole)
    del first["blocks"][4]
    nnx.replace_by_pure_dict(short, first)

    @jax.jit
    def last_maps(whole, short, x):
        network = nnx.merge(graphdef, whole)
        return network(x), network.blocks[4](nnx.merge(short_def, short)(x))

    expected, continued = last_maps(whole, short, jnp.asarray(noise((1, 60, 60, 3))))
    assert expected.max() > 0
    np.testing.assert_allclose(continued, expected, rtol=1e-5, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("num_blocks", [1, 4, 8, 10])
def test_a_cell_lies_in_the_middle_of_the_rows_that_it_sees(num_blocks):
    # With positive filters and no bias a cell is positive exactly if it sees any
    # pixel of the one row that is not black. All layers here treat both axes alike,
    # so a narrow image will do; it is long enough for cells that see no border.
    graphdef, positive = filled(
        lambda: DlibResNet(num_blocks=num_blocks, rngs=nnx.Rngs(0)),
        lambda shape: jnp.full(shape, 0.0 if len(shape) == 1 else 1 / shape[-2]),
    )
    cells = nnx.merge(graphdef, positive).cells
    height = 500

    @jax.jit
    def respond(params, row):
        image = jnp.zeros((1, height, 35, 3)).at[:, row].set(1)
        return nnx.merge(graphdef, params)(image).max((0, 2, 3))

    def sees(cell, row):
        return bool(respond(positive, row)[cell] > 0)

    middle = int((height / 2 - cells.offset) / cells.stride)
    for cell in (middle, middle + 1):
        centre = cells.offset + cells.stride * cell
        inside = int(centre)
        first = bisect.bisect(range(inside), False, key=lambda row: sees(cell, row))
        past_last = bisect.bisect(
            range(height), False, lo=inside, key=lambda row: not sees(cell, row)
        )
        assert 0 < first and past_last < height
        assert (first + past_last - 1) / 2 == centre


@pytest.mark.slow
@pytest.mark.parametrize("size", [(7, 7), (8, 6), (3, 4)])
def test_pooling_and_its_gradient_are_those_of_flax(size):
    x = jax.random.normal(jax.random.key(0), (2, *size, 3))

    def both(pool):
        y, backward = jax.vjp(pool, x)
        return y, *backward(jnp.cos(y))

    expected = both(lambda x: nnx.max_pool(x, (3, 3), (2, 2)))
    for found, same in zip(both(max_pool), expected, strict=True):
        np.testing.assert_allclose(found, same, rtol=1e-6)
