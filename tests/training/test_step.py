import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from tiny_classifier import NUM_CLASSES, NUM_FEATURES, tiny_classifier

from sdd_jax.errors import InputError
from sdd_jax.models import variables
from sdd_jax.training import step as training
from sdd_jax.types import Batch

BATCH_SIZE = 5


def maps_of(model, images):
    return model.feature_maps(images)


def cells_of(model, cells):
    return cells


def logits_of(model, images):
    return model.logits(model.feature_maps(images))


def keep_gradients() -> optax.GradientTransformation:
    """Return an optimiser that changes nothing; its state is the gradients."""
    return optax.GradientTransformation(
        lambda params: jax.tree.map(jnp.zeros_like, params),
        lambda updates, state, params=None: (
            jax.tree.map(jnp.zeros_like, updates),
            updates,
        ),
    )


def make_step(graphdef, tx, *, feature_maps=maps_of, **options):
    options = {"label_smoothing": 0.0, "update_batch_stats": False} | options
    return jax.jit(
        functools.partial(
            training.train_step,
            graphdef=graphdef,
            tx=tx,
            feature_maps=feature_maps,
            **options,
        )
    )


def assert_same_bits(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def differs(a, b) -> list[bool]:
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return [bool((np.asarray(x) != np.asarray(y)).any()) for x, y in pairs]


@pytest.fixture
def images():
    draws = np.random.default_rng(0).integers(0, 256, (BATCH_SIZE, 8, 8, 3))
    return jnp.array(draws.astype(np.uint8))


@pytest.fixture
def labels():
    return jnp.array([0, 1, 2, 1, 1])


def test_a_state_and_its_structure_are_the_model_again():
    model = tiny_classifier()
    graphdef, state = training.init_state(model, optax.sgd(1.0), "head")
    assert set(state.params) == {"head"}
    assert set(state.params["head"]) == {"kernel", "offset"}
    assert set(state.frozen["head"]) == {"feature_mean", "feature_deviation"}
    assert set(state.batch_stats["backbone"]["norm"]) == {"mean", "var"}
    assert int(state.step) == 0
    assert_same_bits(variables(training.merge(graphdef, state)), variables(model))


def test_parts_that_match_nothing_say_how_paths_begin():
    with pytest.raises(InputError) as caught:
        training.init_state(tiny_classifier(), optax.sgd(1.0), "blocks")
    message = str(caught.value)
    assert message.startswith("train.parts is 'blocks', which matches no parameter")
    assert "backbone" in message and "head" in message and "\n" not in message


@pytest.mark.slow
@pytest.mark.parametrize("update_batch_stats", [False, True])
def test_what_is_not_trained_does_not_change(images, labels, update_batch_stats):
    tx = optax.adamw(0.1, weight_decay=0.1)
    graphdef, state = training.init_state(tiny_classifier(), tx, "head|backbone/conv")
    before = state
    step = make_step(graphdef, tx, update_batch_stats=update_batch_stats)
    for _ in range(3):
        state, _ = step(state, images, labels)
    assert int(state.step) == 3
    assert_same_bits(state.frozen, before.frozen)
    assert all(differs(state.params, before.params))
    if update_batch_stats:
        assert all(differs(state.batch_stats, before.batch_stats))
    else:
        assert_same_bits(state.batch_stats, before.batch_stats)


def test_the_running_statistics_move_a_tenth_towards_the_batchs_own(images, labels):
    model = tiny_classifier()
    before = np.array(model.backbone.conv((images - 127.5) / 127.5))
    tx = optax.sgd(0.0)
    graphdef, state = training.init_state(model, tx, ".*")
    step = make_step(graphdef, tx, update_batch_stats=True)
    state, _ = step(state, images, labels)
    statistics = state.batch_stats["backbone"]["norm"]
    axes = (0, 1, 2)
    np.testing.assert_allclose(
        statistics["mean"], 0.1 * before.mean(axes), rtol=1e-5, atol=1e-7
    )
    np.testing.assert_allclose(
        statistics["var"], 0.9 + 0.1 * before.var(axes), rtol=1e-5
    )


@pytest.mark.slow
def test_statistics_that_learn_normalise_by_the_batch_and_others_by_themselves(
    images, labels
):
    graphdef, state = training.init_state(tiny_classifier(), keep_gradients(), ".*")
    losses = []
    for use_running_average in (False, True):
        view = nnx.view(tiny_classifier(), use_running_average=use_running_average)
        expected = optax.softmax_cross_entropy_with_integer_labels(
            logits_of(view, images), labels
        ).mean()
        step = make_step(
            graphdef, keep_gradients(), update_batch_stats=not use_running_average
        )
        _, metrics = step(state, images, labels)
        np.testing.assert_allclose(metrics["loss"], expected, rtol=1e-5)
        losses.append(float(expected))
    assert abs(losses[0] - losses[1]) > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("use_running_average", [True, False])
def test_gradients_equal_those_of_flax_itself(images, labels, use_running_average):
    model = tiny_classifier()
    tx = keep_gradients()
    graphdef, state = training.init_state(model, tx, ".*")
    step = make_step(graphdef, tx, update_batch_stats=not use_running_average)
    state, metrics = step(state, images, labels)

    def loss(model):
        log_scores = jax.nn.log_softmax(logits_of(model, images))
        return -log_scores[jnp.arange(BATCH_SIZE), labels].mean()

    view = nnx.view(model, use_running_average=use_running_average)
    expected = nnx.to_pure_dict(nnx.grad(loss)(view))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        state.opt_state,
        expected,
    )
    squares = sum((np.asarray(x) ** 2).sum() for x in jax.tree.leaves(expected))
    np.testing.assert_allclose(metrics["gradient_norm"], np.sqrt(squares), rtol=1e-5)


