import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from random_numbers import randomised

from sdd_jax import models, sharding
from sdd_jax.errors import InputError
from sdd_jax.faithfulness import grid
from sdd_jax.faithfulness.study import study
from sdd_jax.models import inference
from sdd_jax.models.dlib_resnet import DlibResNet, ResidualBlock
from sdd_jax.models.inference import dlib, ir, parts
from sdd_jax.models.ir_resnet import Unit
from sdd_jax.saliency import bind_methods
from sdd_jax.types import Batch

PLATFORMS = ["cpu", "gpu"]  # the sums' two formulations; both run anywhere


def ir_resnet(arch="ir_tiny", **options):
    return {"name": "ir_resnet", "arch": arch, **options}


BACKBONES = {
    "ir": ir_resnet(),
    "dlib": {"name": "dlib_resnet", "num_blocks": 5},
}


def build(backbone):
    head = {"name": "pooled", "num_classes": 7}
    return randomised(models.build({"backbone": backbone, "head": head}))


def noise(size, number=4):
    pixels = np.random.default_rng(1).integers(0, 256, (number, size, size, 3))
    return jnp.asarray(pixels, jnp.uint8)


@pytest.fixture(scope="module", params=BACKBONES)
def model(request):
    return build(BACKBONES[request.param])


@pytest.fixture(scope="module")
def images(model):
    return noise(model.spec.size)


def assert_close(actual, expected, tolerance=4e-6):
    assert actual.shape == expected.shape
    difference = np.abs(np.asarray(actual, np.float32) - np.asarray(expected))
    assert difference.max() <= tolerance * np.abs(expected).max()


class Convolutional(nnx.Module):
    def __init__(self, rngs):
        self.conv = nnx.Conv(3, 2, (3, 3), rngs=rngs)

    def __call__(self, x):
        return self.conv(x)


@pytest.mark.slow
@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("size", [1, 2, 7, 14])
@pytest.mark.parametrize(
    ("inputs", "outputs", "stride"), [(8, 8, 1), (8, 8, 2), (8, 12, 2), (8, 12, 1)]
)
def test_a_folded_unit_equals_the_unit(platform, size, inputs, outputs, stride):
    unit = Unit(inputs, outputs, stride=stride, dtype=jnp.float32, rngs=nnx.Rngs(0))
    unit = nnx.view(randomised(unit), use_running_average=True)
    x = jnp.asarray(np.random.default_rng(2).normal(0, 1, (3, size, size, inputs)))
    x = x.astype(jnp.float32)
    is_tiled = platform == "cpu"
    folded = ir.FoldedUnit(unit, size, dtype=jnp.float32, is_tiled=is_tiled)
    assert_close(folded(x), unit(x))


def test_the_shift_before_a_padded_convolution_needs_a_map():
    # What a plain bias would miss: the border's sums meet fewer shifts.
    unit = Unit(8, 8, stride=1, dtype=jnp.float32, rngs=nnx.Rngs(0))
    unit = nnx.view(randomised(unit), use_running_average=True)
    folded = ir.FoldedUnit(unit, 7, dtype=jnp.float32, is_tiled=False)
    bias = folded.conv1.bias[...]
    assert bias.shape == (7, 7, 8)
    np.testing.assert_array_equal(bias[1:6, 1:6], np.tile(bias[3, 3], (5, 5, 1)))
    assert np.abs(bias[0, 0] - bias[3, 3]).min() > 1e-3


# Odd ones: where the residual or the shortcut is a row and a column short.
@pytest.mark.slow
@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("size", [3, 4, 7, 8])
@pytest.mark.parametrize(
    ("inputs", "outputs", "stride", "padding"), [(8, 8, 1, 1), (8, 12, 2, 0)]
)
def test_a_folded_block_equals_the_block(
    platform, size, inputs, outputs, stride, padding
):
    options = dict(stride=stride, padding=padding, rngs=nnx.Rngs(0))
    block = randomised(ResidualBlock(inputs, outputs, **options))
    x = jnp.asarray(np.random.default_rng(2).normal(0, 1, (3, size, size, inputs)))
    x = x.astype(jnp.float32)
    is_tiled = platform == "cpu"
    folded = dlib.FoldedBlock(block, dtype=jnp.float32, is_tiled=is_tiled)
    assert_close(folded(x), block(x))


@pytest.mark.slow
@pytest.mark.parametrize("size", [31, 34, 35, 37])
def test_dlibs_network_is_folded_for_images_of_any_size(size):
    network = randomised(DlibResNet(num_blocks=4, rngs=nnx.Rngs(0)))
    x = np.random.default_rng(2).normal(0, 1, (2, size, size, 3))
    x = jnp.asarray(x, jnp.float32)
    folded = dlib.FoldedDlibResNet(network, size, dtype=jnp.float32, is_tiled=True)
    assert_close(folded(x), network(x))


