import inspect
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdd_jax.errors import InputError
from sdd_jax.faithfulness import ranks
from sdd_jax.faithfulness.ranks import num_masked

KEYS = jax.random.split(jax.random.key(0), 400)
# As the runs do; operation by operation it takes seconds.
most_salient = jax.jit(ranks.most_salient, static_argnames="fraction")


@pytest.mark.parametrize(
    ("fraction", "height", "width", "count"),
    [
        (0.2, 150, 150, 4500),
        (0.2, 112, 112, 2509),  # 2508.8
        (0.25, 3, 3, 2),  # 2.25
        (0.5, 1, 5, 2),  # 2.5, to the even number
        (0.5, 1, 7, 4),  # 3.5, to the even number
        (0.999, 10, 10, 100),
        (0.001, 10, 10, 0),
    ],
)
def test_the_fraction_is_rounded_to_whole_pixels(fraction, height, width, count):
    assert num_masked(fraction, height, width) == count


@pytest.mark.parametrize("fraction", [-0.1, 1.1, 20.0, float("nan")])
def test_a_fraction_lies_between_nothing_and_all(fraction):
    with pytest.raises(
        InputError,
        match=f"^fraction is {re.escape(str(fraction))}, .* from 0 to 1",
    ):
        ranks.most_salient(jnp.zeros((1, 2, 2)), KEYS[:1], fraction=fraction)


@pytest.mark.slow
@pytest.mark.parametrize("height", [1, 5])
def test_exactly_as_many_pixels_are_chosen(height):
    rng = np.random.default_rng(0)
    saliency = jnp.stack(
        [
            jnp.asarray(rng.normal(0, 1, (height, 7)), jnp.float32),
            jnp.asarray(rng.integers(0, 3, (height, 7)), jnp.float32),  # many ties
            jnp.zeros((height, 7)),
        ]
    )
    for fraction in (0.0, 0.01, 0.2, 0.77, 0.99, 1.0):
        chosen = most_salient(saliency, KEYS[:3], fraction=fraction)
        np.testing.assert_array_equal(chosen.sum((1, 2)), round(fraction * height * 7))


def test_the_chosen_are_the_largest():
    saliency = jnp.array([[[0.1, 5.0, -2.0], [3.0, -7.0, 4.0]]])
    np.testing.assert_array_equal(
        most_salient(saliency, KEYS[:1], fraction=0.5),
        [[[False, True, False], [True, False, True]]],
    )


def test_neighbouring_float32_values_are_no_tie():
    above = np.nextafter(np.float32(1), np.float32(2))
    saliency = jnp.full((400, 3, 3), 1, jnp.float32).at[:, 1, 2].set(above)
    chosen = most_salient(saliency, KEYS, fraction=1 / 9)
    assert chosen[:, 1, 2].all()


@pytest.mark.slow
def test_larger_values_are_chosen_before_any_tie_is_broken():
    # Two are larger, then come five equal ones, of which two are chosen.
    saliency = jnp.array([[9.0, 1.0, 1.0], [0.0, 1.0, 0.5], [1.0, 8.0, 1.0]])
    maps = jnp.broadcast_to(saliency, (400, 3, 3))
    chosen = most_salient(maps, KEYS, fraction=4 / 9)

    assert chosen[:, saliency > 1].all()
    assert not chosen[:, saliency < 1].any()
    times = np.asarray(chosen[:, saliency == 1].sum(0))
    assert times.sum() == 800
    # Five standard deviations of 400 draws of two out of five.
    np.testing.assert_allclose(times, 160, atol=5 * np.sqrt(400 * 0.4 * 0.6))


def test_among_equals_every_position_is_as_likely():
    chosen = np.asarray(most_salient(jnp.zeros((400, 3, 3)), KEYS, fraction=1 / 3))
    # Five standard deviations of 400 draws of three out of nine.
    np.testing.assert_allclose(chosen.sum(0), 400 / 3, atol=5 * np.sqrt(400 * 2 / 9))
    # Neighbours are chosen together as often as any two: 3 / 9 * 2 / 8 of the time.
    together = (chosen[:, :, 1:] & chosen[:, :, :-1]).sum(0)
    np.testing.assert_allclose(together, 400 / 12, atol=5 * np.sqrt(400 / 12))


def test_zero_and_minus_zero_are_equal():
    saliency = jnp.zeros((400, 3, 3)).at[:, 0].set(-0.0)
    chosen = most_salient(saliency, KEYS, fraction=1 / 3)
    # A third of the 1,200, give or take five standard deviations.
    assert abs(chosen[:, 0].sum() - 400) < 5 * np.sqrt(1200 * 2 / 9)


def test_the_same_key_breaks_ties_alike_and_another_does_not():
    keys = KEYS[jnp.array([0, 0, 1])]
    first, again, other = most_salient(jnp.zeros((3, 10, 10)), keys, fraction=0.5)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_a_mask_does_not_depend_on_the_rest_of_the_batch():
    rng = np.random.default_rng(0)
    saliency = jnp.asarray(rng.integers(0, 3, (3, 10, 10)), jnp.float32)
    whole = most_salient(saliency, KEYS[:3], fraction=0.3)
    moved = most_salient(saliency[::-1].at[1].set(0), KEYS[:3][::-1], fraction=0.3)
    np.testing.assert_array_equal(moved[0], whole[2])
    np.testing.assert_array_equal(moved[2], whole[0])


