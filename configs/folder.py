"""Your own people: dlib's network on a folder of <name>/<image files>.

    python main.py --config=configs/folder.py --config.data.root=photos --mode=all
    python main.py --config=configs/folder.py --config.data.root=photos   # train alone
    (and --mode=explain, --mode=eval)

Every person needs two images or more. Nothing looks for the face: each image is cut to
its middle square, so the face should fill it. Where it does not, align the folder first

    python -m sdd_jax.images.align photos photos_aligned

and give --config.data.root=photos_aligned. Needs: pip install 'sdd_jax[demo]' for the
network, and 'sdd_jax[align]' for aligning.
"""

import ml_collections

from configs import orl


def get_config() -> ml_collections.ConfigDict:
    """Return the embedded default with a folder of people in ORL's place."""
    config = orl.get_config()
    config.data = dict(
        source="folder",
        root="photos",
        # Of each person's images. With few of them none is held out to choose a
        # checkpoint by, and the last one is taken.
        validation_fraction=0.0,
        test_fraction=0.3,
        max_skipped=0.05,  # more damaged images than this stop the run
    )
    return config
