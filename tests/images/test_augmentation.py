import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdd_jax.images import augmentation

# One shape and traced settings: the program is compiled once for the whole file.
NUM, SIZE = 256, 24
NOTHING = {
    "mirror": 0.0,
    "max_shift": 0,
    "max_gain": 0.0,
    "masking": 0.0,
    "max_masked": 0.5,
}
AUGMENT = jax.jit(augmentation.augment)
STANDARD_ERROR = 0.5 / np.sqrt(NUM)  # Of a share of one half, at most.


def augmented(images: np.ndarray, **settings) -> np.ndarray:
    keys = jax.random.split(jax.random.key(0), NUM)
    return np.asarray(AUGMENT(jnp.asarray(images), keys, **(NOTHING | settings)))


@pytest.fixture
def images() -> np.ndarray:
    random = np.random.default_rng(0)
    return random.integers(40, 200, (NUM, SIZE, SIZE, 3)).astype(np.uint8)


@pytest.fixture
def striped() -> np.ndarray:
    """Return images that are bright all over, yet not of their mean colour."""
    pixels = np.full((NUM, SIZE, SIZE, 3), 255, np.uint8)
    pixels[:, ::2] = 251
    return pixels


def test_zero_settings_change_nothing(images):
    np.testing.assert_array_equal(augmented(images), images)


def test_an_image_changes_by_its_own_key_whatever_it_is_batched_with(images):
    settings = {"mirror": 0.5, "max_shift": 3, "max_gain": 0.3, "masking": 0.5}
    keys = jax.random.split(jax.random.key(1), NUM)
    order = np.random.default_rng(1).permutation(NUM)
    together = AUGMENT(jnp.asarray(images), keys, **(NOTHING | settings))
    shuffled = AUGMENT(jnp.asarray(images[order]), keys[order], **(NOTHING | settings))
    np.testing.assert_array_equal(shuffled, np.asarray(together)[order])
    assert (np.asarray(together) != images).any((1, 2, 3)).all()


def test_mirror_swaps_left_and_right_in_its_share_of_images(images):
    np.testing.assert_array_equal(augmented(images, mirror=1.0), images[:, :, ::-1])
    some = augmented(images, mirror=0.5)
    mirrored = (some == images[:, :, ::-1]).all((1, 2, 3))
    intact = (some == images).all((1, 2, 3))
    assert (mirrored ^ intact).all()
    assert abs(mirrored.mean() - 0.5) < 4 * STANDARD_ERROR


def test_a_shift_repeats_the_edge_and_every_distance_occurs(images):
    pad = ((0, 0), (2, 2), (2, 2), (0, 0))
    padded = np.pad(images, pad, mode="edge")
    shifted = augmented(images, max_shift=2)
    num_matches = np.zeros(NUM, int)
    for top in range(5):
        for left in range(5):
            expected = padded[:, top : top + SIZE, left : left + SIZE]
            matches = (shifted == expected).all((1, 2, 3))
            assert matches.any()
            num_matches += matches
    assert (num_matches == 1).all()


def test_gain_multiplies_brightness_and_contrast_within_bounds(images):
    images[:, : SIZE // 2], images[:, SIZE // 2 :] = 80, 120
    changed = augmented(images, max_gain=0.2).astype(float)
    dark, bright = changed[:, 0, 0, 0], changed[:, -1, 0, 0]
    # Both values are rounded, so their mean and half their difference are off by 0.5.
    brightness = (dark + bright) / 2 / 100
    contrast = (bright - dark) / 2 / (20 * brightness)
    assert (abs(brightness - 1) <= 0.2 + 0.5 / 100).all()
    assert (abs(contrast - 1) <= 0.2 + 0.5 / 20 / 0.8 + 0.5 / 100 / 0.8).all()
    assert brightness.min() < 0.83 and brightness.max() > 1.17
    assert contrast.min() < 0.83 and contrast.max() > 1.17


def test_gain_never_wraps_around(images):
    images[:, : SIZE // 2], images[:, SIZE // 2 :] = 0, 255
    changed = augmented(images, max_gain=0.9)
    assert (changed[:, SIZE // 2 :] >= changed[:, : SIZE // 2]).all()


def test_masking_hides_its_share_of_images_under_three_fills(images):
    hidden = augmented(images, masking=0.5)
    changed = (hidden != images).any((1, 2, 3))
    assert abs(changed.mean() - 0.5) < 4 * STANDARD_ERROR
    fills = {"black": 0, "mean": 0, "noise": 0}
    for image, original in zip(hidden[changed], images[changed], strict=True):
        fill = image[(image != original).any(-1)]
        if (fill == 0).all():
            fills["black"] += 1
        elif (abs(fill - original.mean((0, 1))) < 0.501).all():
            fills["mean"] += 1
        else:
            fills["noise"] += 1
    # A third of 128 is 43; four standard deviations below that is 21.
    assert min(fills.values()) > 21


@pytest.mark.parametrize("max_masked", [0.1, 0.5])
def test_the_hidden_part_is_up_to_its_bound_and_of_every_size(striped, max_masked):
    hidden = augmented(striped, masking=1.0, max_masked=max_masked)
    parts = (hidden != striped).any(-1).mean((1, 2))
    assert parts.max() <= max_masked
    quarters = np.histogram(parts, 4, (0, max_masked))[0] / NUM
    # Each quarter holds a quarter of the images; those of single pixels are rounded
    # down to a 256th, which moves a tenth of a quarter's images at most.
    assert (abs(quarters - 0.25) < 0.025 + 4 * STANDARD_ERROR).all()


def test_half_of_the_masks_are_blobs_and_half_single_pixels(striped):
    hidden = (augmented(striped, masking=1.0) != striped).any(-1)
    parts = hidden.mean((1, 2))
    clear = (parts > 0.15) & (parts < 0.4)
    pairs = (hidden[:, :, 1:] & hidden[:, :, :-1]).mean((1, 2))
    # How often a hidden pixel's neighbour is hidden, beyond what chance would do.
    together = pairs[clear] / parts[clear] - parts[clear]
    assert ((together > 0.2) | (together < 0.15)).all()
    blobs = (together > 0.2).mean()
    assert abs(blobs - 0.5) < 4 * 0.5 / np.sqrt(clear.sum())


def test_regions_move_as_their_images_do():
    keys = jax.random.split(jax.random.key(4), 16)
    masks = np.random.default_rng(0).random((16, 24, 24)) < 0.3
    images = np.repeat(np.uint8(255) * masks[..., None], 3, axis=-1)
    moves = {"mirror": 0.5, "max_shift": 6}
    moved = AUGMENT(jnp.asarray(images), keys, **NOTHING | moves)
    found = augmentation.move_regions(jnp.asarray(masks), keys, **moves)
    np.testing.assert_array_equal(found, np.asarray(moved)[..., 0] == 255)
    assert (np.asarray(found) != masks).any((1, 2)).sum() > 12