def by_sorting(saliency, lots, count):
    """Choose by the whole order: value, then lot, then place."""
    chosen = np.zeros(saliency.shape, bool)
    for image, values in enumerate(saliency):
        order = sorted(
            range(values.size),
            key=lambda i: (
                np.isnan(values.flat[i]),
                -values.flat[i] if not np.isnan(values.flat[i]) else 0,
                lots[image].flat[i],
                i,
            ),
        )
        chosen[image].flat[order[:count]] = True
    return chosen


def maps_of_all_sorts():
    rng = np.random.default_rng(0)
    normal = rng.normal(0, 1, (13, 11)).astype(np.float32)
    special = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-37, -3e38, 1.0]
    neighbours = np.float32(1) + np.arange(-3, 4, dtype=np.float32) * 2.0**-24
    return {
        "normal": normal,
        "negative": -np.abs(normal),
        "many ties": np.round(normal),
        "few ties": np.round(normal, 1),
        "two values": (normal > 0.5).astype(np.float32),
        "constant": np.full_like(normal, -2.5),
        "minus infinity": np.full_like(normal, -np.inf),
        "not a number": np.full_like(normal, np.nan),
        "special values": rng.choice(special, normal.shape).astype(np.float32),
        "neighbouring values": rng.choice(neighbours, normal.shape),
        "every size": normal * 10.0 ** rng.integers(-34, 38, normal.shape),
    }


@pytest.mark.parametrize("fraction", [0.001, 0.01, 0.2, 0.5, 0.99, 0.999])
def test_the_choice_is_that_of_sorting(fraction):
    saliency = np.stack(list(maps_of_all_sorts().values())).astype(np.float32)
    keys = KEYS[: len(saliency)]
    lots = np.asarray(jax.vmap(lambda key: jax.random.bits(key, (13 * 11,)))(keys))
    np.testing.assert_array_equal(
        most_salient(jnp.asarray(saliency), keys, fraction=fraction),
        by_sorting(saliency, lots, round(fraction * 13 * 11)),
    )


@pytest.mark.slow
def test_equal_lots_leave_the_first_places(monkeypatch):
    rng = np.random.default_rng(0)
    saliency = rng.integers(0, 3, (5, 8, 9)).astype(np.float32)
    lots = rng.integers(0, 4, (8 * 9,)).astype(np.uint32) * np.uint32(2**32 // 4 + 1)
    monkeypatch.setattr(jax.random, "bits", lambda key, shape, dtype: jnp.asarray(lots))
    for fraction in (0.1, 0.3, 0.6, 0.9):
        np.testing.assert_array_equal(
            ranks.most_salient(jnp.asarray(saliency), KEYS[:5], fraction=fraction),
            by_sorting(saliency, [lots] * 5, round(fraction * 72)),
        )


@pytest.mark.slow
@pytest.mark.parametrize("fractions", [(0.3,), (0.05, 0.2, 0.21, 0.9)])
def test_ranks_hold_the_masks_of_all_fractions(fractions):
    saliency = np.stack(list(maps_of_all_sorts().values())).astype(np.float32)
    saliency = jnp.asarray(np.nan_to_num(saliency))
    keys = KEYS[: len(saliency)]
    counts = tuple(num_masked(each, 13, 11) for each in fractions)
    found = jax.jit(ranks.ranks, static_argnames="counts")(
        saliency, keys, counts=counts
    )
    assert found.dtype == jnp.uint8
    for place, fraction in enumerate(fractions):
        np.testing.assert_array_equal(
            found <= place, most_salient(saliency, keys, fraction=fraction)
        )


@pytest.mark.parametrize("counts", [(3, 2), (2, 2), (-1, 2), (1, 10), range(300)])
def test_counts_that_cut_nothing_are_refused(counts):
    with pytest.raises(InputError, match="^the counts are .* rising whole numbers fro"):
        ranks.ranks(jnp.zeros((1, 3, 3)), KEYS[:1], counts=tuple(counts))


def test_nan_is_neither_more_nor_less_salient():
    saliency = np.zeros((4, 3, 3), np.float32)
    saliency[1, 0, 2] = saliency[3] = np.nan
    keys = jax.random.split(jax.random.key(0), 4)
    with pytest.raises(InputError, match=r"of 2 of 4 images holds NaN \(images 1, 3\)"):
        ranks.most_salient(jnp.asarray(saliency), keys, fraction=0.2)


@pytest.mark.parametrize("fraction", [float("nan"), True, "0.2", None])
def test_a_fraction_that_is_no_number_is_refused(fraction):
    with pytest.raises(InputError, match=f"^fraction is {fraction!r}, expected a num"):
        inspect.unwrap(num_masked)(fraction, 3, 3)


def test_each_image_may_have_its_own_number_of_most_salient_pixels():
    rng = np.random.default_rng(0)
    saliency = jnp.asarray(rng.integers(0, 4, (5, 4, 3)), jnp.float32)
    counts = jnp.array([0, 1, 5, 11, 12])
    found = jax.jit(ranks.largest)(saliency, KEYS[:5], counts)
    np.testing.assert_array_equal(found.sum((1, 2)), counts)
    ranked = jax.jit(ranks.ranks, static_argnames="counts")(
        saliency, KEYS[:5], counts=tuple(counts.tolist())
    )
    np.testing.assert_array_equal(found, ranked <= np.arange(5)[:, None, None])
