import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdd_jax import models, sharding
from sdd_jax.errors import InputError
from sdd_jax.faithfulness import grid
from sdd_jax.faithfulness.study import study
from sdd_jax.models.classifier import FaceClassifier
from sdd_jax.models.functional import join_model, split_model
from sdd_jax.models.heads import PooledHead
from sdd_jax.models.ranking import LOWEST, largest, rank, rank_logits
from sdd_jax.saliency import bind_methods
from sdd_jax.types import Batch

NUM_CLASSES = 23
eight_devices = pytest.mark.skipif(
    jax.device_count() != 8, reason="conftest.py makes eight devices of the CPU only"
)


def layer(kind):
    """Return features, kernel and offset; whole numbers make many equal logits."""
    rng = np.random.default_rng(0)
    features = rng.normal(0, 1, (6, 4)).astype(np.float32)
    kernel = rng.normal(0, 2, (4, NUM_CLASSES)).astype(np.float32)
    if kind == "ties":
        features, kernel = np.round(features), np.round(kernel / 2)
    if kind == "constant":
        kernel = np.zeros_like(kernel)
    offset = kernel[0] + (1000 if kind == "large" else 0)
    return jnp.asarray(features), jnp.asarray(kernel), jnp.asarray(offset)


@pytest.mark.parametrize("num_top", [1, 2, 5])
@pytest.mark.parametrize("num_classes", [5, 640, 641, 1000, 1280])
@pytest.mark.parametrize("num_values", [1, 3, 400, 10**6])
def test_the_largest_of_groups_are_the_largest_of_all(num_top, num_classes, num_values):
    rng = np.random.default_rng(num_classes)
    logits = rng.integers(0, num_values, (7, num_classes)).astype(np.float32)
    logits[0] = LOWEST  # as classes that do not count have it
    expected = jax.lax.top_k(logits, num_top)
    for found, values in zip(
        largest(jnp.asarray(logits), num_top), expected, strict=True
    ):
        np.testing.assert_array_equal(found, values)


def check(ranking, logits, targets, num_top):
    top, classes = jax.lax.top_k(logits, num_top)
    np.testing.assert_array_equal(ranking.classes, classes)
    np.testing.assert_array_equal(ranking.classes[:, 0], logits.argmax(1))
    np.testing.assert_allclose(ranking.logits, top, rtol=1e-6)
    scores = jax.nn.softmax(logits)
    expected = jnp.take_along_axis(scores, classes, axis=1)
    np.testing.assert_allclose(ranking.probabilities, expected, rtol=2e-5)
    expected = scores[jnp.arange(len(targets)), targets]
    np.testing.assert_allclose(ranking.target_probabilities, expected, rtol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "ties", "constant", "large"])
@pytest.mark.parametrize("block", [1, 5, 8, 22, 23, 1000])
def test_a_ranking_is_that_of_all_logits_at_once(kind, block):
    features, kernel, offset = layer(kind)
    logits = jnp.dot(features, kernel, precision="highest") + offset
    for num_top in (1, 5, NUM_CLASSES):
        for targets in ([0, 4, 5, 7, 8, 22], [22, 21, 20, 19, 16, 15]):
            targets = jnp.array(targets)
            found = rank(
                features, kernel, offset, targets, num_top=num_top, block=block
            )
            check(found, logits, targets, num_top)


def test_one_block_gives_the_softmax_to_the_bit():
    features, kernel, offset = layer("plain")
    logits = jnp.dot(features, kernel, precision="highest") + offset
    ranking = rank(features, kernel, offset, num_top=NUM_CLASSES)
    scores = jnp.take_along_axis(jax.nn.softmax(logits), ranking.classes, axis=1)
    np.testing.assert_array_equal(ranking.probabilities, scores)
    assert ranking.target_logits is None


def test_equal_logits_keep_the_order_of_the_classes_across_blocks():
    kernel = jnp.zeros((1, 9)).at[0, jnp.array([1, 2, 4, 8])].set(1.0)
    ranking = rank(jnp.ones((1, 1)), kernel, jnp.zeros(9), num_top=6, block=6)
    np.testing.assert_array_equal(ranking.classes, [[1, 2, 4, 8, 0, 3]])


def test_a_class_counts_once_though_the_last_block_overlaps():
    ranking = rank(
        jnp.zeros((1, 1)), jnp.zeros((1, 7)), jnp.zeros(7), num_top=7, block=7 - 1
    )
    np.testing.assert_array_equal(ranking.classes, [range(7)])
    np.testing.assert_allclose(ranking.probabilities, 1 / 7, rtol=1e-6)


def test_a_target_that_is_not_there_has_no_probability():
    ranking = rank_logits(jnp.ones((2, 3)), jnp.array([-1, 3]))
    np.testing.assert_array_equal(ranking.target_probabilities, 0)


def test_neither_all_logits_nor_a_second_kernel_are_held():
    # 64 images' logits would take 51 MB; the kernel takes 13.
    shapes = ((64, 16), jnp.float32), ((16, 200_000), jnp.float32)
    arguments = [jax.ShapeDtypeStruct(*shape) for shape in shapes]
    arguments += [jax.ShapeDtypeStruct((200_000,), jnp.float32)]
    program = jax.jit(functools.partial(rank, num_top=5, block=2000))
    compiled = program.lower(*arguments).compile()
    memory = compiled.memory_analysis()
    assert memory is not None and memory.temp_size_in_bytes < 4e6


