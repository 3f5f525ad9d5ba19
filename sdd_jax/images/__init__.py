"""1. Picture files -> batches of uint8 RGB, [batch, height, width, 3].

A source is a function `splits(*, image_size, seed, ...)` that returns the sets "train",
"validation" (which may be empty) and "test", all three with the same `names`; its
other options are keywords of its own.
"""

from sdd_jax.images import folder, orl, synthetic
from sdd_jax.images.preprocess import square_crop

SOURCES = {"orl": orl.splits, "folder": folder.splits, "synthetic": synthetic.splits}
# How a picture from elsewhere is made square, so that it looks like the source's own.
SQUARES = {"orl": orl.square, "folder": square_crop, "synthetic": square_crop}
