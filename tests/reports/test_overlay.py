import io

import numpy as np
import pytest
from PIL import Image

from sdd_jax.errors import InputError
from sdd_jax.reports import overlay

IMAGE = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
RAMP = np.linspace(-3, 5, 48).reshape(6, 8)


def chroma(image):
    image = image.astype(int)
    return image.max(-1) - image.min(-1)


def test_heat_map_does_not_depend_on_scale_and_offset_of_the_saliency():
    # Powers of two, so that the stretch is the same to the bit.
    np.testing.assert_array_equal(
        overlay.heat_map(RAMP * 4 - 0), overlay.heat_map(RAMP)
    )
    shifted = overlay.heat_map(RAMP + 8).astype(int)
    np.testing.assert_allclose(shifted, overlay.heat_map(RAMP), atol=1)


def test_heat_map_grows_lighter_with_importance():
    grey = overlay.heat_map(RAMP) @ np.array([0.2126, 0.7152, 0.0722])
    assert np.all(np.diff(grey.ravel()) > 0)


def test_a_constant_map_leaves_the_image_in_bare_grey():
    grey = overlay.overlay(IMAGE, np.full((6, 8), 0.3, np.float32))
    expected = np.asarray(Image.fromarray(IMAGE).convert("L"), int)
    np.testing.assert_allclose(grey, np.stack([expected] * 3, -1), atol=1)


def test_overlay_by_hand():
    saliency = np.array([[0.0, 2.0]])
    image = np.full((1, 2, 3), 100, np.uint8)
    strongest = overlay.heat_map(saliency)[0, 1].astype(float)
    expected = np.rint(0.2 * 100 + 0.8 * strongest)
    np.testing.assert_array_equal(
        overlay.overlay(image, saliency)[0], [[100, 100, 100], expected]
    )


@pytest.mark.parametrize("grey", [0, 64, 128, 192, 255])
def test_the_important_half_is_coloured_on_any_grey(grey):
    image = np.full((1, 101, 3), grey, np.uint8)
    colourful = chroma(overlay.overlay(image, np.linspace(0, 1, 101)[None]))[0]
    assert colourful[0] == 0
    assert colourful[50:].min() > 50


def test_values_whose_difference_overflows_float32_are_stretched():
    largest = np.finfo(np.float32).max
    saliency = np.array([[-largest, 0, largest]], np.float32)
    np.testing.assert_array_equal(
        overlay.heat_map(saliency), overlay.heat_map(np.array([[0.0, 1, 2]]))
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_saliency_that_is_not_finite_is_refused(bad):
    with pytest.raises(InputError, match="1 value.* not finite"):
        overlay.heat_map(np.array([[0.0, bad]]))


def test_masked_keeps_where_true_and_fills_elsewhere():
    mask = np.arange(48).reshape(6, 8) % 3 == 0
    result = overlay.masked(IMAGE, mask, np.array([10.4, 20.6, 255.0]))
    np.testing.assert_array_equal(result[mask], IMAGE[mask])
    assert np.all(result[~mask] == [10, 21, 255])
    assert result.dtype == np.uint8


def test_masked_takes_whole_numbers_as_they_are():
    nothing = np.zeros((6, 8), bool)
    result = overlay.masked(IMAGE, nothing, np.array([0, 7, 255], np.uint8))
    assert np.all(result == [0, 7, 255])


def test_png_keeps_every_pixel():
    file = io.BytesIO(overlay.png(IMAGE))
    with Image.open(file) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        np.testing.assert_array_equal(np.asarray(image), IMAGE)