def test_class_maps_hold_no_second_kernel():
    head = PooledHead(16, 200_000)  # 13 MB
    class_maps = jax.jit(functools.partial(head.class_maps, centre=True))
    compiled = class_maps.lower(jnp.zeros((2, 4, 4, 16)), jnp.zeros((2, 5), int))
    text = compiled.compile().as_text()
    assert text is not None and "[200000,16]" not in text
    assert "f32[16,200000]{0,1}" not in text


@pytest.fixture
def wide(classifier):
    """The tiny network with 1003 classes, which eight devices cannot share equally."""
    rng = np.random.default_rng(0)
    head = PooledHead(5, 1003)
    head.kernel[...] = jnp.asarray(rng.normal(0, 1, (5, 1003)), jnp.float32)
    head.offset[...] = jnp.asarray(rng.normal(0, 1, 1003), jnp.float32)
    head.feature_mean[...] = classifier.head.feature_mean[...]
    head.feature_deviation[...] = classifier.head.feature_deviation[...]
    return FaceClassifier(classifier.spec, classifier.backbone, head)


@pytest.mark.slow
@eight_devices
def test_a_divided_head_gives_the_same_explanations(wide, images):
    batch = Batch(
        np.asarray(images), np.zeros(8, np.int32), np.arange(8), np.ones(8, bool)
    )

    def compiled(num_devices):
        model = models.placed(wide, divide_head=True)
        assert model.head.is_divided == (num_devices > 1)
        graphdef, arrays = split_model(model)

        def program(arrays, batch):
            return study(
                join_model(graphdef, arrays),
                batch,
                methods=bind_methods(("sdd", "cam"), {}),
                wanted=grid(("black",), (0.2,)),
                seed=0,
            )

        arguments = arrays, sharding.shard_batch(batch)
        return jax.jit(program).lower(*arguments).compile(), arguments

    results = []
    for num_devices in (1, 8):
        with jax.set_mesh(sharding.make_mesh(num_devices)):
            program, arguments = compiled(num_devices)
            results.append(program(*arguments))
    # Neither a whole kernel nor whole logits on any device.
    text = program.as_text()
    assert text is not None and "126]" in text
    assert "1003]" not in text and "1008]" not in text

    one, eight = results
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(eight), strict=True):
        if jnp.issubdtype(a.dtype, jnp.floating):
            np.testing.assert_allclose(a, b, rtol=0, atol=2e-5 * abs(a).max())
        else:
            np.testing.assert_array_equal(a, b)


@pytest.mark.slow
@eight_devices
def test_a_divided_head_is_an_eighth_on_each_device(wide, images):
    with jax.set_mesh(sharding.make_mesh()):
        model = models.placed(wide, divide_head=True)
        kernel, offset = model.head.kernel[...], model.head.offset[...]
        assert {x.data.shape for x in kernel.addressable_shards} == {(5, 126)}
        assert {x.data.shape for x in offset.addressable_shards} == {(126,)}
        # What makes up the last part is no class to anybody.
        assert model.num_classes == 1003
        feature_maps = jax.jit(model.feature_maps)(images)
        logits = model.logits(feature_maps)
        assert logits.shape == (8, 1003)
        # 1003 to 1007 make up the last part; without jit they are refused.
        wrong = jnp.array([-1, 1003, 1007, 1008, -1008, 2000, 0, 1002])
        maps = jax.jit(model.class_maps)(feature_maps, wrong[:, None])
        ranked = jax.jit(model.ranking)(feature_maps, wrong)
        for values in (maps.sum((1, 2, 3)), ranked.target_probabilities):
            np.testing.assert_array_equal(np.isnan(values), [True] * 6 + [False] * 2)
        with pytest.raises(InputError, match=r"^targets\[0\] is -1, .* 0 to 1002$"):
            model.ranking(feature_maps, wrong)
        with pytest.raises(InputError, match=r"^classes\[1, 0\] is 1003"):
            model.class_maps(feature_maps, jnp.abs(wrong)[:, None])
        everything = model.ranking(feature_maps, num_top=5000)
        np.testing.assert_array_equal(np.sort(everything.classes)[0], range(1003))
        np.testing.assert_allclose(everything.probabilities.sum(1), 1, rtol=1e-5)
        for a, b in zip(
            jax.tree.leaves(models.variables(model)),
            jax.tree.leaves(models.variables(wide)),
            strict=True,
        ):
            np.testing.assert_array_equal(a, b)


@pytest.mark.slow
@eight_devices
def test_more_devices_than_classes_can_share_a_head(classifier, images):
    feature_maps = classifier.feature_maps(images)
    expected = classifier.ranking(feature_maps, jnp.arange(8) % 7, num_top=5)
    with jax.set_mesh(sharding.make_mesh()):
        head = models.placed(classifier, divide_head=True).head
        found = head.ranking(feature_maps, jnp.arange(8) % 7, num_top=5)
    np.testing.assert_array_equal(found.classes, expected.classes)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, rtol=1e-5)
    np.testing.assert_allclose(
        found.target_probabilities, expected.target_probabilities, rtol=1e-5
    )


@eight_devices
@pytest.mark.parametrize(
    ("memory", "is_divided"), [(None, False), (10**9, False), (80_000, True)]
)
def test_a_head_is_divided_where_it_takes_a_quarter_of_a_devices_memory(
    wide, monkeypatch, memory, is_divided
):
    monkeypatch.setattr(sharding, "device_memory", lambda: memory)
    with jax.set_mesh(sharding.make_mesh()):
        assert models.placed(wide).head.is_divided == is_divided
        assert models.placed(wide, copies=10**6).head.is_divided == (memory is not None)
    assert not models.placed(wide).head.is_divided  # one device