@pytest.mark.slow
@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_folded_network_answers_as_the_network(model, images, platform):
    folded = inference.folded(model, platform=platform)
    feature_maps = model.feature_maps(images)
    assert_close(folded.feature_maps(images), feature_maps)
    assert folded.feature_maps(images).dtype == feature_maps.dtype
    assert folded.cells == model.cells
    classes = jnp.tile(jnp.arange(3), (4, 1))
    assert_close(
        folded.class_maps(folded.feature_maps(images), classes),
        model.class_maps(feature_maps, classes),
    )
    scores, expected = (
        jax.nn.softmax(each.logits(each.feature_maps(images)))
        for each in (folded, model)
    )
    np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_no_normalisation_is_left(model):
    folded = inference.folded(model)
    kinds = {type(module).__name__ for _, module in nnx.iter_graph(folded)}
    assert "BatchNorm" not in kinds
    assert not jax.tree.leaves(nnx.state(folded, nnx.BatchStat))


@pytest.mark.slow
@pytest.mark.parametrize("platform", PLATFORMS)
def test_bfloat16_is_near_float32_and_only_in_the_network(model, images, platform):
    folded = inference.folded(model, dtype=jnp.bfloat16, platform=platform)
    feature_maps = folded.feature_maps(images)
    assert feature_maps.dtype == jnp.bfloat16
    assert_close(feature_maps, model.feature_maps(images), tolerance=0.05)
    assert folded.logits(feature_maps).dtype == jnp.float32


@pytest.mark.slow
def test_the_dtype_is_the_models_own_where_none_is_given():
    model, images = build(ir_resnet(dtype="bfloat16")), noise(112)
    assert inference.folded(model).feature_maps(images).dtype == jnp.bfloat16
    assert (
        inference.folded(model, dtype="float32").feature_maps(images).dtype
        == jnp.float32
    )


def test_a_backbone_without_an_inference_form_takes_the_dtype(model):
    plain = models.FaceClassifier(model.spec, Convolutional(nnx.Rngs(0)), model.head)
    x = jnp.ones((1, 4, 4, 3))
    assert inference.folded(plain).backbone(x).dtype == jnp.float32
    rounded = inference.folded(plain, dtype="bfloat16").backbone(x)
    assert rounded.dtype == jnp.bfloat16
    assert plain.backbone(x).dtype == jnp.float32  # the model is as it was


def test_an_unknown_dtype_is_refused(model):
    for dtype in ("float16", jnp.float16):
        with pytest.raises(InputError, match="'float16', expected float32 or bfloat16"):
            inference.folded(model, dtype=dtype)


# One at a time, and two, so that the last block lacks one of the three.
@pytest.mark.slow
@pytest.mark.parametrize(("size", "number"), [(0, 4), (2, 3)])
def test_blocks_change_nothing(model, images, monkeypatch, size, number):
    images, folded = images[:number], inference.folded(model)
    monkeypatch.setattr(parts, "_BYTES_A_BLOCK", 2**40)
    whole = folded.feature_maps(images)
    num_bytes = size * folded.backbone.bytes_an_image[0]
    monkeypatch.setattr(parts, "_BYTES_A_BLOCK", num_bytes)
    assert_close(folded.feature_maps(images), whole)


@pytest.mark.slow
def test_the_clean_pass_is_shared_in_blocks_too(model, images, monkeypatch):
    monkeypatch.setattr(parts, "_BYTES_A_BLOCK", 1)
    folded = inference.folded(model, platform="cpu")
    indices = jnp.arange(len(images))
    batch = Batch(images, indices, indices, indices >= 0)
    program = functools.partial(
        study,
        folded,
        methods=bind_methods(("sdd", "cam"), {}),
        wanted=grid(("black",), (0.2,)),
        seed=0,
    )
    products = [
        str(jax.jit(f).lower(x).compile().as_text()).count(" dot(")
        for f, x in ((folded.feature_maps, images), (program, batch))
    ]
    # One pass on the intact images, and one in the loop over the masks.
    assert products[0] > 50
    assert 2 * products[0] <= products[1] < 2.5 * products[0]


@pytest.mark.slow
def test_eight_devices_give_what_one_gives(model, images):
    if jax.device_count() < 8:
        pytest.skip("needs eight (virtual) devices")
    folded = inference.folded(model)
    images = np.concatenate([images, images[::-1]])
    expected = jax.jit(folded.feature_maps)(images)
    graphdef, state = nnx.split(folded)
    with jax.set_mesh(sharding.make_mesh(8)):
        program = jax.jit(lambda state, x: nnx.merge(graphdef, state).feature_maps(x))
        sharded = program(sharding.replicate(state), sharding.shard_batch(images))
        assert len(sharded.sharding.device_set) == 8
    assert_close(sharded, expected)


@pytest.mark.slow
@pytest.mark.parametrize("platform", PLATFORMS)
def test_ir_18_answers_as_before(platform):
    model, images = build(ir_resnet("ir_18")), noise(112, 1)
    expected = jax.jit(model.feature_maps)(images)
    folded = inference.folded(model, platform=platform)
    assert_close(jax.jit(folded.feature_maps)(images), expected)


@pytest.mark.parametrize(("mesh_platform", "is_tiled"), [("cpu", True), ("tpu", False)])
def test_the_form_is_that_of_the_meshs_devices(
    model, monkeypatch, mesh_platform, is_tiled
):
    # Whatever JAX would run on by default.
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(sharding, "platform", lambda: mesh_platform)
    assert inference.folded(model).backbone.is_tiled == is_tiled
