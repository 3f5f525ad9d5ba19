"""Nested dicts of arrays: their arrays by name, and what tells one from another."""

import hashlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def names_as_text(tree: Any) -> Any:
    """Return the tree with list positions, which are whole numbers, as text."""
    if isinstance(tree, Mapping):
        return {str(name): names_as_text(value) for name, value in tree.items()}
    return tree


def names_like(tree: Any, example: Any) -> Any:
    """Return the tree with its names as they are in the example."""
    if isinstance(example, Mapping):
        return {
            name: names_like(tree[str(name)], value) for name, value in example.items()
        }
    return tree


def flat(tree: Any) -> dict[str, Any]:
    """Return each array by its name, such as head/kernel."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]
    }


def nested(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Undo `flat`."""
    tree: dict[str, Any] = {}
    for name, leaf in arrays.items():
        *folders, last = name.split("/")
        inner = tree
        for folder in folders:
            inner = inner.setdefault(folder, {})
        inner[last] = leaf
    return tree


def facts_of(tree: Any) -> dict[str, dict[str, Any]]:
    """Return each array's shape, dtype and SHA-256 by its name."""
    arrays = {name: np.asarray(leaf) for name, leaf in flat(tree).items()}
    return {
        name: {
            "shape": list(array.shape),
            "dtype": array.dtype.name,
            "sha256": hashlib.sha256(bytes_of(array)).hexdigest(),
        }
        for name, array in arrays.items()
    }


def bytes_of(array: np.ndarray) -> memoryview:
    """Return an array's bytes; not a copy, where they lie in order."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def dtype_of(name: str) -> np.dtype:
    """Return a dtype by the name that `facts_of` gives it."""
    return np.dtype(jnp.dtype(name))  # NumPy alone knows no bfloat16


def shapes(tree: Any) -> dict[str, str]:
    """Return each array's shape and dtype by its name."""
    return {
        name: f"{tuple(leaf.shape)} {np.dtype(leaf.dtype).name}"
        for name, leaf in flat(tree).items()
    }
