import itertools
import subprocess
import sys
import threading

import numpy as np
import pytest

from sdd_jax.errors import InputError
from sdd_jax.images import pipeline
from sdd_jax.types import ImageSet


def numbered(num_images: int, broken: int = -1) -> ImageSet:
    """Return a set whose images show their own number."""

    def read(index: int) -> np.ndarray:
        if index == broken:
            raise InputError(f"{index}.png: cannot be read")
        return np.full((4, 4, 3), index + 1, np.uint8)

    return ImageSet(
        names=("ann", "bea", "cid"),
        files=tuple(f"{index}.png" for index in range(num_images)),
        labels=np.arange(num_images, dtype=np.int32) % 3,
        read=read,
    )


def train(image_set, num_steps, **options):
    defaults = {"batch_size": 4, "seed": 5, "start_step": 0}
    return list(
        pipeline.train_batches(image_set, num_steps=num_steps, **defaults | options)
    )


def stacked(batches, field: str = "indices") -> np.ndarray:
    return np.concatenate([getattr(batch, field) for batch in batches])


def assert_matches(batches, image_set) -> None:
    for batch in batches:
        assert batch.images.dtype == np.uint8
        assert batch.labels.dtype == batch.indices.dtype == np.int32
        assert batch.valid.dtype == bool
        shown = np.where(batch.valid, batch.indices + 1, 0)[:, None, None, None]
        np.testing.assert_array_equal(batch.images, shown + np.zeros((4, 4, 3)))
        own = image_set.labels[batch.indices[batch.valid]]
        np.testing.assert_array_equal(batch.labels[batch.valid], own)
        assert (batch.labels[~batch.valid] == 0).all()


def test_every_epoch_shows_every_image_once_in_an_order_of_its_own():
    image_set = numbered(10)
    batches = train(image_set, 10)
    assert_matches(batches, image_set)
    assert stacked(batches, "valid").all()
    epochs = stacked(batches).reshape(4, 10)
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(10))
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_another_seed_is_another_order():
    one, other = train(numbered(10), 5), train(numbered(10), 5, seed=6)
    assert (stacked(one) != stacked(other)).any()


@pytest.mark.parametrize("start_step", [0, 1, 3, 6, 7])
def test_a_resumed_run_goes_on_with_the_batches_it_would_have_had(start_step):
    whole = train(numbered(10), 7)
    rest = train(numbered(10), 7, start_step=start_step)
    assert len(rest) == 7 - start_step
    for field in ("images", "labels", "indices", "valid"):
        for one, other in zip(whole[start_step:], rest, strict=True):
            np.testing.assert_array_equal(getattr(one, field), getattr(other, field))


def test_a_longer_run_begins_with_the_batches_of_a_shorter_one():
    np.testing.assert_array_equal(
        stacked(train(numbered(10), 3)), stacked(train(numbered(10), 9)[:3])
    )


def test_a_set_smaller_than_a_batch_is_repeated_within_it():
    indices = stacked(train(numbered(3), 3)).reshape(-1, 3)
    np.testing.assert_array_equal(np.sort(indices, axis=1), [[0, 1, 2]] * 4)


@pytest.mark.parametrize("batches", [train, None])
def test_processes_together_make_the_batches_of_one_process(batches):
    def indices(batch_size, **sharding):
        options = {"batch_size": batch_size} | sharding
        if batches is None:
            found = pipeline.eval_batches(numbered(11), **options)
        else:
            found = train(numbered(11), 4, **options)
        return np.stack([batch.indices for batch in found])

    shards = [indices(3, process_index=p, process_count=2) for p in range(2)]
    np.testing.assert_array_equal(np.concatenate(shards, axis=1), indices(6))


def test_no_images_to_train_on_is_refused_at_once():
    with pytest.raises(InputError, match="no images to train on"):
        train(numbered(0), 1)


@pytest.mark.parametrize("num_images", [1, 5, 8, 9, 16])
@pytest.mark.parametrize("process_count", [1, 3])
def test_evaluation_sees_every_image_once_in_full_batches(num_images, process_count):
    image_set = numbered(num_images)
    shards = [
        list(
            pipeline.eval_batches(
                image_set,
                batch_size=4,
                process_index=process_index,
                process_count=process_count,
            )
        )
        for process_index in range(process_count)
    ]
    assert len({len(shard) for shard in shards}) == 1
    batches = [batch for step in zip(*shards, strict=True) for batch in step]
    assert_matches(batches, image_set)
    assert all(batch.images.shape == (4, 4, 4, 3) for batch in batches)
    indices, valid = stacked(batches), stacked(batches, "valid")
    np.testing.assert_array_equal(indices, np.arange(len(indices)))
    np.testing.assert_array_equal(valid, indices < num_images)


