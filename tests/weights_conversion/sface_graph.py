"""The structure of SFace's network as a graph, without its 37 MB of weights."""

import numpy as np

from sdd_jax.models.sface import BLOCKS
from weights_conversion.onnx_files import Graph, Node


def drawn_graph():
    """Return a graph of the published structure, its weights views of one number."""
    nodes, tensors = [], {}

    def add(kind, *shapes, **attributes):
        names = [f"{len(nodes)}.{place}" for place in range(len(shapes))]
        for name, shape in zip(names, shapes, strict=True):
            tensors[name] = np.broadcast_to(np.float32(0.5), shape)
        before = nodes[-1].outputs[0] if nodes else "data"
        out = f"out{len(nodes)}"
        nodes.append(Node(kind, (before, *names), (out,), attributes))

    def layer(shape, stride=1, group=1):
        pads = (shape[-1] // 2,) * 4
        add("Conv", shape, pads=pads, strides=(stride, stride), group=group)
        add("BatchNormalization", *[shape[:1]] * 4, epsilon=0.001)
        add("PRelu", (shape[0], 1, 1))

    add("Sub", (1,))
    add("Mul", (1,))
    tensors["0.0"], tensors["1.0"] = np.full(1, 127.5, "f4"), np.full(1, 1 / 128, "f4")
    layer((32, 3, 3, 3))
    before = 32
    for features, stride in BLOCKS:
        layer((before, 1, 3, 3), stride, before)
        layer((features, before, 1, 1))
        before = features
    add("BatchNormalization", *[(1024,)] * 4, epsilon=2e-5)
    add("Dropout", ratio=0.4)
    add("Flatten")
    add("Gemm", (128, 49 * 1024), (128,), transB=1)
    add("BatchNormalization", *[(128,)] * 4, epsilon=2e-5)
    return Graph(tuple(nodes), tensors, ("data", *tensors), nodes[-1].outputs)
