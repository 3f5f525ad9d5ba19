import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import weights_conversion
from sdd_jax import checkpoints, models
from sdd_jax.errors import InputError
from sdd_jax.models import FaceClassifier, classifier, ir_resnet
from sdd_jax.models.dlib_resnet import INPUT
from sdd_jax.models.heads import PooledHead
from sdd_jax.models.layers import batch_norm, conv3x3
from sdd_jax.runs import pretrained
from sdd_jax.types import CellGrid, ImageSet

WIDTH = 6
SMALL = {"name": "small", "width": WIDTH}
DLIB = (
    "package:face_recognition_models/models/dlib_face_recognition_resnet_model_v1.dat"
)
needs_dlib = pytest.mark.skipif(
    importlib.util.find_spec("face_recognition_models") is None,
    reason="the network is not installed: pip install 'sdd_jax[demo]'",
)


class SmallBackbone(nnx.Module):
    """One convolution and batch norm; 2x2 cells of images of 32 pixels."""

    cells = CellGrid(7.5, 16.0)

    def __init__(self, *, width: int, rngs: nnx.Rngs):
        self.conv = conv3x3(3, width, stride=16, rngs=rngs)
        self.norm = batch_norm(width, rngs=rngs)
        self.num_features = width

    def __call__(self, x):
        return nnx.relu(self.norm(self.conv(x)))


@pytest.fixture(scope="module", autouse=True)
def small_backbone():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(classifier.BACKBONES, "small", (SmallBackbone, ir_resnet.INPUT))
        yield


def assert_same_bits(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def converted_description(backbone) -> dict:
    return {
        "backbone": backbone,
        "head": {"name": "pooled_embedding", "num_dimensions": 4},
        "input": {"size": 32, "colour_order": "RGB"},
    }


def noise(tree, seed: int):
    """Return the tree with random numbers, all positive, in place of its own."""
    draws = np.random.default_rng(seed)
    return jax.tree.map(
        lambda x: draws.uniform(0.1, 0.5, x.shape).astype(x.dtype), tree
    )


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """Return a converted checkpoint of a small network, and its arrays."""
    folder = tmp_path_factory.mktemp("converted")
    description = converted_description(SMALL)
    arrays = noise(models.variables(models.build(description)), seed=0)
    checkpoints.save(folder, 0, {"model": arrays}, {"model": description}, 0.0)
    return folder, arrays


@pytest.fixture(scope="module")
def started(converted):
    """Return the description and the model of a fresh head on the small network."""
    options = {"backbone": SMALL, "pretrained": str(converted[0])}
    return pretrained.start_from(options, 3, seed=0)


@pytest.fixture(scope="module")
def image_set():
    draws = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3))
    images = draws.astype(np.uint8)
    return ImageSet(
        names=("ann", "bob", "cat"),
        files=tuple(f"{i}.png" for i in range(5)),
        labels=np.array([0, 1, 2, 0, 1], np.int32),
        read=lambda index: images[index],
    )


def refusal_of(options) -> str:
    with pytest.raises(InputError) as caught:
        pretrained.start_from(options, 3, seed=0)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_without_pretrained_weights_the_start_is_the_seeds_own():
    options = {"backbone": SMALL, "pretrained": ""}
    description, model = pretrained.start_from(options, 7, seed=4)
    assert description == {
        "backbone": SMALL,
        "head": {"name": "pooled", "num_classes": 7},
    }
    assert_same_bits(
        models.variables(model), models.variables(models.build(description, seed=4))
    )
    _, other = pretrained.start_from(options, 7, seed=5)
    kernels = [m.backbone.conv.kernel[...] for m in (model, other)]
    assert (np.asarray(kernels[0]) != np.asarray(kernels[1])).any()


def test_a_converted_checkpoint_gives_its_backbone_and_input_and_the_head_is_fresh(
    converted, started
):
    _, arrays = converted
    description, model = started
    assert description == {
        "backbone": SMALL,
        "head": {"name": "pooled", "num_classes": 3},
        "input": {"size": 32, "colour_order": "RGB"},
    }
    assert (model.spec.size, model.spec.colour_order) == (32, "RGB")
    assert_same_bits(models.variables(model)["backbone"], arrays["backbone"])
    assert not model.head.kernel[...].any()
    assert model.head.num_classes == 3


