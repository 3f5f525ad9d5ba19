"""One photograph -> the aligned crop of one face, and what is to be said about it.

Images are uint8 RGB, [height, width, 3]; boxes are [x1, y1, x2, y2] in pixels of the
photograph as it is seen, that is after a rotation that its file asks for.
"""

from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from sdd_jax.errors import InputError
from sdd_jax.images.alignment import similarity
from sdd_jax.images.alignment.detectors import Detector, Faces

# In pixels of a 112 x 112 crop, where the eyes are 35 apart. All 400 of the ORL faces,
# looking to the side included, stay below 6; beyond this the points are no face's.
MAX_RESIDUAL = 10.0


def aligned(
    pixels: UInt8[np.ndarray, "height width 3"],
    detect: Detector,
    *,
    size: int,
    min_score: float,
    box: Float[np.ndarray, "4"] | None = None,
) -> tuple[UInt8[np.ndarray, "{size} {size} 3"], dict[str, Any]]:
    """Return the crop of one face, and its box, landmarks, score and residual.

    Args:
        pixels: The photograph.
        detect: What finds faces.
        size: Height and width of the crop, in pixels.
        min_score: Faces that are less certain do not count.
        box: Where the wanted face is; of several faces the largest unless given.

    Raises:
        InputError: There is no such face, or its landmarks are not those of a face.
    """
    faces = detect(pixels)
    certain = faces.scores >= min_score
    faces = Faces(*(values[certain] for values in faces))
    if not len(faces.scores):
        raise InputError(f"no face found with a score of at least {min_score:g}")
    index = _largest(faces.boxes) if box is None else _at(faces.boxes, box)
    landmarks, target = faces.landmarks[index], similarity.template()
    matrix = similarity.similarity_transform(landmarks, target)
    residual = similarity.residual(landmarks, target, matrix)
    if residual > MAX_RESIDUAL:
        raise InputError(
            f"the landmarks miss those of a face by {residual:.1f} pixels of 112; "
            f"expected at most {MAX_RESIDUAL:g}"
        )
    matrix = similarity.similarity_transform(landmarks, similarity.template(size))
    return similarity.warp(pixels, matrix, size), {
        "box": np.round(faces.boxes[index].astype(float), 2).tolist(),
        "landmarks": np.round(landmarks.astype(float), 2).tolist(),
        "score": round(float(faces.scores[index]), 4),
        "num_faces": len(faces.scores),
        "residual": round(residual, 3),
    }


def _largest(boxes: Float[np.ndarray, "n 4"]) -> int:
    return int(np.prod(boxes[:, 2:] - boxes[:, :2], 1).argmax())


def _at(boxes: Float[np.ndarray, "n 4"], box: Float[np.ndarray, "4"]) -> int:
    """Return the face that has most in common with a box.

    Raises:
        InputError: None has anything in common with it.
    """
    low, high = np.maximum(boxes[:, :2], box[:2]), np.minimum(boxes[:, 2:], box[2:])
    common = np.prod(np.maximum(high - low, 0), 1)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], 1) + np.prod(box[2:] - box[:2])
    if not common.any():
        raise InputError(
            f"none of the {len(boxes)} faces found overlaps the box {box.tolist()}"
        )
    return int((common / (areas - common)).argmax())
