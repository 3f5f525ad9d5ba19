"""Where arrays live: the only file that speaks of devices.

There is one mesh axis, "data". The mesh is set once, by the process that runs the
program (`main.py`, or a library user); without one, everything stays on the default
device. One device and many take the same path.
"""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from sdd_jax import distributed
from sdd_jax.errors import InputError

Tree = TypeVar("Tree")

_CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")


def make_mesh(num_devices: int | None = None) -> Mesh:
    """Return a mesh over the first `num_devices` devices (default: all of them).

    Axis types are Auto: with Explicit ones, JAX's default, gathers by sharded
    indices are errors. Several processes' devices lie in the processes' order, so that
    each has one piece of a batch.
    """
    if distributed.count() > 1:
        if num_devices is not None:
            raise InputError(
                f"--num_devices is {num_devices}, but {distributed.count()} processes "
                f"use all of their devices: leave it out, or use one process"
            )
        devices = sorted(jax.devices(), key=lambda x: (x.process_index, x.id))
        return Mesh(np.array(devices), ("data",), axis_types=(AxisType.Auto,))
    devices = jax.devices()
    if num_devices is not None and not 1 <= num_devices <= len(devices):
        raise InputError(
            f"{num_devices} devices were asked for, but there are {len(devices)}: "
            f"choose between 1 and {len(devices)}"
        )
    devices = devices[:num_devices]
    return jax.make_mesh(
        (len(devices),), ("data",), axis_types=(AxisType.Auto,), devices=devices
    )


def _current_mesh() -> Mesh:
    mesh = jax.sharding.get_mesh()
    return make_mesh(1) if mesh.empty else mesh


def num_devices() -> int:
    """Return the number of devices on the current mesh."""
    return _current_mesh().size


def platform() -> str:
    """Return what the current mesh's devices are: "cpu", "gpu" or "tpu"."""
    return _current_mesh().devices.flat[0].platform


def check_batch_size(batch_size: int, name: str) -> None:
    """Raise InputError where a batch cannot be divided among the devices.

    Args:
        batch_size: images a batch, over all devices.
        name: what the user calls the setting, for the message.
    """
    if batch_size < 1 or batch_size % num_devices():
        raise InputError(
            f"{name} is {batch_size}, which cannot be shared equally by "
            f"{num_devices()} device(s): choose a positive multiple of {num_devices()}"
        )


def device_memory() -> int | None:
    """Return the bytes one device offers, or None where it does not say (CPUs)."""
    stats = _current_mesh().local_devices[0].memory_stats() or {}
    return stats.get("bytes_limit")


def host_memory() -> int:
    """Return the host's bytes for each of its devices, what a CPU's devices share.

    In a container, of what it may take.
    """
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):  # no container, or no limit: "max"
        total = min(total, int(_CONTAINER_LIMIT.read_text()))
    return total // jax.local_device_count()


def share(batch_size: int) -> dict[str, int]:
    """Return what of every batch this process reads, as `images.pipeline` takes it."""
    count = distributed.count()
    return {
        "batch_size": batch_size // count,
        "process_index": distributed.index(),
        "process_count": count,
    }


def replicate(tree: Tree) -> Tree:
    """Put a whole copy of every array on every device.

    Each process passes the same arrays.
    """
    if distributed.count() == 1:
        return jax.device_put(tree, replicated())
    return jax.tree.map(_replicated_array, tree)


def _replicated_array(x: Any) -> jax.Array:
    if isinstance(x, jax.Array) and not x.is_fully_addressable:
        return jax.device_put(x, replicated())
    if isinstance(x, jax.Array) and jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
        data = _replicated_array(jax.random.key_data(x))
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(x))
    # Not `device_put`: that sends the array around, to see that all have the same.
    x = np.asarray(x)
    return jax.make_array_from_callback(x.shape, replicated(), lambda place: x[place])


def to_host(tree: Tree) -> Tree:
    """Return every array as a whole, as NumPy, on every process."""

    def whole(x: Any) -> Any:
        if isinstance(x, jax.Array) and not (
            x.is_fully_addressable or x.is_fully_replicated
        ):
            x = jax.jit(lambda y: y, out_shardings=replicated())(x)
        return np.asarray(x)

    return jax.tree.map(whole, tree)


def shard_batch(tree: Tree) -> Tree:
    """Divide every array's first axis among the devices.

    Each process passes its own part of the batch, as NumPy arrays.
    """
    sharding = NamedSharding(_current_mesh(), P("data"))
    return jax.tree.map(
        lambda x: jax.make_array_from_process_local_data(sharding, x), tree
    )


def shard_batches(tree: Tree) -> Tree:
    """Divide every array's second axis among the devices: [batches, batch, ...].

    Each process passes its own part of every batch, as NumPy arrays.
    """
    sharding = divided_batches()
    return jax.tree.map(
        lambda x: jax.make_array_from_process_local_data(sharding, x), tree
    )


def divide_batches(tree: Tree) -> Tree:
    """Do as `shard_batches`, where each process has all of every array."""
    sharding = divided_batches()

    def divided(x: Any) -> jax.Array:
        return jax.make_array_from_callback(x.shape, sharding, lambda place: x[place])

    return jax.tree.map(divided, tree)


def divided_batches() -> NamedSharding:
    """Return the sharding of arrays that `shard_batches` divides."""
    return NamedSharding(_current_mesh(), P(None, "data"))


def replicated() -> NamedSharding:
    """Return the sharding of arrays that every device has as a whole."""
    return NamedSharding(_current_mesh(), P())


def on_each_device(f: Callable[..., Any]) -> Callable[..., Any]:
    """Return f, of trees of arrays, applied by every device to its part of a batch.

    For programs whose steps depend on how many images a device has.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1:
        return f
    return jax.shard_map(f, in_specs=P("data"), out_specs=P("data"))


def divide(array: Any, *, fill: float) -> jax.Array:
    """Divide an array's last axis among the devices, without a whole copy on any.

    Where it does not divide equally, `fill` makes up the end.
    """
    array = np.asarray(array)
    *others, length = array.shape
    padded = -(-length // num_devices()) * num_devices()

    def part(index: Any) -> np.ndarray:
        found = array[index]
        missing = len(range(*index[-1].indices(padded))) - found.shape[-1]
        widths = [(0, 0)] * len(others) + [(0, missing)]
        return np.pad(found, widths, constant_values=fill) if missing else found

    sharding = NamedSharding(_current_mesh(), _last_axis(array.ndim))
    return jax.make_array_from_callback((*others, padded), sharding, part)


def _last_axis(ndim: int) -> P:
    return P(*[None] * (ndim - 1), "data")


def map_parts(function: Callable[..., Tree], *divided: jax.Array, whole: Any) -> Tree:
    """Return what a function makes of each device's part, stacked along a new axis.

    Only `whole` and the results travel between the devices. The mesh must be set.

    Args:
        function: first, whole, *parts -> a tree of arrays; `first` is the place that
            the parts' last axis begins at.
        divided: arrays that `divide` made, of one length.
        whole: arrays that every device gets all of.
    """

    def on_one_device(whole: Any, *parts: jax.Array) -> Tree:
        first = jax.lax.axis_index("data") * parts[0].shape[-1]
        return jax.tree.map(lambda x: x[None], function(first, whole, *parts))

    return jax.shard_map(
        on_one_device,
        in_specs=(P(), *(_last_axis(array.ndim) for array in divided)),
        out_specs=P("data"),
    )(whole, *divided)
