import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from tiny_classifier import NUM_CLASSES, NUM_FEATURES, tiny_classifier

from sdd_jax import sharding
from sdd_jax.errors import InputError
from sdd_jax.saliency import clean_pass, sdd
from sdd_jax.saliency.divergence import directed_exponent
from sdd_jax.training import guidance as guidances
from sdd_jax.training import step as training
from sdd_jax.training.guidance import Guidance, Seen
from sdd_jax.training.objective import outcomes
from sdd_jax.types import CellGrid

BATCH_SIZE = 8
ALL_OFF = {name: 0.0 for name in guidances.WEIGHTS} | {
    "inside": False,
    "detach": True,
    "fraction": 0.25,
    "every": 1,
}
LOSSES = [name for name in guidances.WEIGHTS if name not in ("group_dro", "painted")]


@pytest.fixture(scope="module")
def batch():
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (BATCH_SIZE, 8, 8, 3)).astype(np.uint8)
    labels = random.integers(0, NUM_CLASSES, BATCH_SIZE).astype(np.int32)
    regions = np.zeros((BATCH_SIZE, 8, 8), bool)
    regions[:, 1:5, 2:6] = True
    regions[:2] = False  # two images without a region
    return images, labels, regions, jax.random.split(jax.random.key(1), BATCH_SIZE)


class SmoothBackbone(nnx.Module):
    """8x8 images -> 2x2 cells of 4 features, in its parameters' own precision."""

    cells = CellGrid(1.5, 4.0)
    num_features = NUM_FEATURES

    def __init__(self, dtype):
        random = np.random.default_rng(5)
        shape = (4, 4, 3, NUM_FEATURES)
        self.kernel = nnx.Param(jnp.asarray(random.normal(size=shape), dtype))

    def __call__(self, x):
        kernel = self.kernel[...]
        patches = x.astype(kernel.dtype).reshape(len(x), 2, 4, 2, 4, 3)
        found = jnp.einsum("bryxuc,yucf->brxf", patches, kernel)
        return jnp.tanh(found / 3)


def in_float64():
    """Return the structure and state of a smooth network, all in float64."""
    model = tiny_classifier()
    model.backbone = SmoothBackbone(jnp.float64)
    for name in ("kernel", "offset", "feature_mean", "feature_deviation"):
        variable = getattr(model.head, name)
        setattr(model.head, name, type(variable)(variable[...].astype(jnp.float64)))
    return training.init_state(model, optax.sgd(0.1), ".*")


def start(tx=None, guidance=None, parts=".*"):
    tx = tx or optax.sgd(0.1)
    return training.init_state(tiny_classifier(), tx, parts, guidance=guidance)


def loss_of(graphdef, state, batch, guidance, weights):
    """Return the function from parameters to the loss, as a step has it."""
    images, labels, regions, keys = map(jnp.asarray, batch)

    def loss(params):
        whole = training.dataclasses.replace(state, params=params)
        model = training.merge(graphdef, whole)
        maps = model.feature_maps(images)
        answer = functools.partial(outcomes, model.head, labels=labels)
        value, _, _ = guidances.guided(
            guidance,
            Seen(model, images, labels, maps, regions, keys),
            answer(maps),
            answer,
            weights=weights,
            statistics={"group_shares": jnp.array([0.3, 0.7])},
        )
        return value

    return loss


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_gradients_equal_finite_differences_in_float64(batch, name, inside):
    guidance = Guidance((name,), inside=inside, detach=False, fraction=0.25)
    with jax.enable_x64(True):
        graphdef, state = in_float64()
        weights = {name: jnp.float64(0.7)}
        loss = jax.jit(loss_of(graphdef, state, batch, guidance, weights))
        gradients = jax.grad(loss)(state.params)
        random = np.random.default_rng(2)
        for _ in range(3):
            direction = jax.tree.map(
                lambda x: jnp.asarray(random.normal(size=x.shape)), state.params
            )
            ahead, behind = (
                loss(jax.tree.map(lambda x, d, s=s: x + s * d, state.params, direction))
                for s in (1e-6, -1e-6)
            )
            expected = (ahead - behind) / 2e-6
            products = jax.tree.map(lambda g, d: (g * d).sum(), gradients, direction)
            found = sum(jax.tree.leaves(products))
            assert abs(expected) > 1e-4
            np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-7)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_finite_of_a_head_that_is_zero_as_training_begins(batch, name):
    model = tiny_classifier()
    for variable in (model.head.kernel, model.head.offset):
        variable[...] = jnp.zeros_like(variable[...])
    graphdef, state = training.init_state(model, optax.sgd(0.1), ".*")
    guidance = Guidance((name,), detach=False, fraction=0.25)
    loss = loss_of(graphdef, state, batch, guidance, {name: jnp.float32(1.0)})
    for leaf in jax.tree.leaves(jax.grad(loss)(state.params)):
        assert np.isfinite(leaf).all()


