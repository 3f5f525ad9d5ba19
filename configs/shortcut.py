"""A shortcut that is known: poor faces, and a sharp mark in most images of some people.

    python main.py --config=configs/shortcut.py --workdir=runs/shortcut
    python main.py --config=configs/shortcut.py --workdir=runs/shortcut --mode=revise

The first trains a network that leans on the marks; the second finds what it leans on
and, once you have named what is forbidden, trains it to look elsewhere.
"""

import ml_collections

from configs import orl


def get_config() -> ml_collections.ConfigDict:
    """Return the embedded default with marks in the images of 20 of the 40 people."""
    config = orl.get_config()
    config.data = dict(
        source="shortcut",
        of="orl",
        num_marked=20,
        share=0.9,  # of their images show the mark
        strength=0.9,
        # In good faces dlib's network does not learn the marks: it knows faces already.
        detail=8,
        num_train=5,
        num_validation=1,
    )
    config.train.update(
        parts="head|backbone/blocks/[6789]/",
        steps=90,
        batch_size=24,
        backbone_learning_rate=1e-3,
        validate_every=90,
    )
    config.train.augmentation.update(mirror=0.0, masking=0.0)
    return config
