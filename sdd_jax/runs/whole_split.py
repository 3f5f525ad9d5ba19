"""Compiled programs over a whole split: its images lie on the devices.

The images go to the devices as uint8, and a loop over batches runs inside a program,
which is launched once. A split that would fill the devices goes in few large chunks:
while they work on one, the next is read.
"""

import concurrent.futures
import dataclasses
import functools
import hashlib
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sdd_jax import distributed, sharding
from sdd_jax.images import pipeline
from sdd_jax.models import convolution
from sdd_jax.types import Batch, ImageSet

# Two chunks at a time, and what is made of them; the rest is the network's. Of 80 GB
# this is 20: 530,000 images of 112 x 112.
_SHARE_OF_MEMORY = 1 / 8


# From `loop`, for `launch`.
Program = Callable[..., tuple[Any, Any]]


@dataclasses.dataclass(frozen=True)
class Chunk:
    """Some batches of a split, on the devices."""

    images: Any  # uint8 [length, batch, height, width, 3]
    labels: Any  # int32 [length, batch]
    first: int  # the place of its first image in the split
    num_images: int  # without the padding at the end
    sha256: str  # of images and labels


def chunks(image_set: ImageSet, *, batch_size: int, length: int) -> Iterator[Chunk]:
    """Yield a split in chunks of `length` batches, the last one padded."""
    batches = pipeline.eval_batches(image_set, **sharding.share(batch_size))
    size = length * batch_size
    reader = concurrent.futures.ThreadPoolExecutor(1)
    try:
        following = reader.submit(_read, batches, length)
        for first in range(0, len(image_set), size):
            images, labels, hashes = following.result()
            on_devices = sharding.shard_batches((images, labels))
            del images, labels  # the host's copy goes before the next is read
            # Of all images, whatever process read them.
            hashes = sharding.to_host(sharding.shard_batches(hashes))
            sha256 = hashlib.sha256(hashes.tobytes()).hexdigest()
            if first + size < len(image_set):
                following = reader.submit(_read, batches, length)
            number = min(size, len(image_set) - first)
            yield Chunk(*on_devices, first, number, sha256)
    finally:
        reader.shutdown(wait=False, cancel_futures=True)


def loop(
    one_batch: Callable[[Any, Any, Any], tuple[Any, Any]], *, batch_size: int
) -> Program:
    """Return the jitted loop over a chunk's batches.

    Its arguments are `arrays`; `data`, a tree of arrays [length, batch, ...]; the place
    of the chunk's first image in the split; and the number of its images, which tells
    how many batches there are to compute. It returns what `one_batch` does, stacked.

    Args:
        one_batch: a pure function of what every batch needs, of a batch of `data`, and
            of the places of its images, int32 [batch]. It returns what is for the host,
            and what stays on the devices, [batch, ...].
        batch_size: images a batch, over all devices.
    """

    def program(arrays: Any, data: Any, first: Any, num_images: Any) -> Any:
        # Traced once, though it is asked for twice: for its shapes, and in the loop.
        @functools.partial(jax.jit, inline=True)
        def run(arrays: Any, data: Any, first: Any, i: Any) -> Any:
            places = first + i * batch_size + jnp.arange(batch_size, dtype=jnp.int32)
            return one_batch(arrays, jax.tree.map(lambda x: x[i], data), places)

        def step(i: Any, rows: Any) -> Any:
            put = functools.partial(jax.lax.dynamic_update_index_in_dim, axis=0)
            found = run(arrays, data, first, i)
            return jax.tree.map(lambda row, value: put(row, value, i), rows, found)

        length = len(jax.tree.leaves(data)[0])
        rows = jax.tree.map(
            lambda value: jnp.zeros((length, *value.shape), value.dtype),
            jax.eval_shape(run, arrays, data, first, 0),  # weak, as in the loop
        )
        num_batches = -(-num_images // batch_size)
        return jax.lax.fori_loop(0, num_batches, step, rows)

    shardings = (sharding.replicated(), sharding.divided_batches())
    return jax.jit(
        program,
        out_shardings=shardings,
        compiler_options=convolution.compiler_options(),
    )


def launch(program: Program, arrays: Any, data: Any, chunk: Chunk) -> tuple[Any, Any]:
    """Return what a program of `loop` makes of a chunk, the host's part as NumPy."""
    place, number = np.int32(chunk.first), np.int32(chunk.num_images)
    rows, kept = program(arrays, data, *sharding.replicate((place, number)))
    return _finished(rows), kept


def over_split(
    one_batch: Callable[[Any, Batch], Any],
    arrays: Any,
    image_set: ImageSet,
    *,
    batch_size: int,
    chunk_bytes: int | None = None,
) -> Any:
    """Return `one_batch(arrays, batch)` of all batches, stacked, as NumPy arrays.

    Args:
        one_batch: a pure function of what every batch needs, and of a batch.
        arrays: what every batch needs, such as a network's variables, where they are
            to be.
        image_set: the images, all of one size.
        batch_size: images a batch, over all devices; the last batch is filled up with
            images that are not valid.
        chunk_bytes: of images, a device; by default a share of its memory.

    Returns:
        A tree like `one_batch`'s, with one more axis in front: the batch.
    """

    def one(arrays: Any, data: Any, places: Any) -> tuple[Any, Any]:
        images, labels = data
        batch = Batch(images, labels, places, places < len(image_set))
        return one_batch(arrays, batch), ()

    length = batches_a_chunk(image_set, batch_size, chunk_bytes)
    program = loop(one, batch_size=batch_size)
    rows = [
        launch(program, arrays, (chunk.images, chunk.labels), chunk)[0]
        for chunk in chunks(image_set, batch_size=batch_size, length=length)
    ]
    num_batches = -(-len(image_set) // batch_size)
    return jax.tree.map(lambda *parts: np.concatenate(parts)[:num_batches], *rows)


def by_image(rows: Any, num_images: int) -> Any:
    """Return arrays [batches, batch, ...] as [images, ...], without the padding."""
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:num_images], rows)


