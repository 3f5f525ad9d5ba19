"""One compiled program over a whole split, launched once.

The pictures go to the devices as uint8, and a loop over batches runs inside the
program. A split that would fill the devices goes in few large chunks through the same
program: while it works on one, the next is read and sent.
"""

import functools
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sdd_jax import sharding
from sdd_jax.images import pipeline
from sdd_jax.types import Batch, ImageSet

# Two chunks at a time; the rest is the network's. Of 80 GB this is 20: 530,000
# pictures of 112 x 112.
_SHARE_OF_MEMORY = 1 / 8


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
        image_set: the pictures, all of one size.
        batch_size: pictures a batch, over all devices; the last batch is filled up with
            pictures that are not valid.
        chunk_bytes: of pictures, a device; by default a share of its memory.

    Returns:
        A tree like `one_batch`'s, with one more axis in front: the batch.
    """
    length = batches_a_chunk(image_set, batch_size, chunk_bytes)
    program = split_program(one_batch, batch_size=batch_size, length=length)
    return run_program(program, arrays, image_set, batch_size=batch_size, length=length)


def split_program(
    one_batch: Callable[[Any, Batch], Any], *, batch_size: int, length: int
) -> Callable[..., Any]:
    """Return the jitted loop over a chunk of `length` batches.

    Its arguments are `arrays`; images, uint8 [length, batch, height, width, 3]; labels,
    int32 [length, batch]; the number of the chunk's first batch; and the number of
    pictures in the split, which tells how many batches there are to compute.
    """

    def program(
        arrays: Any, images: Any, labels: Any, first: Any, num_images: Any
    ) -> Any:
        def batch_of(i: Any) -> Batch:
            places = (first + i) * batch_size + jnp.arange(batch_size, dtype=jnp.int32)
            return Batch(images[i], labels[i], places, places < num_images)

        def step(i: Any, rows: Any) -> Any:
            out = one_batch(arrays, batch_of(i))
            put = functools.partial(jax.lax.dynamic_update_index_in_dim, axis=0)
            return jax.tree.map(lambda row, value: put(row, value, i), rows, out)

        shapes = jax.eval_shape(lambda: one_batch(arrays, batch_of(0)))
        rows = jax.tree.map(
            lambda value: jnp.zeros((length, *value.shape), value.dtype), shapes
        )
        num_batches = jnp.minimum(length, -(-num_images // batch_size) - first)
        return jax.lax.fori_loop(0, num_batches, step, rows)

    return jax.jit(program, out_shardings=sharding.replicated())


def run_program(
    program: Callable[..., Any],
    arrays: Any,
    image_set: ImageSet,
    *,
    batch_size: int,
    length: int,
) -> Any:
    """Return what `over_split` does, from a program that `split_program` returned."""
    num_batches = -(-len(image_set) // batch_size)
    done, running = [], None
    batches = pipeline.eval_batches(image_set, batch_size=batch_size)
    for first in range(0, num_batches, length):
        # No name for the host's copy: it goes as soon as the devices have theirs.
        images, labels = sharding.shard_batches(_next_chunk(batches, length))
        if running is not None:
            done.append(_finished(running))
        counts = sharding.replicate((np.int32(first), np.int32(len(image_set))))
        running = program(arrays, images, labels, *counts)
    done.append(_finished(running))
    return jax.tree.map(lambda *rows: np.concatenate(rows)[:num_batches], *done)


def batches_a_chunk(
    image_set: ImageSet, batch_size: int, chunk_bytes: int | None = None
) -> int:
    """Return how many batches go to the devices at a time: chunks of one length."""
    num_batches = -(-len(image_set) // batch_size)
    if chunk_bytes is None:
        chunk_bytes = int(
            _SHARE_OF_MEMORY * (sharding.device_memory() or sharding.host_memory())
        )
    picture = image_set.read(0).nbytes
    bytes_a_batch = picture * batch_size // sharding.num_devices()
    num_chunks = -(-num_batches // max(1, chunk_bytes // bytes_a_batch))
    return -(-num_batches // num_chunks)


def _next_chunk(batches: Iterator[Batch], length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the next pictures and labels, [length, batch, ...].

    The last chunk is filled up with zeros, which are never looked at.
    """
    first = next(batches)
    images = np.zeros((length, *first.images.shape), first.images.dtype)
    labels = np.zeros((length, *first.labels.shape), first.labels.dtype)
    rest = itertools.islice(batches, length - 1)
    for place, batch in enumerate(itertools.chain([first], rest)):
        images[place], labels[place] = batch.images, batch.labels
    return images, labels


def _finished(rows: Any) -> Any:
    """Return the program's results once they are there.

    It looks for them now and then: a thread that only waited for a device would not
    hear Ctrl-C.
    """
    while not all(row.is_ready() for row in jax.tree.leaves(rows)):
        time.sleep(0.01)
    return jax.tree.map(np.asarray, rows)
