"""Where arrays live: the only file that speaks of devices.

There is one mesh axis, "data". The mesh is set once, by the process that runs the
program (`main.py`, or a library user); without one, everything stays on the default
device. One device and many take the same path.
"""

import os
from collections.abc import Callable
from typing import TypeVar

import jax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from sdd_jax.errors import InputError

Tree = TypeVar("Tree")


def make_mesh(num_devices: int | None = None) -> Mesh:
    """Return a mesh over the first `num_devices` devices (default: all of them).

    Axis types are Auto: with Explicit ones, JAX's default, gathers by sharded
    indices are errors.
    """
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


def check_batch_size(batch_size: int, name: str) -> None:
    """Raise InputError where a batch cannot be divided among the devices.

    Args:
        batch_size: pictures a batch, over all devices.
        name: what the user calls the setting, for the message.
    """
    if batch_size < 1 or batch_size % num_devices():
        raise InputError(
            f"{name} is {batch_size}, which cannot be shared equally by "
            f"{num_devices()} device(s): choose a positive multiple of {num_devices()}"
        )


def replicate(tree: Tree) -> Tree:
    """Put a whole copy of every array on every device."""
    return jax.device_put(tree, replicated())


def shard_batch(tree: Tree) -> Tree:
    """Divide every array's first axis among the devices.

    Each process passes its own part of the batch, as NumPy arrays.
    """
    sharding = NamedSharding(_current_mesh(), P("data"))
    return jax.tree.map(
        lambda x: jax.make_array_from_process_local_data(sharding, x), tree
    )


def shard_batches(tree: Tree) -> Tree:
    """Divide every array's second axis among the devices: [batches, batch, ...]."""
    sharding = NamedSharding(_current_mesh(), P(None, "data"))
    return jax.tree.map(
        lambda x: jax.make_array_from_process_local_data(sharding, x), tree
    )


def replicated() -> NamedSharding:
    """Return the sharding of arrays that every device has as a whole."""
    return NamedSharding(_current_mesh(), P())


def bytes_a_device() -> int:
    """Return the memory of a device, or its share of the host's where it has none."""
    device = _current_mesh().devices.flat[0]
    statistics = device.memory_stats() or {}
    if "bytes_limit" in statistics:
        return statistics["bytes_limit"]
    host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return host // jax.local_device_count()


def on_each_device(f: Callable[[jax.Array], jax.Array]) -> Callable[..., jax.Array]:
    """Return f, applied by every device to its own part of a batch.

    For programs whose steps depend on how many pictures a device has.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1:
        return f
    return jax.shard_map(f, in_specs=P("data"), out_specs=P("data"))