def test_largest_values_pass_the_gradient_on_to_their_place_alone():
    """Not by comparing them with what a compiler may have rounded otherwise."""
    maps = jnp.array([[[1.0, 3.0], [3.0, 2.0]]])
    rivals = jnp.zeros((1, 1, 2, 2))

    def total(maps):
        return directed_exponent(maps, rivals)[0].sum()

    gradient = jax.grad(total)(maps)[0]
    assert gradient[0, 1] != gradient[1, 0]  # the same value, but not the first


def test_the_energy_loss_is_the_share_worked_by_hand():
    maps = jnp.array([[[1.0, -5.0], [2.0, 1.0]]] * 3)
    regions = jnp.array([[[1, 1], [0, 0]], [[0, 0], [1, 0]], [[0, 0], [0, 0]]], bool)
    energy = functools.partial(guidances.misplaced_energy, maps, regions)
    np.testing.assert_allclose(energy(inside=False), [0.25, 0.5, 0])
    np.testing.assert_allclose(energy(inside=True), [0.75, 0.5, 0])


def test_a_map_without_positive_values_has_an_even_energy_and_no_gradient():
    maps = -jnp.ones((1, 2, 2))
    regions = jnp.array([[[1, 0], [0, 0]]], bool)

    def energy(maps):
        return guidances.misplaced_energy(maps, regions, inside=False)[0]

    assert energy(maps) == 0.25
    np.testing.assert_array_equal(jax.grad(energy)(maps), jnp.zeros_like(maps))


def test_equal_weights_give_the_average_and_others_the_weighted_one():
    maps = jnp.arange(8.0).reshape(1, 2, 2, 2)
    same = guidances.weighted_average(maps, jnp.full((1, 2, 2), 3.0))
    np.testing.assert_allclose(same, maps)
    cells = jnp.array([[[1.0, 0.0], [0.0, 3.0]]])
    found = guidances.weighted_average(maps, cells).mean((1, 2))
    np.testing.assert_allclose(found, (maps[:, 0, 0] + 3 * maps[:, 1, 1]) / 4)


def test_detached_weights_are_constants_to_the_gradient(batch):
    graphdef, state = start()
    images, labels, _, keys = map(jnp.asarray, batch)
    model = training.merge(graphdef, state)
    clean = clean_pass(model, images, labels)
    cells = jnp.exp(sdd.exponent(model, clean)[0])

    def by_hand(params):
        whole = training.dataclasses.replace(state, params=params)
        model = training.merge(graphdef, whole)
        maps = model.feature_maps(images)
        weighted = guidances.weighted_average(maps, cells)
        plain = outcomes(model.head, maps, labels).losses.mean()
        return plain + 0.5 * outcomes(model.head, weighted, labels).losses.mean()

    found = {
        detach: jax.grad(
            loss_of(
                graphdef,
                state,
                batch,
                Guidance(("sdd_weighted",), detach=detach),
                {"sdd_weighted": jnp.float32(0.5)},
            )
        )(state.params)
        for detach in (True, False)
    }
    expected = jax.grad(by_hand)(state.params)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        found[True],
        expected,
    )
    kernel = found[False]["head"]["kernel"]
    assert np.abs(kernel - expected["head"]["kernel"]).max() > 1e-4


def test_the_divergence_is_zero_of_equal_predictions_and_else_by_hand():
    logits = jnp.log(jnp.array([[0.5, 0.25, 0.25]]))
    others = jnp.log(jnp.array([[0.25, 0.5, 0.25]]))
    np.testing.assert_allclose(guidances.divergence_of(logits, logits), [0], atol=1e-7)
    expected = [0.5 * np.log(2) - 0.25 * np.log(2)]
    np.testing.assert_allclose(
        guidances.divergence_of(logits, others), expected, rtol=1e-6
    )


def test_input_gradients_count_where_they_must_not_be_and_nowhere_else(batch):
    images, _, regions, _ = map(jnp.asarray, batch)
    model = training.merge(*start())
    penalty = functools.partial(guidances.misplaced_gradients, model, images)
    outside, inside = penalty(regions, inside=True), penalty(regions, inside=False)
    everywhere = penalty(jnp.ones_like(regions), inside=False)
    np.testing.assert_allclose((outside + inside)[2:], everywhere[2:], rtol=1e-5)
    np.testing.assert_array_equal((outside + inside)[:2], [0, 0])

    def total(pixels):
        logits = model.logits(model.backbone(pixels))
        return jax.nn.log_softmax(logits).sum()

    gradients = jax.grad(total)(model.normalised(images))
    np.testing.assert_allclose(everywhere, (gradients**2).sum((1, 2, 3)), rtol=1e-5)


def test_input_gradients_that_are_not_due_cost_nothing(batch):
    weights = {"input_gradients": jnp.float32(1.0)}
    graphdef, state = start()
    values = [
        loss_of(graphdef, state, batch, guidance, weights)(state.params)
        for guidance in (
            Guidance(("input_gradients",)),
            Guidance(("input_gradients",), is_due=False),
            Guidance(()),
        )
    ]
    assert values[0] > values[1] == values[2]


