"""How a step hands over what it has measured, and what it knows of its device."""

import json
from typing import Any

import jax


def put(**row: Any) -> None:
    """Print a row, at once: what comes later may be cut off."""
    print(json.dumps(row), flush=True)


def kind() -> str:
    """Return what JAX calls the kind of the device that is measured."""
    return jax.devices()[0].device_kind


def peak_memory() -> int | None:
    """Return the most bytes the device has held for this process, where it says so."""
    return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
