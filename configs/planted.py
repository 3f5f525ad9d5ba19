"""Evidence that is known: ORL's faces, some told apart by a planted mark alone.

    python main.py --config=configs/planted.py --workdir=runs/planted
    python main.py --config=configs/planted.py --workdir=runs/planted --mode=planted

The first trains a network that has to look at the marks; the second measures that it
does, and then which methods show them.
"""

import ml_collections

from configs import orl


def get_config() -> ml_collections.ConfigDict:
    """Return the embedded default with marks in the images of 24 of the 40 people."""
    config = orl.get_config()
    config.data = dict(
        source="planted",
        of="orl",
        num_pairs=6,  # pairs of twins, each with a mark of their own
        num_fours=3,  # pairs of pairs of twins, who share two marks
        strength=0.9,
        num_train=5,
        num_validation=0,
    )
    # To see a new mark takes more of the network, and more steps, than to know faces.
    config.train.update(
        parts="head|backbone/blocks/[6789]/",
        steps=300,
        backbone_learning_rate=1e-3,
    )
    config.train.augmentation.update(
        mirror=0.0,  # a mark has its place
        masking=0.0,  # and is never hidden: else nothing would tell twins apart
    )
    return config