def test_the_harder_groups_share_grows_as_worked_by_hand():
    losses = jnp.array([1.0, 3.0, 2.0])
    regions = jnp.array([0, 0, 1], bool)[:, None, None]
    shares, eta = jnp.array([0.5, 0.5]), jnp.float32(0.1)
    value, found = guidances.group_dro(losses, regions, shares, eta)
    np.testing.assert_allclose(found, [0.5, 0.5])  # both groups' mean is 2
    np.testing.assert_allclose(value, 2.0)
    losses = jnp.array([1.0, 1.0, 4.0])
    value, found = guidances.group_dro(losses, regions, shares, eta)
    grown = np.exp([0.1, 0.4])
    np.testing.assert_allclose(found, grown / grown.sum(), rtol=1e-6)
    np.testing.assert_allclose(value, found @ np.array([1.0, 4.0]), rtol=1e-6)
    gradient = jax.grad(lambda x: guidances.group_dro(x, regions, shares, eta)[0])(
        losses
    )
    np.testing.assert_allclose(
        gradient, [found[0] / 2, found[0] / 2, found[1]], rtol=1e-6
    )
    alone = jnp.zeros((3, 1, 1), bool)
    value, found = guidances.group_dro(losses, alone, jnp.array([0.2, 0.8]), eta)
    assert found[1] < 0.8 and np.isfinite(value)


def test_a_share_of_images_is_painted_over_on_exactly_their_regions(batch):
    images, _, regions, keys = map(jnp.asarray, batch)
    none, some, every = (
        guidances.painted(images, regions, keys, share=jnp.float32(share))
        for share in (0, 0.5, 1)
    )
    np.testing.assert_array_equal(none, images)
    differs = np.asarray((every != images).any(-1))
    assert not (differs & ~np.asarray(regions)).any() and differs[2:].any((1, 2)).all()
    is_painted = np.asarray((some != images).any((1, 2, 3)))
    assert 0 < is_painted.sum() < BATCH_SIZE - 2


def test_erasing_fills_what_sdd_finds_most_salient_and_consistency_the_least(batch):
    images, labels, regions, keys = map(jnp.asarray, batch)
    model = tiny_classifier()
    seen = Seen(model, images, labels, model.feature_maps(images), regions, keys)
    guidance = Guidance(("erase",), fraction=0.25)
    maps = sdd.sdd(model, clean_pass(model, images, labels), keys).saliency
    most = np.asarray(guidances._salient(guidance, seen, 1))
    least = np.asarray(guidances._salient(guidance, seen, -1))
    np.testing.assert_array_equal(most.sum((1, 2)), [16] * BATCH_SIZE)
    np.testing.assert_array_equal(least.sum((1, 2)), [16] * BATCH_SIZE)
    for one, high, low in zip(np.asarray(maps), most, least, strict=True):
        assert one[high].min() >= one[~high].max()
        assert one[low].max() <= one[~low].min()


@pytest.mark.parametrize("name", guidances.WEIGHTS[:-1])
def test_eight_devices_take_one_devices_step(batch, name):
    guidance = Guidance((name,), detach=False, fraction=0.25)
    found = []
    for number in (1, 8):
        jax.set_mesh(sharding.make_mesh(number))
        tx = optax.sgd(0.1)
        graphdef, state = start(tx, guidance)
        step = jax.jit(
            functools.partial(
                training.train_step,
                graphdef=graphdef,
                tx=tx,
                feature_maps=lambda model, images: model.feature_maps(images),
                label_smoothing=0.0,
                update_batch_stats=False,
                guidance=guidance,
            )
        )
        images, labels, regions, keys = batch
        images, labels, regions = sharding.shard_batch((images, labels, regions))
        state = sharding.replicate(state)
        weights = sharding.replicate({name: jnp.float32(0.5)})
        state, metrics = step(
            state, images, labels, weights=weights, regions=regions, keys=keys
        )
        found.append((state.params, state.statistics, metrics))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), *found
    )


def test_no_weight_asks_for_nothing_and_each_for_its_term():
    options = {"guidance": ALL_OFF, "divide_head": None}
    assert guidances.named(options) is None and guidances.weights(options) == {}
    for name in guidances.WEIGHTS:
        options["guidance"] = ALL_OFF | {name: 2.0}
        found = guidances.named(options)
        assert found and found.terms == (name,) and found.fraction == 0.25
        assert guidances.weights(options) == {name: 2.0}
        assert set(found.statistics) == (
            {"group_shares"} if name == "group_dro" else set()
        )


@pytest.mark.parametrize("name", guidances.NEED_WHOLE_HEAD)
def test_what_needs_all_classes_refuses_a_divided_head(name):
    options = {"guidance": ALL_OFF | {name: 1.0}, "divide_head": True}
    with pytest.raises(
        InputError,
        match=rf"train.guidance.{name} takes all classes.*divide_head=False",
    ):
        guidances.named(options)
