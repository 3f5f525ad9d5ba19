import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from tiny_classifier import tiny_classifier

from sdd_jax.errors import InputError
from sdd_jax.training import optimizer

CONFIG = {
    "steps": 10,
    "warmup_fraction": 0.0,
    "head_learning_rate": 0.1,
    "backbone_learning_rate": 0.01,
    "weight_decay": 0.0,
    "clip_norm": 1e9,
}
SCHEDULE = {"steps": 100, "warmup_fraction": 0.2}


def trained_paths(parts: str) -> set[str]:
    state, _ = nnx.split_state(
        nnx.state(tiny_classifier()), optimizer.trained_by(parts), ...
    )
    return {optimizer.path_name(path) for path, _ in nnx.to_flat_state(state)}


def updates_of(config, params, *gradients):
    """Return the update of each of several steps."""
    tx = optimizer.make_optimizer(config)
    state = tx.init(params)
    updates = []
    for gradient in gradients:
        update, state = tx.update(gradient, state, params)
        params = optax.apply_updates(params, update)
        updates.append(update)
    return updates


BACKBONE = {
    "backbone/conv/kernel",
    "backbone/norm/scale",
    "backbone/norm/bias",
    "backbone/blocks/0/kernel",
}
HEAD = {"head/kernel", "head/offset"}


@pytest.mark.parametrize(
    "parts, paths",
    [
        ("head", HEAD),
        ("backbone/blocks/[0-3]/", {"backbone/blocks/0/kernel"}),
        ("head|backbone/norm", HEAD | {"backbone/norm/scale", "backbone/norm/bias"}),
        (".*", BACKBONE | HEAD),
        ("", BACKBONE | HEAD),
        ("blocks", set()),
        ("backbone/blocks/1/", set()),
    ],
)
def test_parts_choose_parameters_by_the_beginning_of_their_path(parts, paths):
    # Neither batch norm's mean and var nor the head's feature statistics are trained.
    assert trained_paths(parts) == paths


def test_parts_that_are_no_regular_expression_say_where_and_give_an_example():
    with pytest.raises(InputError) as caught:
        optimizer.trained_by("head|(blocks")
    message = str(caught.value)
    assert message.startswith("train.parts is 'head|(blocks', which is not a regular")
    assert "position 5" in message and "'head'" in message


def test_matrices_and_filters_decay_and_biases_slopes_and_norms_do_not():
    params = nnx.to_pure_dict(nnx.state(tiny_classifier(), nnx.Param))
    decay = optimizer.has_decay(params)
    assert decay == {
        "backbone": {
            "conv": {"kernel": True},
            "norm": {"scale": False, "bias": False},
            "blocks": {0: {"kernel": True}},
        },
        "head": {"kernel": True, "offset": False},
    }


def test_the_rate_rises_in_a_line_and_falls_as_half_a_cosine():
    rate = optimizer.learning_rate(SCHEDULE, 0.4)
    steps = [0, 10, 20, 40, 60, 80, 100]
    # From 20 to 100: a quarter, a half and three quarters of the way down.
    fall = [0.5 * (1 + np.cos(np.pi * share)) for share in (0.25, 0.5, 0.75)]
    expected = 0.4 * np.array([0, 0.5, 1, *fall, 0])
    np.testing.assert_allclose(
        [np.asarray(rate(i)) for i in steps], expected, rtol=1e-6, atol=1e-8
    )


def test_without_warm_up_the_first_step_has_the_peak_rate():
    rate = optimizer.learning_rate({"steps": 5, "warmup_fraction": 0.0}, 0.4)
    np.testing.assert_allclose(rate(0), 0.4, rtol=1e-6)
    assert np.asarray(rate(4)) > 0


def test_a_single_step_has_the_peak_rate_however_long_the_warm_up():
    rate = optimizer.learning_rate({"steps": 1, "warmup_fraction": 0.9}, 0.4)
    np.testing.assert_allclose(rate(0), 0.4, rtol=1e-6)


@pytest.mark.parametrize("steps", [0, -3])
def test_no_steps_are_refused(steps):
    with pytest.raises(InputError, match=f"^train.steps is {steps}, expected at least"):
        optimizer.make_optimizer(CONFIG | {"steps": steps}).init({"head": jnp.ones(1)})


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 20, float("nan")])
def test_a_warm_up_that_is_no_share_of_the_steps_is_refused(fraction):
    with pytest.raises(InputError, match="^train.warmup_fraction is"):
        optimizer.learning_rate(SCHEDULE | {"warmup_fraction": fraction}, 0.1)


@pytest.mark.slow
def test_the_first_step_is_adamws_with_a_rate_for_each_part():
    params = {
        "head": {"kernel": jnp.array([[3.0, -4.0]]), "offset": jnp.array([3.0])},
        "backbone": {"conv": {"kernel": jnp.array([[5.0]])}},
    }
    gradients = jax.tree.map(lambda x: -3.0 * x, params)
    (update,) = updates_of(CONFIG | {"weight_decay": 0.5}, params, gradients)
    # Bias-corrected, the first moments are g and g^2: a step is -rate (sign g + decay).
    expected = {
        "head": {
            "kernel": -0.1 * np.array([[-1 + 0.5 * 3, 1 - 0.5 * 4]]),
            "offset": -0.1 * np.array([-1.0]),
        },
        "backbone": {"conv": {"kernel": -0.01 * np.array([[-1 + 0.5 * 5]])}},
    }
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5),
        update,
        expected,
    )


def test_the_second_step_mixes_the_moments_with_adams_decay_rates():
    params = {"head": {"kernel": jnp.zeros((1, 1))}}
    gradients = [{"head": {"kernel": jnp.full((1, 1), g)}} for g in (1.0, 3.0)]
    _, update = updates_of(CONFIG, params, *gradients)
    mean = (0.9 * 0.1 * 1 + 0.1 * 3) / (1 - 0.9**2)
    square = (0.999 * 0.001 * 1 + 0.001 * 9) / (1 - 0.999**2)
    rate = 0.1 * 0.5 * (1 + np.cos(np.pi / 10))
    np.testing.assert_allclose(
        update["head"]["kernel"], [[-rate * mean / np.sqrt(square)]], rtol=1e-5
    )


def test_the_gradient_is_clipped_as_a_whole():
    params = {"head": {"w": jnp.zeros(1)}, "backbone": {"w": jnp.zeros(1)}}

    def gradient(head, backbone):
        return {
            "head": {"w": jnp.array([head])},
            "backbone": {"w": jnp.array([backbone])},
        }

    # (3, 4) is 5 long; clipped to 1 it is what the second step gets as it is.
    clipped = updates_of(
        CONFIG | {"clip_norm": 1.0}, params, gradient(3.0, 4.0), gradient(0.6, 0.8)
    )
    plain = updates_of(CONFIG, params, gradient(0.6, 0.8), gradient(0.6, 0.8))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), clipped, plain
    )


def test_a_head_alone_is_trained_without_a_backbone():
    params = {"head": {"kernel": jnp.ones((2, 2))}}
    (update,) = updates_of(CONFIG, params, params)
    np.testing.assert_allclose(update["head"]["kernel"], -0.1, rtol=1e-5)
