import io

import numpy as np
import pytest
from PIL import Image

from sdd_jax.errors import InputError
from sdd_jax.images import preprocess


def as_rgb(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, axis=-1)


def encoded(image: Image.Image, file_format: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()


def test_square_crop_keeps_the_middle():
    image = as_rgb(np.arange(10, dtype=np.uint8).reshape(2, 5))
    np.testing.assert_array_equal(
        preprocess.square_crop(image)[..., 0], [[1, 2], [6, 7]]
    )
    upright = image.transpose(1, 0, 2)
    np.testing.assert_array_equal(
        preprocess.square_crop(upright)[..., 0], [[1, 6], [2, 7]]
    )


def test_resize_to_the_same_size_changes_nothing():
    image = np.random.default_rng(0).integers(0, 256, (9, 9, 3)).astype(np.uint8)
    np.testing.assert_array_equal(preprocess.resize(image, 9), image)


def test_shrinking_averages_what_it_cannot_show():
    board = as_rgb((np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8))
    small = preprocess.resize(board, 8)
    assert small.min() >= 126 and small.max() <= 129


def test_resizing_an_edge_never_leaves_its_two_values():
    edge = np.full((20, 20, 3), 60, np.uint8)
    edge[:, 10:] = 190
    for size in (7, 50):
        resized = preprocess.resize(edge, size)
        assert resized.min() == 60 and resized.max() == 190


COUNTED = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


def square_box(box, margin=0.0):
    return preprocess.square_box(COUNTED, box, margin=margin, name="some.jpg")


def test_a_square_box_without_a_margin_is_its_pixels():
    np.testing.assert_array_equal(square_box((1, 2, 3, 4)), COUNTED[2:4, 1:3])


def test_a_box_becomes_the_square_around_its_middle():
    np.testing.assert_array_equal(square_box((1, 1, 5, 3)), COUNTED[0:4, 1:5])


def test_the_margin_is_added_on_each_side():
    np.testing.assert_array_equal(square_box((2, 1, 4, 3), 0.5), COUNTED[0:4, 1:5])


def test_outside_of_the_image_is_black():
    square = square_box((4, -1, 8, 3))
    np.testing.assert_array_equal(square[1:, :2], COUNTED[0:3, 4:6])
    assert not square[0].any() and not square[:, 2:].any()


@pytest.mark.parametrize(
    "box", [(2, 1, 2, 3), (3, 1, 2, 3), (6, 0, 9, 3), (0, -3, 3, 0)]
)
def test_a_box_without_a_pixel_is_refused(box):
    with pytest.raises(InputError, match="some.jpg: the box .* has nothing of its 6x4"):
        square_box(box)


def test_a_box_that_would_take_all_memory_is_refused():
    with pytest.raises(InputError, match="more than twice as large as its 6x4 pixels"):
        square_box((-(10**9), -(10**9), 10**9, 10**9))


def noise(width: int, height: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(
    "width, height, words",
    [
        (1, 1, "x: 1x1 pixels; expected at least 16x16 of a face, replace or remove"),
        (4000, 1, "x: 4000x1 pixels, of which 1x1 are taken; expected at least 16x16"),
        (1, 4000, "x: 1x4000 pixels, of which 1x1 are taken"),
        (15, 15, "x: 15x15 pixels; "),
        (15, 400, "x: 15x400 pixels, of which 15x15 are taken"),
    ],
)
def test_a_square_that_is_too_small_for_a_face_is_refused(width, height, words):
    with pytest.raises(InputError, match=f"^{words}"):
        preprocess.middle("x", encoded(Image.fromarray(noise(width, height))))


def test_the_smallest_face_is_taken():
    contents = encoded(Image.fromarray(noise(40, preprocess.MIN_SIDE)))
    assert preprocess.middle("x", contents).shape == (16, 16, 3)


@pytest.mark.parametrize("spread", [0, 1, 7])
def test_one_colour_is_refused_whatever_the_noise(spread):
    flat = np.array([200, 90, 10]) + noise(40, 30) % (spread + 1)
    contents = encoded(Image.fromarray(flat.astype(np.uint8)))
    with pytest.raises(InputError, match=r"^x: 30x30 pixels of one colour, red 20\d"):
        preprocess.middle("x", contents)


@pytest.mark.parametrize("place", [(0, 0), (13, 7), (29, 29)])
def test_one_pixel_of_another_colour_is_not_one_colour(place):
    image = np.full((30, 30, 3), 90, np.uint8)
    image[(*place, 2)] = 98
    assert preprocess.not_flat(image, "x") is image


def test_a_saved_flat_jpeg_is_of_one_colour():
    contents = encoded(Image.new("RGB", (64, 64), (201, 13, 77)), "JPEG", quality=30)
    with pytest.raises(InputError, match="x: 64x64 pixels of one colour"):
        preprocess.middle("x", contents)


def test_a_cut_of_one_colour_in_an_image_of_many_is_refused():
    image = noise(40, 40)
    image[:20] = 7
    with pytest.raises(InputError, match="x: 20x40 pixels of one colour, red 7, green"):
        preprocess.face_in(
            encoded(Image.fromarray(image)), "x", lambda it: it[:20].swapaxes(0, 1)
        )
