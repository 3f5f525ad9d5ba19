import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sdd_jax.errors import InputError
from sdd_jax.models import ir_resnet
from sdd_jax.models.embedding_heads import FlatEmbedding
from sdd_jax.models.ir_resnet import ARCHITECTURES, IRResNet, Unit


@functools.cache
def shapes(arch):
    return nnx.eval_shape(lambda: IRResNet(arch=arch, rngs=nnx.Rngs(0)))


def num_parameters(model):
    params = nnx.state(model, nnx.Param)
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def fill(model):
    """Give shapes values: kernels about zero, all else (variances!) about one."""
    rng = np.random.default_rng(0)
    graphdef, state = nnx.split(model)

    def values(leaf):
        centre = 0 if len(leaf.shape) == 4 else 1
        return jnp.asarray(
            rng.uniform(centre - 0.5, centre + 0.5, leaf.shape), leaf.dtype
        )

    return graphdef, jax.tree.map(values, state)


def unit_without_residual(in_features, out_features, stride):
    def make():
        rngs, dtype = nnx.Rngs(0), jnp.float32
        return Unit(in_features, out_features, stride=stride, dtype=dtype, rngs=rngs)

    unit = nnx.merge(*fill(nnx.eval_shape(make)))
    unit.norm3.scale[...] = unit.norm3.bias[...] = jnp.zeros(out_features)
    return nnx.view(unit, use_running_average=True)


@pytest.fixture(scope="module")
def tiny():
    return fill(shapes("ir_tiny"))


@pytest.fixture(scope="module")
def inputs():
    return jax.random.uniform(jax.random.key(1), (2, 32, 32, 3), minval=-1.0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arch", "with_output_layer"),
    [("ir_18", 24_020_352), ("ir_50", 43_585_600), ("ir_101", 65_150_912)],
)
def test_parameter_counts_are_the_published_ones(arch, with_output_layer):
    output_layer = nnx.eval_shape(lambda: FlatEmbedding(rngs=nnx.Rngs(0)))
    total = num_parameters(shapes(arch)) + num_parameters(output_layer)
    assert total == with_output_layer


@pytest.mark.slow
def test_ir_101_without_its_output_layer_has_52_million_parameters():
    assert num_parameters(shapes("ir_101")) == 52_304_320


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arch", "num_units", "first_of_stage"),
    [
        ("ir_18", 8, [0, 2, 4, 6]),
        ("ir_34", 16, [0, 3, 7, 13]),
        ("ir_50", 24, [0, 3, 7, 21]),
        ("ir_101", 49, [0, 3, 16, 46]),
    ],
)
def test_the_first_unit_of_each_stage_strides_and_all_but_the_very_first_project(
    arch, num_units, first_of_stage
):
    body = shapes(arch).body
    assert len(body) == num_units
    assert [i for i, unit in enumerate(body) if unit.stride == 2] == first_of_stage
    projecting = [i for i, unit in enumerate(body) if unit.projection is not None]
    assert projecting == first_of_stage[1:]


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_an_image_of_112_pixels_becomes_7_by_7_cells(arch):
    model = nnx.view(shapes(arch), use_running_average=True)
    graphdef, state = nnx.split(model)
    x = jnp.zeros((1, ir_resnet.INPUT.size, ir_resnet.INPUT.size, 3))

    maps = jax.eval_shape(lambda state: nnx.merge(graphdef, state)(x), state)

    assert model.num_features == ARCHITECTURES[arch][-1][1]
    assert maps.shape == (1, 7, 7, model.num_features)


def test_normalised_pixels_lie_between_minus_one_and_one():
    spec = ir_resnet.INPUT
    for pixel, normalised in ((0, -1.0), (255, 1.0)):
        assert [(pixel - mean) / spec.scale for mean in spec.mean] == [normalised] * 3


def test_the_cells_divide_the_image_into_equal_squares():
    centres = [IRResNet.cells.offset + IRResNet.cells.stride * i for i in range(7)]
    assert centres[0] - -0.5 == 111.5 - centres[-1] == IRResNet.cells.stride / 2


