"""What every method owes: a method added to METHODS is tested here."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_options import OPTIONS

from sdd_jax.errors import InputError
from sdd_jax.faithfulness import grid
from sdd_jax.faithfulness.study import study
from sdd_jax.saliency import DEFAULT_METHODS, METHODS, bind_methods, clean_pass
from sdd_jax.saliency.class_maps import upsample
from sdd_jax.saliency.methods import TARGET_FREE
from sdd_jax.types import Batch, Explanation

TARGETS = jnp.arange(8) % 7
KEYS = jax.random.split(jax.random.key(0), 8)
# What a method's maps have to do with, besides the size of the images.
DEPENDS_ON = {
    "sdd": {"images", "targets"},
    "cam": {"images", "targets"},
    "random_map": {"key"},
    "random_pixels": {"key"},
    "centre": set(),
    "score_cam": {"images", "targets"},
    "ablation_cam": {"images", "targets"},
    "rise": {"images", "targets", "key"},
    "occlusion": {"images", "targets"},
    "lime": {"images", "targets", "key"},
    "kernel_shap": {"images", "targets", "key"},
    "fine_cam": {"images", "targets"},
    "fine_sdd": {"images", "targets"},
    "energy_cam": {"images", "targets"},
    "grad_cam": {"images", "targets"},
    "grad_cam_plus_plus": {"images", "targets"},
    "hires_cam": {"images", "targets"},
    "xgrad_cam": {"images", "targets"},
    "layer_cam": {"images", "targets"},
    "refine_cam": {"images", "targets"},
    "finer_cam": {"images", "targets"},
    "eigen_cam": {"images"},
    "input_gradients": {"images", "targets"},
    "gradient_x_input": {"images", "targets"},
    "integrated_gradients": {"images", "targets"},
    "smooth_grad": {"images", "targets", "key"},
    "full_grad": {"images", "targets"},
    "activation_energy": {"images"},
    "sobel": {"images"},
}
methods = pytest.mark.parametrize("name", METHODS)


@pytest.fixture(scope="module")
def saliency_of(classifier):
    """Compiled once, as the runs do."""

    @functools.partial(jax.jit, static_argnums=0)
    def saliency_of(name, images, targets, key):
        clean = clean_pass(classifier, images, targets)
        method = METHODS[name]
        return method(classifier, clean, key, **OPTIONS.get(name, {})).saliency

    return saliency_of


@pytest.mark.slow
@methods
@pytest.mark.parametrize("key", [KEYS[0], KEYS], ids=["one key", "a key each"])
def test_saliency_is_a_finite_float32_map_an_image(saliency_of, images, name, key):
    saliency = saliency_of(name, images, TARGETS, key)
    assert saliency.shape == images.shape[:3]
    assert saliency.dtype == jnp.float32
    assert jnp.isfinite(saliency).all()
    assert (saliency.max((1, 2)) > saliency.min((1, 2))).all()


@pytest.mark.slow
@methods
@pytest.mark.parametrize(
    ("changed", "mirrored", "targets", "keys"),
    [
        (None, False, 0, KEYS),
        ("images", True, 0, KEYS),
        ("targets", False, 1, KEYS),
        ("key", False, 0, jax.random.split(jax.random.key(1), 8)),
    ],
)
def test_every_map_depends_on_what_it_should_and_on_nothing_else(
    saliency_of, images, name, changed, mirrored, targets, keys
):
    before = saliency_of(name, images, TARGETS, KEYS)
    after = saliency_of(
        name, images[:, :, ::-1] if mirrored else images, (TARGETS + targets) % 7, keys
    )
    differs = (before != after).any((1, 2))
    np.testing.assert_array_equal(differs, [changed in DEPENDS_ON[name]] * 8)


@methods
def test_an_images_map_depends_neither_on_the_others_nor_on_its_place(
    saliency_of, images, name
):
    places = jnp.array([0, 5, 2, 0, 0, 0, 0, 7])
    padding = jnp.array([True, False, False, True, True, True, True, False])
    padded = jnp.where(padding[:, None, None, None], 0, images[places])
    whole = saliency_of(name, images, TARGETS, KEYS)
    part = saliency_of(name, padded.astype(jnp.uint8), TARGETS[places], KEYS[places])
    np.testing.assert_array_equal(part[~padding], whole[jnp.array([5, 2, 7])])


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (
            [0, -1, 0, 0, 0, 0, 0, 0],
            r"^targets\[1\] is -1, .* class from 0 to 6$",
        ),
        (np.full(8, 7), r"^targets\[0\] is 7, expected a class from 0 to 6$"),
        (jnp.ones(8), "^targets are float32, expected classes"),
        (jnp.zeros(7, int), r"^targets are of shape \(7,\), expected \(8\)$"),
        (jnp.zeros((8, 1), int), r"^targets are of shape \(8, 1\), expected \(8\)$"),
    ],
)
def test_whom_nobody_knows_nobody_can_explain(classifier, images, targets, message):
    # Unwrapped: the annotations, which only tests check, would refuse some first.
    with pytest.raises(InputError, match=message):
        inspect.unwrap(clean_pass)(classifier, images, targets)


@pytest.mark.parametrize(
    "name", [name for name, needs in DEPENDS_ON.items() if "targets" in needs]
)
def test_under_jit_the_map_of_no_class_is_nan(saliency_of, images, name):
    targets = jnp.array([-1, 7, 0, 1, 2, 3, 4, 100])
    saliency = saliency_of(name, images, targets, KEYS)
    wrong = np.isnan(saliency).all((1, 2))
    np.testing.assert_array_equal(wrong, [True, True] + [False] * 5 + [True])
    assert np.isfinite(saliency[2:7]).all()


@pytest.mark.slow
def test_hyper_parameters_are_bound_by_name(classifier, images):
    methods = bind_methods(("cam", "centre"), {"cam": {"centre": False}, "sdd": {}})
    assert list(methods) == ["cam", "centre"]
    clean, key = clean_pass(classifier, images), jax.random.key(0)
    np.testing.assert_array_equal(
        methods["cam"](classifier, clean, key).saliency,
        METHODS["cam"](classifier, clean, key, centre=False).saliency,
    )


def test_an_unknown_method_is_refused_with_the_known_ones():
    known = ", ".join(METHODS)
    with pytest.raises(
        InputError, match=f"^unknown method 'gradcam': expected one of {known}$"
    ):
        bind_methods(("sdd", "gradcam"), {})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"cam": {"center": True}},
            r"saliency.cam.center is no hyper-.* some of centre",
        ),
        (
            {"random_map": {"x": 1}},
            r"saliency.random_map.x is no hyper-.* some of none$",
        ),
        ({"cam": {"key": 1}}, r"saliency.cam.key is no hyper-parameter of cam: "),
    ],
)
def test_an_unknown_hyper_parameter_is_refused_with_the_known_ones(options, message):
    with pytest.raises(InputError, match=message):
        bind_methods(("cam", "random_map"), options)


def test_one_text_is_no_list_of_methods():
    with pytest.raises(InputError, match=r"'sdd', one text: expected \('sdd',\)$"):
        inspect.unwrap(bind_methods)("sdd", {})


def test_who_looks_at_no_target_is_known():
    free = {name for name, needs in DEPENDS_ON.items() if "targets" not in needs}
    assert free == TARGET_FREE


def test_what_is_compared_by_default_exists():
    assert set(DEFAULT_METHODS) <= set(METHODS)


@pytest.mark.slow
def test_a_method_that_is_added_is_studied_like_the_others(
    classifier, images, monkeypatch
):
    """All that a method needs is a function and its line in the dict."""

    def energy(model, clean, key, *, power=2):
        maps = (clean.feature_maps**power).sum(3)
        saliency = upsample(maps, clean.images.shape[1:3], model.cells)
        return Explanation(saliency, {"total": maps.sum((1, 2))})

    monkeypatch.setitem(METHODS, "energy", energy)
    options = {"energy": {"power": 4}}
    batch = Batch(images, TARGETS, jnp.arange(8), jnp.ones(8, bool))
    result = jax.jit(
        functools.partial(
            study,
            classifier,
            methods=bind_methods(("energy", "cam"), options),
            wanted=grid(("black",), (0.2,)),
            seed=0,
        )
    )(batch)
    feature_maps = classifier.feature_maps(images)
    np.testing.assert_allclose(
        result["explanations"]["energy"].details["total"],
        (feature_maps**4).sum((1, 2, 3)),
        rtol=1e-5,
    )
    assert result["perturbed"].confidence.shape == (2, 2, 8)
    assert ((result["ranks"][0] == 0).sum((1, 2)) == 58).all()
