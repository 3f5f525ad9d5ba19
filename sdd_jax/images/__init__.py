"""1. Picture files -> batches of uint8 RGB, [batch, height, width, 3].

A source is a function `splits(*, image_size, seed, record, ...)` that returns the sets
"train", "validation" (which may be empty) and "test", all three with the same `names`;
its other options are keywords of its own. A source of the user's own files lists its
pictures and leaves the rest to `splitting.splits_of`, which keeps the split in the
folder `record`.
"""

from sdd_jax.images import facescrub, folder, lfw, orl, prepared, synthetic, tfds
from sdd_jax.images.preprocess import square_crop

SOURCES = {
    "orl": orl.splits,
    "folder": folder.splits,
    "facescrub": facescrub.splits,
    "lfw": lfw.splits,
    "prepared": prepared.splits,
    "tfds": tfds.splits,
    "synthetic": synthetic.splits,
}
# How a picture from elsewhere is made square, so that it looks like the source's own.
SQUARES = {
    "orl": orl.square,
    "folder": square_crop,
    "facescrub": square_crop,
    "lfw": lfw.square,
    "prepared": square_crop,
    "tfds": square_crop,
    "synthetic": square_crop,
}
