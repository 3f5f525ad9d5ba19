import numpy as np
import pytest
from PIL import Image
from skimage import transform

from sdd_jax.errors import InputError
from sdd_jax.images.alignment import similarity

SQUARE = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])


def five_points(seed: int) -> np.ndarray:
    """Return the template, moved and shaken."""
    rng = np.random.default_rng(seed)
    turned = similarity.template() @ rng.normal(0, 1, (2, 2))
    return turned + rng.normal(0, 3, (5, 2)) + rng.uniform(0, 500, 2)


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def test_a_quarter_turn_twice_as_large_and_moved_is_found():
    # [1, 0] goes to [0, 2] and [0, 1] to [-2, 0]; then 5 to the right, 7 down.
    target = np.array([[5.0, 7], [5, 9], [3, 9], [3, 7]])
    matrix = similarity.similarity_transform(SQUARE, target)
    np.testing.assert_allclose(matrix, [[0, -2, 5], [2, 0, 7]], atol=1e-12)
    assert similarity.residual(SQUARE, target, matrix) < 1e-12


def test_the_residual_is_the_root_mean_square_distance():
    matrix = np.array([[1.0, 0, 10], [0, 1, 20]])
    target = SQUARE + [10, 20] + [[3, 4], [0, 0], [0, 0], [0, 0]]
    assert similarity.residual(SQUARE, target, matrix) == 2.5  # sqrt(25 / 4)


@pytest.mark.parametrize("seed", range(20))
def test_it_is_the_least_squares_solution(seed):
    points, target = five_points(seed), similarity.template()
    x, y = points.T
    one, none = np.ones(5), np.zeros(5)
    unknowns = np.concatenate(
        [np.stack([x, -y, one, none], 1), np.stack([y, x, none, one], 1)]
    )
    a, b, right, down = np.linalg.lstsq(unknowns, target.T.ravel())[0]
    found = similarity.similarity_transform(points, target)
    np.testing.assert_allclose(found, [[a, -b, right], [b, a, down]], atol=1e-9)


@pytest.mark.parametrize("seed", range(20))
def test_it_is_what_the_singular_value_decomposition_gives(seed):
    points, target = five_points(seed), similarity.template()
    # scikit-image makes its classes' methods in a way that type checkers do not see.
    make = transform.SimilarityTransform.from_estimate  # pyrefly: ignore[missing-attribute]
    expected = make(points, target)
    found = similarity.similarity_transform(points, target)
    np.testing.assert_allclose(found, expected.params[:2], atol=1e-9)


def test_a_mirrored_face_is_not_mirrored_back():
    points = similarity.template() * [-1, 1] + [112, 0]
    matrix = similarity.similarity_transform(points, similarity.template())
    assert np.linalg.det(matrix[:, :2]) > 0
    assert similarity.residual(points, similarity.template(), matrix) > 10


@pytest.mark.parametrize(
    "points",
    [
        np.full((5, 2), 40.0),
        np.full((5, 2), 1 / 3) * [3e6, 1e6],
        np.full((5, 2), np.nan),
    ],
)
def test_points_in_one_place_are_refused(points):
    with pytest.raises(InputError, match="fix no turn and scale; expected") as caught:
        similarity.similarity_transform(points, similarity.template())
    assert "\n" not in str(caught.value)


def test_points_that_no_turn_brings_nearer_are_refused():
    with pytest.raises(InputError, match="in the order of their targets"):
        similarity.similarity_transform(SQUARE, SQUARE * [-1, 1])


def test_the_template_of_another_size_shows_the_same_part_of_the_face():
    # A crop's edges lie half a pixel outside the centres of its first and last pixels.
    shares = [(similarity.template(size) + 0.5) / size for size in (112, 224, 150)]
    np.testing.assert_allclose(shares[1], shares[0], atol=1e-12)
    np.testing.assert_allclose(shares[2], shares[0], atol=1e-12)
    assert similarity.template()[2].tolist() == [56.02519989, 71.73660278]


def test_a_pixel_is_the_mean_of_the_four_it_falls_between():
    image = np.zeros((2, 2, 3), np.uint8)
    image[..., 0] = [[0, 40], [80, 200]]
    half = np.array([[1.0, 0, -0.5], [0, 1, -0.5]])
    # Then its neighbours fall half outside: half or three quarters of them are black.
    expected = [[80, 60], [70, 50]]
    np.testing.assert_array_equal(similarity.warp(image, half, 2)[..., 0], expected)


def test_a_shift_by_whole_pixels_moves_them_and_leaves_black_behind():
    image = noise(6, 9)
    crop = similarity.warp(image, np.array([[1.0, 0, 2], [0, 1, -1]]), 5)
    np.testing.assert_array_equal(crop[:, 2:], image[1:6, :3])
    assert not crop[:, :2].any()


@pytest.mark.parametrize("degrees", [0, 20, 90, 200])
def test_a_warp_across_the_edge_is_the_one_of_scikit_image(degrees):
    image = noise(90, 140)
    turn = transform.SimilarityTransform(
        scale=0.7, rotation=np.radians(degrees), translation=(30.3, 41.9)
    )
    expected = transform.warp(
        image,
        turn.inverse,
        output_shape=(64, 64),
        order=1,
        preserve_range=True,
        clip=False,
    )
    crop = similarity.warp(image, np.asarray(turn)[:2], 64)
    assert 0.1 < (crop == 0).all(-1).mean() < 0.9
    # Rounding to whole grey levels is the only difference.
    assert np.abs(crop - expected).max() < 0.5 + 1e-6


def test_a_warp_inside_the_image_is_the_one_of_pillow():
    image = noise(80, 80)
    back = np.array([[0.6, 0.2, 11.0], [-0.2, 0.6, 23.0]])
    linear = np.linalg.inv(back[:, :2])
    matrix = np.concatenate([linear, -linear @ back[:, 2:]], 1)
    # Pillow counts from the corner of the first pixel, half a pixel from its centre.
    shift = back[:, 2] + 0.5 - back[:, :2] @ [0.5, 0.5]
    data = np.concatenate([back[:, :2], shift[:, None]], 1).ravel().tolist()
    expected = np.asarray(
        Image.fromarray(image).transform(
            (40, 40), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR
        )
    )
    crop = similarity.warp(image, matrix, 40)
    assert np.abs(crop.astype(int) - expected).max() <= 1  # Pillow truncates


def test_a_matrix_that_flattens_the_image_is_refused():
    with pytest.raises(InputError, match="flattens the image; expected one that can"):
        similarity.warp(noise(4, 4), np.array([[1.0, 1, 0], [1, 1, 0]]), 4)
