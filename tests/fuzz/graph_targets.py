"""SFace's network as a graph, some of whose 88 operations are others."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np
from sface_graph import drawn_graph
from target import Target

from weights_conversion import sface
from weights_conversion.onnx_files import Graph

# What the reader of ONNX may give.
_ATTRIBUTES = (None, 0, -1, 1, 2**70, 0.5, float("nan"), float("inf"), (), (1, 1, 1, 1))
_TENSORS = tuple(
    np.broadcast_to(kind(value), shape)
    for kind in (np.float32, np.int64)
    for value in (0, 127.5, 2**40)
    for shape in ((), (1,), (32,), (1, 1, 1, 1), (128, 49 * 1024))
) + (np.full(32, np.nan, np.float32), np.full(1, np.inf, np.float32))
_KINDS = ("Conv", "Add", "PRelu", "Gemm", "", "é\n")


@functools.cache
def _graph() -> Graph:
    return drawn_graph()


def changed(contents: bytes) -> Graph:
    """Return the graph with a change for every three bytes: where, what, into what."""
    found = _graph()
    nodes, tensors = list(found.nodes), dict(found.tensors)
    inputs, outputs = list(found.inputs), list(found.outputs)
    for where, what, value in zip(*(iter(contents[:60]),) * 3, strict=False):
        place = where % len(nodes) if nodes else 0
        names = (*nodes[place].inputs, *nodes[place].outputs) if nodes else ("x",)
        name = names[value % len(names)]
        change = what % 8
        if change == 0:
            del nodes[place : place + value % 3]
        elif change == 1:
            nodes[place:place] = nodes[value % 88 :][: value % 3]
        elif change == 2:
            tensors[name] = _TENSORS[value % len(_TENSORS)]
        elif change == 3:
            tensors.pop(name, None)
        elif change == 4:
            (inputs, outputs)[value % 2][where % 4 :] = [name]
        elif nodes:
            node = nodes[place]
            key = list(node.attributes)[where % 3 :][:1] or ["group"]
            content = _ATTRIBUTES[value % len(_ATTRIBUTES)]
            changes: tuple[dict[str, Any], ...] = (
                {"kind": _KINDS[value % len(_KINDS)]},
                {"attributes": node.attributes | {key[0]: content}},
                {"inputs": (*node.inputs, name)[value % 3 :]},
            )
            nodes[place] = dataclasses.replace(node, **changes[change - 5])
    return Graph(tuple(nodes), tensors, tuple(inputs), tuple(outputs))


def _seeds() -> list[bytes]:
    return [bytes([number, number % 8, 5 * number % 256]) for number in range(88)]


def _read(contents: bytes, folder: Path) -> None:
    sface.variables_of(changed(contents))


TARGETS = (Target("SFace graphs", _seeds, _read),)