def test_an_empty_split_has_no_batches():
    assert list(pipeline.eval_batches(numbered(0), batch_size=4)) == []


def test_an_image_that_cannot_be_read_reaches_the_caller_as_one_line():
    # Not `match`, which would see the notes that Grain adds to a traceback.
    with pytest.raises(InputError) as caught:
        list(pipeline.eval_batches(numbered(10, broken=7), batch_size=2))
    assert str(caught.value) == "7.png: cannot be read"
    with pytest.raises(InputError) as caught:
        train(numbered(10, broken=7), 5)
    assert str(caught.value) == "7.png: cannot be read"


def test_closing_an_iterator_stops_its_threads():
    before = set(threading.enumerate())
    batches = pipeline.train_batches(
        numbered(10), batch_size=4, seed=0, start_step=0, num_steps=10**9
    )
    next(batches)
    started = set(threading.enumerate()) - before
    assert started
    batches.close()
    for thread in started:
        thread.join(timeout=10)
        assert not thread.is_alive()


@pytest.mark.slow
def test_a_process_ends_though_an_iterator_was_left_half_way():
    program = """
import numpy as np
from sdd_jax.images import pipeline
from sdd_jax.types import ImageSet
read = lambda index: np.zeros((4, 4, 3), np.uint8)
image_set = ImageSet(("ann",), ("a", "b"), np.zeros(2, np.int32), read)
batches = pipeline.train_batches(
    image_set, batch_size=2, seed=0, start_step=0, num_steps=10**9)
next(batches)
print("left")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "left\n", "")


def test_a_cached_set_reads_each_image_once_for_many_threads():
    reads = []
    image_set = numbered(6)

    def counted(index):
        reads.append(index)
        return image_set.read(index)

    counting = ImageSet(image_set.names, image_set.files, image_set.labels, counted)
    cached = pipeline.cached(counting)
    assert reads == []
    start = threading.Barrier(4)

    def read_all():
        start.wait()
        for index in range(6):
            cached.read(index)

    threads = [threading.Thread(target=read_all) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(reads) == list(range(6))
    np.testing.assert_array_equal(cached.read(4), image_set.read(4))
    assert (cached.names, cached.files) == (image_set.names, image_set.files)


def test_a_cached_image_cannot_be_changed():
    cached = pipeline.cached(numbered(2))
    with pytest.raises(ValueError, match="read-only"):
        cached.read(0)[:] = 0


def test_a_cached_failure_is_tried_again():
    failures = itertools.count()

    def read(index):
        if next(failures) == 0:
            raise InputError("not yet")
        return np.zeros((4, 4, 3), np.uint8)

    cached = pipeline.cached(ImageSet(("ann",), ("a",), np.zeros(1, np.int32), read))
    with pytest.raises(InputError, match="not yet"):
        cached.read(0)
    assert cached.read(0).shape == (4, 4, 3)


TWO = ImageSet(
    ("ann",), ("a", "b"), np.zeros(2, np.int32), lambda i: np.zeros((4, 4, 3), np.uint8)
)


@pytest.mark.parametrize("place", [-1, 2])
def test_the_place_of_no_image_is_refused(place):
    with pytest.raises(InputError, match=f"^image {place} was asked for, but there"):
        TWO.read(place)
    with pytest.raises(InputError, match=f"^image {place} was asked for, but there"):
        pipeline.subset(TWO, [0, place])


def test_a_batch_has_at_least_one_image():
    with pytest.raises(InputError, match="^batch_size is 0, expected a whole number"):
        list(pipeline.eval_batches(TWO, batch_size=0))


@pytest.mark.parametrize(
    ("name", "value"),
    [("batch_size", 0), ("seed", -1), ("start_step", -1), ("num_steps", -1)],
)
def test_batches_to_train_on_that_make_no_sense_are_refused(name, value):
    options = {"batch_size": 1, "seed": 0, "start_step": 0, "num_steps": 1}
    with pytest.raises(InputError, match=f"^{name} is {value}, expected a whole num"):
        pipeline.train_batches(TWO, **options | {name: value})
