"""ImageSet -> Batches of NumPy arrays, read ahead by Grain's threads.

A batch is a function of the set, the seed and its number, so an interrupted run is
continued by asking for the batches that are left. Batches are cut before they are
shared out: the batches of all processes, one after another, are the batch of a single
process that is as large. Images come out as they are read; nothing is augmented and
nothing is put on a device.
"""

import dataclasses
import hashlib
import threading
from collections.abc import Generator, Sequence

import grain
import numpy as np
from jaxtyping import Bool, Integer, UInt8

from sdd_jax import checks
from sdd_jax.errors import InputError
from sdd_jax.types import Batch, ImageSet

# A thread reads a whole batch, so this is also how many batches are held ready.
NUM_THREADS = 4


def train_batches(
    image_set: ImageSet,
    *,
    batch_size: int,
    seed: int,
    start_step: int,
    num_steps: int,
    process_index: int = 0,
    process_count: int = 1,
    num_threads: int = NUM_THREADS,
) -> Generator[Batch]:
    """Return the batches of steps `start_step` to `num_steps` - 1, shuffled.

    Each epoch has an order of its own. Epochs follow each other without a gap: a batch
    may hold the end of one and the beginning of the next, and no image is left out.

    Args:
        image_set: The images.
        batch_size: Images a step and process.
        seed: What decides the orders.
        start_step: How many steps were already taken; a fresh run has 0.
        num_steps: How many steps the whole run has, those taken included.
        process_index: Which process this is.
        process_count: How many there are; a step takes a batch for each.
        num_threads: How many batches are read at once.

    Raises:
        InputError: There are no images, a number makes no sense, or (while iterating)
            an image cannot be read.
    """
    for name, value, allowed in (
        ("batch_size", batch_size, checks.whole(1)),
        ("seed", seed, checks.SEED),
        ("start_step", start_step, checks.whole(0)),
        ("num_steps", num_steps, checks.whole(0)),
    ):
        checks.require(value, allowed, name)
    if not len(image_set):
        raise InputError("no images to train on; expected at least one")
    numbers = grain.MapDataset.range(len(image_set)).seed(seed).shuffle().repeat()
    batches = numbers.batch(batch_size)[process_index::process_count]
    return _read_ahead(image_set, batches[start_step:num_steps], num_threads)


def eval_batches(
    image_set: ImageSet,
    *,
    batch_size: int,
    process_index: int = 0,
    process_count: int = 1,
) -> Generator[Batch]:
    """Return every image once over all processes, in order.

    All processes get the same number of full batches. What is missing at the end is
    black images of label 0 that are not valid; their indices go on counting.

    Raises:
        InputError: The batch has no image, or (while iterating) one cannot be read.
    """
    checks.require(batch_size, checks.whole(1), "batch_size")
    num_steps = -(-len(image_set) // (batch_size * process_count))
    numbers = grain.MapDataset.range(num_steps * batch_size * process_count)
    batches = numbers.batch(batch_size)[process_index::process_count]
    return _read_ahead(image_set, batches, NUM_THREADS)


def sha256(image_set: ImageSet) -> str:
    """Return a hash of all pixels, in the images' order."""
    digest = hashlib.sha256()
    for place in range(len(image_set)):
        digest.update(image_set.read(place).tobytes())
    return digest.hexdigest()


def cached(image_set: ImageSet) -> ImageSet:
    """Return the same set, which reads and decodes each image once and keeps it.

    The cost is size * size * 3 bytes of memory for each image that was asked for:
    68 kB at 150 x 150, so 100,000 images fill 7 GB. The arrays are shared between
    callers and therefore read-only. An image that fails is tried again next time.
    """
    images: dict[int, np.ndarray] = {}
    # One lock an image: with a single one the threads would read in turn.
    locks = [threading.Lock() for _ in range(len(image_set))]

    def read(index: int) -> UInt8[np.ndarray, "size size 3"]:
        with locks[index]:
            if index not in images:
                image = image_set.read(index)
                image.flags.writeable = False
                images[index] = image
            return images[index]

    return dataclasses.replace(image_set, read=read)


def subset(image_set: ImageSet, indices: Sequence[int]) -> ImageSet:
    """Return only the images at these places, in this order."""
    chosen = list(indices)
    checks.require_places(chosen, len(image_set), "image")
    region = image_set.region
    return dataclasses.replace(
        image_set,
        files=tuple(image_set.files[index] for index in chosen),
        labels=image_set.labels[chosen],
        read=lambda place: image_set.read(chosen[place]),
        region=region and (lambda place: region(chosen[place])),
    )


def joined(image_sets: Sequence[ImageSet]) -> ImageSet:
    """Return sets of the same people one after the other.

    They have regions where all of them do.
    """
    ends = np.cumsum([len(each) for each in image_sets])

    def part(place: int) -> tuple[ImageSet, int]:
        which = int(np.searchsorted(ends, place, side="right"))
        return image_sets[which], place - int(ends[which]) + len(image_sets[which])

    def read(place: int) -> UInt8[np.ndarray, "size size 3"]:
        image_set, place = part(place)
        return image_set.read(place)

    def region(place: int) -> Bool[np.ndarray, "size size"]:
        image_set, place = part(place)
        return image_set.region(place)

    return ImageSet(
        names=image_sets[0].names,
        files=sum((each.files for each in image_sets), ()),
        labels=np.concatenate([each.labels for each in image_sets]),
        read=read,
        region=region if all(each.region for each in image_sets) else None,
    )


def without_images(image_set: ImageSet) -> ImageSet:
    """Return the same labels with a single black pixel in place of every image."""
    return dataclasses.replace(
        image_set, read=lambda index: np.zeros((1, 1, 3), np.uint8), region=None
    )


def _read_ahead(
    image_set: ImageSet, batches: grain.MapDataset, num_threads: int
) -> Generator[Batch]:
    """Yield a batch for each array of image numbers, in order."""
    options = grain.ReadOptions(
        num_threads=num_threads, prefetch_buffer_size=num_threads
    )
    iterator = iter(
        batches.map(lambda indices: _batch(image_set, indices)).to_iter_dataset(options)
    )
    try:
        yield from iterator
    finally:
        # Whoever stops half-way must not wait for images nobody will look at.
        iterator.close()


def _batch(image_set: ImageSet, indices: Integer[np.ndarray, " batch"]) -> Batch:
    """Return the images at `indices`; those past the end are padding, of no region."""
    valid = indices < len(image_set)
    first = image_set.read(int(indices[0]) if valid[0] else 0)
    images = np.zeros((len(indices), *first.shape), np.uint8)
    labels = np.zeros(len(indices), np.int32)
    region = image_set.region
    regions = None if region is None else np.zeros(images.shape[:3], bool)
    for place in np.flatnonzero(valid):
        index = int(indices[place])
        images[place] = image_set.read(index) if place else first
        labels[place] = image_set.labels[index]
        if regions is not None:
            regions[place] = region(index)
    return Batch(images, labels, indices.astype(np.int32), valid, regions)
