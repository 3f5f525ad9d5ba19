"""Other data: the fine-tuned network on Labeled Faces in the Wild, frozen, re-headed.

    python main.py --config=configs/finetune.py --workdir=runs/finetune
    python main.py --config=configs/lfw.py --workdir=runs/lfw --mode=all

The second command takes the network of runs/finetune as it is, trains a new head for
LFW's people on its features, and explains and evaluates that: do the maps still find
what matters in images from elsewhere? Needs your own LFW, unpacked to data/lfw/
<Name_Surname>/<Name_Surname>_0001.jpg, or TFDS's (pip install 'sdd_jax[tfds]'):

    python main.py --config=configs/lfw.py --workdir=runs/lfw --mode=all \\
      --config.data.root= --config.data.data_dir=FOLDER_OF_PREPARED_SETS

The experiment was not run, for want of the weights and the images; the tests run this
config on a small network and noise. Its limits:

- It is a closed set of 62 people, not LFW's verification of pairs, and its accuracy is
  not comparable with published ones. 530 of the 3,023 images are of one man.
- Many are famous: fine-tuning, or the pretraining before it, may have seen them.
- The images are cut, not aligned, and the network was fine-tuned on aligned faces.
  With aligned ones of your own in the same layout, give --config.data.crop=1.0.
"""

import ml_collections

from configs import finetune


def get_config() -> ml_collections.ConfigDict:
    """Return the paper's experiment with LFW's people and only the head to train."""
    config = finetune.get_config()
    config.data = dict(
        source="lfw",
        root="data/lfw",  # "" reads TFDS's set
        data_dir=ml_collections.config_dict.placeholder(str),  # TFDS's own folder
        crop=0.5,  # the detector's box is 1 / 2.2 of the image, and a margin
        # 62 people; each has at least 4 images for the test and 14 for the head.
        min_images=20,
        validation_fraction=0.1,  # 300 images
        test_fraction=0.2,  # 600 images: accuracy to within 2 points or so
        max_skipped=0.05,  # more damaged images than this stop the run
    )
    config.model.pretrained = "runs/finetune"
    config.train.update(
        parts="head",  # what is checked is the network, so nothing else may adapt
        steps=500,  # 30 times each of 2,100 images; seconds, on features kept
        head_learning_rate=1e-2,  # configs/orl.py's for a head on standardised features
        weight_decay=1e-2,  # likewise
        validate_every=100,  # five checkpoints to choose from
    )
    return config
