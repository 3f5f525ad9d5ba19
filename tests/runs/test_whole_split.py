import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.counting import compilations, launches
from sdd_jax import sharding
from sdd_jax.images.sources import synthetic
from sdd_jax.runs.whole_split import batches_a_chunk, over_split


@pytest.fixture(scope="module")
def image_set():
    return synthetic.splits(image_size=16, num_identities=5, num_images=10, seed=0)[
        "train"
    ]


def one_batch(arrays, batch):
    brightness = batch.images.astype(jnp.float32).mean((1, 2, 3)) * arrays["factor"]
    return {
        "sum": jnp.where(batch.valid, brightness, 0.0).sum(),
        "rows": (brightness, batch.labels, batch.indices, batch.valid),
    }


def expected(image_set):
    return [
        2 * image_set.read(i).astype(np.float64).mean() for i in range(len(image_set))
    ]


def run(image_set, **options):
    return over_split(one_batch, {"factor": np.float32(2)}, image_set, **options)


def check(out, image_set, batch_size):
    brightness, labels, indices, valid = (row.reshape(-1) for row in out["rows"])
    number = len(image_set)
    assert valid.tolist() == [True] * number + [False] * (len(valid) - number)
    assert len(valid) == -(-number // batch_size) * batch_size
    assert indices.tolist() == list(range(len(valid)))
    np.testing.assert_array_equal(labels[valid], image_set.labels)
    np.testing.assert_allclose(brightness[valid], expected(image_set), rtol=1e-6)
    sums = [
        brightness[start : start + batch_size][valid[start : start + batch_size]].sum()
        for start in range(0, len(valid), batch_size)
    ]
    np.testing.assert_allclose(out["sum"], sums, rtol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 7, 8, 64])
def test_every_batch_is_computed_whatever_the_last_one_lacks(image_set, batch_size):
    check(run(image_set, batch_size=batch_size), image_set, batch_size)


@pytest.mark.parametrize("batches_that_fit", [0, 1, 2, 3, 100])
def test_a_split_that_does_not_fit_goes_in_chunks(image_set, batches_that_fit):
    chunk_bytes = batches_that_fit * 4 * 16 * 16 * 3 + 5
    with launches() as launched, compilations() as compiled:
        out = run(image_set, batch_size=4, chunk_bytes=chunk_bytes)
    check(out, image_set, 4)
    num_batches = -(-len(image_set) // 4)
    chunks = -(-num_batches // max(1, min(batches_that_fit, num_batches)))
    assert len(launched) == chunks
    assert len(compiled) == 1


def test_eight_devices_give_what_one_gives(image_set):
    if jax.device_count() < 8:
        pytest.skip("needs eight (virtual) devices")
    with jax.set_mesh(sharding.make_mesh(8)):
        with launches() as launched, compilations() as compiled:
            out = run(image_set, batch_size=8)
    check(out, image_set, 8)
    assert len(launched) == len(compiled) == 1


def test_what_fits_is_an_eighth_of_the_devices_memory(image_set, monkeypatch):
    assert batches_a_chunk(image_set, 8) == -(-len(image_set) // 8)
    batch = 8 * 16 * 16 * 3  # bytes
    monkeypatch.setattr(sharding, "device_memory", lambda: 8 * 2 * batch + 7)
    assert batches_a_chunk(image_set, 8) == 2
    with jax.set_mesh(sharding.make_mesh(2)):
        assert batches_a_chunk(image_set, 8) == 4
    # A CPU does not tell its memory: the host's is its.
    monkeypatch.setattr(sharding, "device_memory", lambda: None)
    monkeypatch.setattr(sharding, "host_memory", lambda: 8 * 3 * batch)
    assert batches_a_chunk(image_set, 8) == 2  # of four at most three: two and two
