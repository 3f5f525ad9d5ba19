from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from small_options import OPTIONS

from sdd_jax import sharding
from sdd_jax.errors import InputError
from sdd_jax.faithfulness import grid
from sdd_jax.faithfulness.study import study
from sdd_jax.models.functional import join_model, split_model
from sdd_jax.saliency import METHODS, bind_methods
from sdd_jax.types import Batch

pytestmark = pytest.mark.skipif(
    jax.device_count() != 8, reason="conftest.py makes eight devices of the CPU only"
)


def test_a_mesh_has_one_automatic_axis_over_all_devices():
    mesh = sharding.make_mesh()
    assert mesh.axis_names == ("data",)
    assert mesh.axis_types == (AxisType.Auto,)
    assert mesh.devices.tolist() == jax.devices()


def test_a_mesh_takes_the_first_devices():
    assert sharding.make_mesh(3).devices.tolist() == jax.devices()[:3]


@pytest.mark.parametrize("count", [-1, 0, 9])
def test_as_many_devices_as_there_are_can_be_had(count):
    with pytest.raises(InputError, match=f"^{count} devices .* choose between 1 and 8"):
        sharding.make_mesh(count)


def test_of_several_processes_no_devices_are_left_out(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 4)
    with pytest.raises(
        InputError, match="^--num_devices is 2, but 4 processes use all"
    ):
        sharding.make_mesh(2)


def test_each_process_reads_its_share_of_a_batch(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 4)
    monkeypatch.setattr(jax, "process_index", lambda: 3)
    share = {"batch_size": 8, "process_index": 3, "process_count": 4}
    assert sharding.share(32) == share


def test_what_is_divided_comes_to_the_host_whole():
    with jax.set_mesh(sharding.make_mesh()):
        given = np.arange(32.0).reshape(2, 16)
        there = sharding.divide_batches({"a": given})
        assert isinstance(there["a"], jax.Array)
        assert there["a"].addressable_shards[0].data.shape == (2, 2)
        np.testing.assert_array_equal(sharding.to_host(there)["a"], given)


@pytest.mark.parametrize(("limit", "share"), [("16000\n", 2000), ("max\n", None)])
def test_a_containers_limit_is_the_hosts_memory(tmp_path, monkeypatch, limit, share):
    machine = sharding.host_memory()
    assert 2**26 < machine < 2**45
    file = tmp_path / "memory.max"
    file.write_text(limit)
    monkeypatch.setattr(sharding, "_CONTAINER_LIMIT", file)
    assert sharding.host_memory() == (share or machine)  # of each of eight devices


def test_without_a_mesh_there_is_one_device():
    assert sharding.num_devices() == 1
    numbers: Any = np.arange(3)  # on the host; what comes back is on devices
    assert sharding.shard_batch(numbers).devices() == {jax.devices()[0]}
    assert sharding.replicate(numbers).devices() == {jax.devices()[0]}


def test_the_mesh_that_is_set_is_the_one_used():
    with jax.set_mesh(sharding.make_mesh(4)):
        assert sharding.num_devices() == 4


def test_a_batch_is_divided_among_the_devices():
    images: Any = np.arange(16 * 3).reshape(16, 3)
    with jax.set_mesh(sharding.make_mesh()):
        sharded = sharding.shard_batch({"images": images})["images"]
    for place, shard in enumerate(sharded.addressable_shards):
        np.testing.assert_array_equal(shard.data, images[2 * place : 2 * place + 2])
    np.testing.assert_array_equal(sharded, images)


def test_a_replica_is_whole_on_every_device():
    weights: Any = np.arange(6.0).reshape(2, 3)
    with jax.set_mesh(sharding.make_mesh()):
        copies = sharding.replicate([weights])[0].addressable_shards
    assert len(copies) == 8
    for copy in copies:
        np.testing.assert_array_equal(copy.data, weights)


def test_a_batch_must_divide_among_the_devices():
    with jax.set_mesh(sharding.make_mesh(4)):
        sharding.check_batch_size(12, "eval.batch_size")
        for size in (-4, 0, 2, 10):
            with pytest.raises(
                InputError,
                match=f"^eval.batch_size is {size}, .* by 4 device.* multiple of 4$",
            ):
                sharding.check_batch_size(size, "eval.batch_size")


def test_any_batch_fits_one_device():
    sharding.check_batch_size(7, "eval.batch_size")


# Their masks have fractions: where a sum in another order differs in its last bit, a
# masked pixel may be rounded the other way.
ROUNDED = ("score_cam", "rise")


def studied(classifier, images, names, num_devices):
    graphdef, arrays = split_model(classifier)
    batch = Batch(
        np.asarray(images), np.zeros(8, np.int32), np.arange(8), np.ones(8, bool)
    )

    @jax.jit
    def program(arrays, batch):
        return study(
            join_model(graphdef, arrays),
            batch,
            methods=bind_methods(names, OPTIONS),
            wanted=grid(("black", "mean"), (0.2,)),
            seed=0,
        )

    with jax.set_mesh(sharding.make_mesh(num_devices)):
        out = program(sharding.replicate(arrays), sharding.shard_batch(batch))
        saliency = out["explanations"][names[0]].saliency
        assert len(saliency.devices()) == num_devices
        return out


@pytest.mark.slow
def test_eight_devices_compute_what_one_does(classifier, images):
    names = tuple(name for name in METHODS if name not in ROUNDED)
    one, eight = (studied(classifier, images, names, n) for n in (1, 8))
    # Where a map is flat but for rounding, rounding decides which pixel is masked, and
    # then what comes of the mask differs, too.
    ranks = one.pop("ranks"), eight.pop("ranks")
    differs = np.asarray(ranks[0]) != np.asarray(ranks[1])
    assert differs.mean() < 1e-3
    same = ~differs.any((2, 3))[:, None]  # [methods, 1, images]
    assert same.mean() > 0.95
    for results in (one, eight):
        results["perturbed"] = jax.tree.map(
            lambda x: np.where(same, x, 0), results["perturbed"]
        )
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(eight), strict=True):
        if jnp.issubdtype(a.dtype, jnp.floating):
            # The compiler orders the sums of one image and of eight differently. What
            # is made of differences between confidences is as exact as these are.
            atol = 1e-6 * max(1, abs(a).max())
            np.testing.assert_allclose(a, b, rtol=0, atol=atol)
        else:
            np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_eight_devices_round_masked_pixels_almost_as_one_does(classifier, images):
    one, eight = (
        studied(classifier, images, ROUNDED, n)["explanations"] for n in (1, 8)
    )
    for name in ROUNDED:
        a, b = (np.asarray(each[name].saliency) for each in (one, eight))
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-3 * abs(a).max())