def test_what_is_described_is_what_a_checkpoint_of_it_loads(started, tmp_path):
    description, model = started
    arrays = models.variables(model)
    checkpoints.save(tmp_path, 1, {"model": arrays}, {"model": description}, 0.0)
    assert_same_bits(models.variables(models.load(tmp_path)), arrays)


@pytest.mark.slow
@needs_dlib
def test_dlibs_file_gives_its_first_ten_blocks():
    backbone = {"name": "dlib_resnet", "num_blocks": 10}
    options = {"backbone": backbone, "pretrained": DLIB}
    description, model = pretrained.start_from(options, 3, seed=0)
    assert description["backbone"] == backbone
    whole = weights_conversion.convert(weights_conversion.locate(DLIB)).variables
    expected = whole["backbone"]
    for index in range(10, 14):
        del expected["blocks"][index]
    assert_same_bits(models.variables(model)["backbone"], expected)


@needs_dlib
def test_weights_of_another_family_are_refused_by_both_names():
    message = refusal_of({"backbone": SMALL, "pretrained": DLIB})
    assert "holds a dlib_resnet, but model.backbone.name is small" in message


def test_weights_of_another_width_are_refused_by_the_first_array(converted):
    backbone = SMALL | {"width": WIDTH + 1}
    message = refusal_of({"backbone": backbone, "pretrained": str(converted[0])})
    assert "expected weights of the same architecture" in message
    assert f"backbone/conv/kernel is (3, 3, 3, {WIDTH}) in {converted[0]}" in message
    assert f"(3, 3, 3, {WIDTH + 1}) in the network of the config" in message


@pytest.mark.slow
def test_weights_of_another_architecture_are_refused_by_both_names(tmp_path):
    description = converted_description({"name": "ir_resnet", "arch": "ir_tiny"})
    arrays = models.variables(models.build(description))
    checkpoints.save(tmp_path, 0, {"model": arrays}, {"model": description}, 0.0)
    backbone = {"name": "ir_resnet", "arch": "ir_101"}
    assert refusal_of({"backbone": backbone, "pretrained": str(tmp_path)}) == (
        f"{tmp_path} holds ir_tiny, the config says ir_101: pass "
        f"--config.model.backbone.arch=ir_tiny"
    )


def test_weights_that_lack_a_block_are_refused_by_its_name(tmp_path):
    backbone = {"name": "dlib_resnet", "num_blocks": 1}
    description = converted_description(backbone)
    arrays = models.variables(models.build(description))
    checkpoints.save(tmp_path, 0, {"model": arrays}, {"model": description}, 0.0)
    options = {"backbone": backbone | {"num_blocks": 3}, "pretrained": str(tmp_path)}
    assert f"{tmp_path} lacks backbone/blocks/1," in refusal_of(options)


def test_weights_that_are_not_there_are_refused(tmp_path):
    options = {"backbone": SMALL, "pretrained": str(tmp_path / "nowhere")}
    assert str(tmp_path / "nowhere") in refusal_of(options)
    options["pretrained"] = str(tmp_path)
    assert refusal_of(options).startswith(f"no checkpoint in {tmp_path}")


def test_pooled_features_are_each_images_and_its_mirror_images(
    converted, started, image_set
):
    _, model = started
    features = pretrained.pooled_features(model, image_set, batch_size=5)
    images = np.stack([image_set.read(i) for i in range(5)])
    # The published network's own maps, by the running statistics it came with.
    maps = jax.jit(models.load(converted[0]).feature_maps)
    for row, seen in zip(features, (images, images[:, :, ::-1]), strict=True):
        expected = np.asarray(maps(jnp.array(seen))).mean((1, 2))
        np.testing.assert_allclose(row, expected, rtol=1e-4, atol=1e-5)
    assert features.shape == (2, 5, WIDTH) and features.dtype == np.float32
    assert np.abs(features[0] - features[1]).max() > 0.01


@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_pooled_features_depend_neither_on_the_batch_nor_on_padding(
    started, image_set, batch_size
):
    _, model = started
    whole = pretrained.pooled_features(model, image_set, batch_size=5)
    parts = pretrained.pooled_features(model, image_set, batch_size=batch_size)
    np.testing.assert_allclose(parts, whole, rtol=1e-5, atol=1e-6)


