import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdd_jax import checks
from sdd_jax.errors import InputError


@pytest.mark.parametrize(
    ("allowed", "inside", "outside", "words"),
    [
        (
            checks.whole(1, 9),
            [1, 9, np.int64(3)],
            [0, 10, 3.0, True, np.True_, "3", None, math.nan, 10**400],
            "a whole number from 1 to 9",
        ),
        (
            checks.real(0, 1),
            [0, 1, 0.5, np.float32(1)],
            [-1e-9, 1.001, math.nan, math.inf, -math.inf, False, "0.5", None],
            "a number from 0 to 1",
        ),
        (
            checks.real(0, 1, above=True, below=True),
            [1e-9, 0.5],
            [0, 1, 0.0, 1.0],
            "a number between 0 and 1, both excluded",
        ),
        (
            checks.real(0, 1, below=True),
            [0, 0.999],
            [1, 1.0],
            "a number from 0 up to but not including 1",
        ),
        (
            checks.real(0, above=True),
            [1e-30, 3e38],
            [0, 4e38, math.inf],
            "a number above 0 and up to 3.4e+38",
        ),
        (
            checks.SEED,
            [0, 2**32 - 1],
            [-1, 2**32],
            "a whole number from 0 to 4294967295",
        ),
    ],
)
def test_numbers_are_those_in_their_words(allowed, inside, outside, words):
    assert [value for value in inside if value not in allowed] == []
    assert [value for value in outside if value in allowed] == []
    assert str(allowed) == words


@pytest.mark.parametrize(
    "values",
    [[0, 2], np.array([0, 2], np.uint8), jnp.array([0, 2]), np.array([0, 2], np.int64)],
)
def test_classes_come_back_as_int32(values):
    found = checks.classes(values, 3, "targets", (2,))
    assert isinstance(found, jax.Array) and found.dtype == jnp.int32
    np.testing.assert_array_equal(found, [0, 2])


@pytest.mark.parametrize("kind", [list, np.asarray, jnp.asarray])
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0, -1], r"^targets\[1\] is -1, expected a class from 0 to 2$"),
        ([3, 0], r"^targets\[0\] is 3, expected a class from 0 to 2$"),
        ([0.0, 1.0], r"^targets are float(32|64), expected classes: whole numbers"),
        ([True, False], "^targets are bool, expected classes: whole numbers"),
        ([0], r"^targets are of shape \(1,\), expected \(2\)$"),
        ([[0, 1]], r"^targets are of shape \(1, 2\), expected \(2\)$"),
    ],
)
def test_what_is_no_class_is_refused_by_its_place(kind, values, message):
    with pytest.raises(InputError, match=message):
        checks.classes(kind(values), 3, "targets", (2,))


def test_a_place_in_a_table_is_named_by_row_and_column():
    with pytest.raises(InputError, match=r"^classes\[1, 0\] is 9, .* from 0 to 2$"):
        checks.classes([[0, 1], [9, 1]], 3, "classes", (2, None))


def test_under_jit_only_type_and_shape_can_be_refused():
    jax.eval_shape(lambda x: checks.classes(x, 3, "targets", (2,)), jnp.array([9, -1]))
    with pytest.raises(InputError, match="^targets are float32"):
        jax.eval_shape(lambda x: checks.classes(x, 3, "targets", (2,)), jnp.ones(2))
    with pytest.raises(InputError, match=r"^targets are of shape \(3,\)"):
        jax.eval_shape(
            lambda x: checks.classes(x, 3, "targets", (2,)), jnp.zeros(3, int)
        )


@pytest.mark.parametrize("place", [-1, 2, 1.0, True])
def test_a_place_that_is_not_there_is_refused(place):
    checks.require_places([0, 1], 2, "image")
    with pytest.raises(InputError, match="was asked for, but there are 2: expected a"):
        checks.require_places([0, place], 2, "image")