def batches_a_chunk(
    image_set: ImageSet,
    batch_size: int,
    chunk_bytes: int | None = None,
    *,
    num_masks: int = 0,
) -> int:
    """Return how many batches go to the devices at a time: chunks of one length.

    With every image lie `num_masks` arrays of a byte a pixel.
    """
    num_batches = -(-len(image_set) // batch_size)
    if chunk_bytes is None:
        memory = sharding.device_memory() or sharding.host_memory()
        memory = distributed.from_first("the memory", lambda: memory)
        chunk_bytes = int(_SHARE_OF_MEMORY * memory)
    image = image_set.read(0)
    bytes_an_image = image.nbytes + num_masks * image.shape[0] * image.shape[1]
    bytes_a_batch = bytes_an_image * batch_size // sharding.num_devices()
    num_chunks = -(-num_batches // max(1, chunk_bytes // bytes_a_batch))
    return -(-num_batches // num_chunks)


def _read(
    batches: Iterator[Batch], length: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the next images and labels, and a hash of each, [length, batch, ...].

    The last chunk is filled up with zeros, which are never looked at.
    """
    first = next(batches)
    images = np.zeros((length, *first.images.shape), first.images.dtype)
    labels = np.zeros((length, *first.labels.shape), first.labels.dtype)
    hashes = np.zeros((*labels.shape, hashlib.sha256().digest_size), np.uint8)
    rest = itertools.islice(batches, length - 1)
    for place, batch in enumerate(itertools.chain([first], rest)):
        images[place], labels[place] = batch.images, batch.labels
        hashes[place] = [
            list(_digest(*row)) for row in zip(batch.images, batch.labels, strict=True)
        ]
    return images, labels, hashes


def _digest(image: np.ndarray, label: np.integer) -> bytes:
    facts = f"{image.shape} {label}".encode()
    return hashlib.sha256(facts + image.tobytes()).digest()


def _finished(rows: Any) -> Any:
    """Return the program's results once they are there.

    It looks for them now and then: a thread that only waited for a device would not
    hear Ctrl-C.
    """
    while not all(row.is_ready() for row in jax.tree.leaves(rows)):
        time.sleep(0.01)
    return jax.tree.map(np.asarray, rows)