def test_on_features_the_heads_gradient_is_the_one_worked_by_hand(labels):
    model = tiny_classifier()
    tx = keep_gradients()
    graphdef, state = training.init_state(model, tx, "head")
    cells = np.random.default_rng(1).normal(size=(BATCH_SIZE, 1, 1, NUM_FEATURES))
    step = make_step(graphdef, tx, feature_maps=cells_of, label_smoothing=0.3)
    state, metrics = step(state, jnp.float32(cells), labels)

    head = {name: np.float64(x) for name, x in variables(model)["head"].items()}
    features = (cells[:, 0, 0] - head["feature_mean"]) / head["feature_deviation"]
    logits = features @ head["kernel"] + head["offset"]
    scores = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    targets = 0.7 * np.eye(NUM_CLASSES)[labels] + 0.3 / NUM_CLASSES
    error = (scores - targets) / BATCH_SIZE
    gradients = state.opt_state["head"]
    np.testing.assert_allclose(
        gradients["kernel"], features.T @ error, rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(gradients["offset"], error.sum(0), rtol=1e-4, atol=1e-6)
    loss = -(targets * np.log(scores)).sum(1).mean()
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-5)
    accuracy = (logits.argmax(1) == np.asarray(labels)).mean()
    np.testing.assert_allclose(metrics["accuracy"], accuracy, rtol=1e-6)


@pytest.mark.parametrize("wrong", [-1, NUM_CLASSES])
def test_the_loss_of_a_label_that_is_no_class_is_nan(images, labels, wrong):
    graphdef, state = training.init_state(tiny_classifier(), keep_gradients(), "head")
    step = make_step(graphdef, keep_gradients())
    _, metrics = step(state, images, labels.at[1].set(wrong))
    assert np.isnan(metrics["loss"])


def test_training_tells_dark_from_bright():
    images = np.full((6, 8, 8, 3), 40, np.uint8)
    images[3:] = 210
    images += np.random.default_rng(0).integers(0, 20, images.shape, np.uint8)
    tx = optax.adam(0.05)
    graphdef, state = training.init_state(tiny_classifier(), tx, ".*")
    step = make_step(graphdef, tx)
    labels = jnp.array([0, 0, 0, 2, 2, 2])
    history = []
    for _ in range(40):
        state, metrics = step(state, jnp.array(images), labels)
        history.append(float(metrics["loss"]))
    assert history[0] > 0.5
    assert history[-1] < 0.05
    assert float(metrics["accuracy"]) == 1.0


@pytest.mark.slow
def test_validation_sums_over_valid_images_whatever_the_padding_holds(images):
    model = tiny_classifier()
    graphdef, state = training.init_state(model, optax.sgd(1.0), "head")
    view = nnx.view(model, use_running_average=True)
    outputs = np.array(logits_of(view, images[:3]), np.float64)
    predicted = outputs.argmax(1)
    labels = np.array([predicted[0], (predicted[1] + 1) % 3, predicted[2], 0, 0])
    log_scores = outputs - np.log(np.exp(outputs).sum(1, keepdims=True))
    loss = -log_scores[np.arange(3), labels[:3]].sum()
    validate = jax.jit(functools.partial(training.validation_step, graphdef=graphdef))
    for padding in (0, 255):
        padded = np.array(images)
        padded[3:] = padding
        # Padding that happens to be right must not count either.
        labels[3:] = logits_of(view, jnp.array(padded))[3:].argmax(1)
        batch = Batch(
            jnp.array(padded),
            jnp.array(labels),
            jnp.arange(BATCH_SIZE),
            jnp.array([True] * 3 + [False] * 2),
        )
        sums = validate(state, batch)
        assert int(sums["num_images"]) == 3
        assert int(sums["correct"]) == 2
        np.testing.assert_allclose(sums["loss"], loss, rtol=1e-5)


def test_keys_follow_from_the_step_and_from_nothing_else():
    key = jax.random.key(5)

    def data(step):
        keys = training.step_keys(key, jnp.int32(step), 4)
        return np.asarray(jax.random.key_data(keys))

    np.testing.assert_array_equal(data(3), data(3))
    rows = np.concatenate([data(step) for step in range(4)])
    assert len(np.unique(rows, axis=0)) == 16
    others = training.step_keys(jax.random.key(6), jnp.int32(3), 4)
    assert (data(3) != jax.random.key_data(others)).any()
