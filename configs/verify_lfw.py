"""Verification on Labeled Faces in the Wild: its standard 6,000 pairs, in ten folds.

    python main.py --config=configs/verify_lfw.py --workdir=runs/pairs --mode=verify

Needs your own LFW, unpacked to data/lfw/<Name_Surname>/<Name_Surname>_0001.jpg, and its
pairs.txt at data/pairs.txt. Faces are found and aligned first; a pair with an image in
which none is found is left out and counted. LFW itself was not measured: the tests read
a small set in its layout.
"""

import ml_collections

from configs import verify


def get_config() -> ml_collections.ConfigDict:
    """Return SFace, whole and untrained, on the pairs of LFW's View 2."""
    config = verify.get_config()
    config.data = dict(source="lfw", root="data/lfw", groups="")
    config.verify.update(pairs="data/pairs.txt")
    return config