def test_the_window_of_a_cell_is_centred_on_a_multiple_of_sixteen(tiny):
    # 1 for the stem and 2 x (1 + 2 + 4 + 8) for the two convolutions of each unit.
    radius = 31

    def cell_3(x):
        model = nnx.view(nnx.merge(*tiny), use_running_average=True)
        return model(x)[0, 3, 3].sum()

    gradient = jax.jit(jax.grad(cell_3))(jnp.ones((1, 112, 112, 3)))

    seen = np.flatnonzero(np.abs(gradient[0]).sum((1, 2)))
    np.testing.assert_array_equal(seen, np.arange(48 - radius, 48 + radius + 1))


def test_the_shortcut_picks_every_second_cell_and_nothing_rectifies_the_sum():
    x = jax.random.normal(jax.random.key(0), (2, 6, 6, 3))
    assert (x[:, ::2, ::2] < 0).any()

    np.testing.assert_array_equal(
        jax.jit(unit_without_residual(3, 3, 2))(x), x[:, ::2, ::2]
    )


def test_an_unstrided_unit_of_equal_width_passes_its_input_on():
    x = jax.random.normal(jax.random.key(0), (2, 6, 6, 3))
    np.testing.assert_array_equal(jax.jit(unit_without_residual(3, 3, 1))(x), x)


def test_the_projection_is_a_strided_1x1_convolution_and_a_norm():
    unit = unit_without_residual(2, 5, 2)
    x = jax.random.normal(jax.random.key(0), (2, 6, 6, 2))

    norm = {k: np.asarray(v) for k, v in nnx.state(unit.projection.norm).items()}
    expected = (
        np.asarray(x)[:, ::2, ::2] @ np.asarray(unit.projection.conv.kernel)[0, 0]
    )
    expected = (expected - norm["mean"]) / np.sqrt(norm["var"] + 1e-5)
    expected = norm["scale"] * expected + norm["bias"]
    np.testing.assert_allclose(jax.jit(unit)(x), expected, atol=1e-5)


def test_training_updates_all_running_statistics_and_evaluation_none(tiny, inputs):
    graphdef, before = tiny

    @jax.jit
    def statistics_after(state):
        training = nnx.merge(graphdef, state, copy=True)
        evaluation = nnx.view(
            nnx.merge(graphdef, state, copy=True), use_running_average=True
        )
        for model in (training, evaluation):
            model(inputs)
        return nnx.state(training, nnx.BatchStat), nnx.state(evaluation, nnx.BatchStat)

    trained, evaluated = map(jax.tree.leaves, statistics_after(before))
    untouched = jax.tree.leaves(nnx.filter_state(before, nnx.BatchStat))
    for a, b, c in zip(untouched, trained, evaluated, strict=True):
        assert (a != b).any()
        np.testing.assert_array_equal(a, c)


@pytest.mark.slow
def test_every_parameter_learns(tiny, inputs):
    graphdef, params, rest = nnx.split(nnx.merge(*tiny), nnx.Param, ...)

    def loss(params):
        maps = nnx.merge(graphdef, params, rest, copy=True)(inputs)
        return jnp.vdot(jnp.linspace(-1, 1, maps.size), maps**2)

    gradients = jax.jit(jax.grad(loss))(params)
    for path, gradient in jax.tree.leaves_with_path(gradients):
        assert (gradient != 0).any(), jax.tree_util.keystr(path)


def test_bfloat16_computes_in_bfloat16_from_float32_parameters():
    model = nnx.eval_shape(
        lambda: IRResNet(arch="ir_tiny", dtype="bfloat16", rngs=nnx.Rngs(0))
    )
    assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(model))} == {
        jnp.dtype("float32")
    }
    graphdef, state = nnx.split(model)
    x = jnp.zeros((1, 16, 16, 3))
    maps = jax.eval_shape(lambda state: nnx.merge(graphdef, state)(x), state)
    assert maps.dtype == jnp.bfloat16


def test_an_unknown_architecture_is_refused_with_the_known_ones():
    with pytest.raises(InputError) as refusal:
        IRResNet(arch="ir_152", rngs=nnx.Rngs(0))
    assert str(refusal.value) == (
        "unknown architecture 'ir_152': "
        "choose one of ir_tiny, ir_18, ir_34, ir_50, ir_101"
    )
