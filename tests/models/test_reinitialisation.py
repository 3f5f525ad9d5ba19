import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sdd_jax import models, trees
from sdd_jax.errors import InputError
from sdd_jax.models import inference
from sdd_jax.models.functional import split_model
from sdd_jax.models.reinitialisation import layers, reinitialised

POOLED = {"name": "pooled", "num_classes": 6}
IR = {"backbone": {"name": "ir_resnet", "arch": "ir_tiny"}, "head": POOLED}
DLIB = {"backbone": {"name": "dlib_resnet", "num_blocks": 5}, "head": POOLED}
KEY = jax.random.key(3)


def arrays_of(model):
    return {
        name: np.asarray(x) for name, x in trees.flat(split_model(model)[1]).items()
    }


def counted(description):
    """Return the described model; each array's values are 1, 2, 3, ..."""
    model = models.build(description)
    graphdef, arrays = split_model(model)

    def count(x):
        return jnp.arange(1, x.size + 1, dtype=x.dtype).reshape(x.shape)

    return nnx.merge(graphdef, nnx.State(jax.tree.map(count, arrays)))


@pytest.fixture(scope="module")
def ir():
    return counted(IR)


@pytest.mark.slow
def test_layers_go_from_the_head_to_the_input(ir, classifier):
    stages = ("stage4", "stage3", "stage2", "stage1")
    assert layers(ir) == ("head", *stages, "stem")
    assert layers(models.build(DLIB)) == ("head", "stage2", "stage1", "stem")
    assert layers(classifier) == ("head", "stage2", "stage1")  # it has no stem


@pytest.mark.slow
@pytest.mark.parametrize(
    ("description", "name", "start"),
    [
        (IR, "stage2", "backbone/body/1/"),
        (IR, "stem", "backbone/stem/"),
        (IR, "head", "head/"),
        (DLIB, "stage1", ("backbone/blocks/0/", "backbone/blocks/1", "backbone/blo")),
        (DLIB, "stage2", ("backbone/blocks/3/", "backbone/blocks/4/")),
    ],
)
def test_only_the_named_layer_changes_and_keeps_its_values(description, name, start):
    model = counted(description)
    before = arrays_of(model)
    after = arrays_of(reinitialised(model, [name], KEY))
    others = ("backbone/blocks/3/", "backbone/blocks/4/")
    for each, array in before.items():
        is_named = each.startswith(start)
        if name == "stage1":
            is_named = each.startswith(start) and not each.startswith(others)
        np.testing.assert_array_equal(np.sort(after[each].ravel()), array.ravel())
        assert (after[each] == array).all() != is_named, each
    for each, array in arrays_of(model).items():  # the model itself is as it was
        np.testing.assert_array_equal(array, before[each])


@pytest.mark.slow
def test_statistics_and_slopes_are_spoilt_too(ir):
    before, after = arrays_of(ir), arrays_of(reinitialised(ir, layers(ir), KEY))
    changed = {name for name, x in before.items() if (after[name] != x).any()}
    assert changed == before.keys()
    for last in ("mean", "var", "scale", "bias", "slope", "kernel", "offset"):
        assert any(name.endswith(f"/{last}") for name in changed)
    assert {"head/feature_mean", "head/feature_deviation"} <= changed


@pytest.mark.slow
def test_no_two_arrays_get_the_same_order(ir):
    after = arrays_of(reinitialised(ir, layers(ir), KEY))
    pairs = [
        (a, b)
        for a, b in itertools.combinations(after, 2)
        if after[a].size == after[b].size
    ]
    assert len(pairs) > 100
    for a, b in pairs:
        assert (after[a].ravel() != after[b].ravel()).any(), (a, b)


def test_a_layer_becomes_the_same_alone_and_among_others(ir):
    alone = arrays_of(reinitialised(ir, ["stage3"], KEY))
    among = arrays_of(reinitialised(ir, ["head", "stage4", "stage3"], KEY))
    other = arrays_of(reinitialised(ir, ["stage3"], jax.random.key(4)))
    for name in alone:
        if name.startswith("backbone/body/2/"):
            np.testing.assert_array_equal(alone[name], among[name])
            assert (alone[name] != other[name]).any()


@pytest.mark.slow
@pytest.mark.parametrize("description", [IR, DLIB])
def test_what_is_spoilt_can_be_folded_into_the_same_structure(description):
    model = models.build(description)
    model.head.kernel[...] = jax.random.normal(KEY, model.head.kernel.shape)
    spoilt = reinitialised(model, layers(model), KEY)
    folded = inference.folded(spoilt)
    assert split_model(folded)[0] == split_model(inference.folded(model))[0]
    size = model.spec.size
    images = jax.random.bits(KEY, (2, size, size, 3), jnp.uint8)
    expected, found = (m.logits(m.feature_maps(images)) for m in (spoilt, folded))
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, atol=1e-4 * scale)
    intact = model.logits(model.feature_maps(images))
    assert not np.allclose(intact, expected, atol=0.1 * scale)


def test_what_cannot_be_spoilt_is_refused(ir, classifier):
    with pytest.raises(
        InputError, match="^unknown layer 'stage9': expected one of hea"
    ):
        reinitialised(ir, ["stage9"], KEY)
    with pytest.raises(InputError, match="^the layers are none: expected at least one"):
        reinitialised(ir, [], KEY)
    with pytest.raises(InputError, match="^the model is folded.*: spoil it first"):
        layers(inference.folded(models.build(IR)))
    divided = models.placed(classifier)
    divided.head.is_divided = True
    with pytest.raises(
        InputError, match="^the head's classes are divided.*divide_head"
    ):
        reinitialised(divided, ["head"], KEY)