def standardised_head(features: np.ndarray) -> FaceClassifier:
    """Return a model whose logits are the standardised features themselves."""
    num_features = features.shape[-1]
    model = FaceClassifier(INPUT, None, PooledHead(num_features, num_features))
    pretrained.standardise(model, features)
    model.head.kernel[...] = jnp.eye(num_features)
    return model


def test_standardised_features_have_mean_0_and_deviation_1_over_both_mirror_images():
    draws = np.random.default_rng(0)
    features = draws.normal(5, [0.01, 1, 100], (2, 40, 3)).astype(np.float32)
    features[1] += np.array([0.02, 0, 300], np.float32)
    model = standardised_head(features)
    flat = features.reshape(80, 3)
    logits = np.asarray(model.logits(jnp.array(flat[:, None, None])), np.float64)
    # Seen in float32, a deviation of 0.01 around 5 is known to 5e-5.
    np.testing.assert_allclose(logits.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(logits.std(0), 1, rtol=1e-4)
    one = logits[:, 2] - (flat[:, 2] - flat[:, 2].mean()) / flat[:, 2].std()
    np.testing.assert_allclose(one, 0, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, 1e4])
def test_a_feature_that_never_changes_is_no_feature_and_harms_no_other(value):
    features = np.random.default_rng(0).normal(size=(2, 7, 2)).astype(np.float32)
    features[..., 1] = value
    model = standardised_head(features)
    cells = jnp.array([[[[0.5, value]]], [[[0.5, value * 1.01 + 0.01]]]], jnp.float32)
    logits = np.asarray(model.logits(cells))
    np.testing.assert_allclose(logits[0, 1], 0, atol=1e-6)
    # An image that does not agree must not be thrown far off by it.
    assert np.abs(logits[1, 1]) <= 0.01 * value + 0.011
    np.testing.assert_array_equal(logits[0, 0], logits[1, 0])


def test_standardising_changes_what_the_heads_parameters_mean_and_not_its_answers():
    draws = np.random.default_rng(1)
    features = draws.normal(3, 2, (2, 9, 4)).astype(np.float32)
    model = standardised_head(features)
    head = model.head
    head.kernel[...] = jnp.array(draws.normal(size=(4, 4)), jnp.float32)
    head.offset[...] = jnp.array([1.0, -1.0, 0.5, 0.0])
    cells = jnp.array(draws.normal(3, 2, (5, 2, 2, 4)), jnp.float32)
    pooled = np.asarray(cells).mean((1, 2))
    expected = pooled @ np.asarray(head.class_weights) + np.asarray(head.bias)
    np.testing.assert_allclose(model.logits(cells), expected, rtol=1e-4, atol=1e-5)


def test_a_sample_is_in_proportion_to_the_people_and_a_function_of_the_seed():
    labels = np.repeat(np.arange(3, dtype=np.int32), [600, 300, 100])
    files = tuple(map(str, range(1000)))
    everybody = ImageSet(("ann", "bob", "cat"), files, labels, np.array)
    chosen = pretrained.sample(everybody, 50, seed=0)
    np.testing.assert_array_equal(np.bincount(chosen.labels), [30, 15, 5])
    places = [int(file) for file in chosen.files]
    assert places == sorted(set(places))
    assert [int(chosen.read(i)) for i in range(50)] == places
    assert pretrained.sample(everybody, 50, seed=0).files == chosen.files
    assert pretrained.sample(everybody, 50, seed=1).files != chosen.files
    # Not evenly spaced, which would be the first few of each.
    assert len(set(np.diff(places))) > 5


def test_fewer_images_are_all_taken(image_set):
    assert pretrained.sample(image_set, seed=0) is image_set
    assert pretrained.sample(image_set, 5, seed=0) is image_set
    assert len(pretrained.sample(image_set, 4, seed=0)) == 4


def test_features_say_that_they_are_computed(started, image_set, capsys):
    pretrained.pooled_features(started[1], image_set, batch_size=5)
    output = capsys.readouterr().out
    assert output == "computing the features of 5 images and their mirror images\n"
