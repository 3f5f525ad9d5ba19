"""The paper: AdaFace IR-101 (WebFace12M), fine-tuned on FaceScrub's 530 identities.

    python -m weights_conversion PUBLISHED weights/adaface_ir101_webface12m
    python main.py --config=configs/finetune.py --workdir=runs/finetune
    python main.py --config=configs/finetune.py --workdir=runs/finetune --mode=explain
    python main.py --config=configs/finetune.py --workdir=runs/finetune --mode=eval

Needs your own copies of the weights and of FaceScrub, as aligned 112x112 faces in
data/facescrub/<identity>/<file>: neither may be shipped, so this project has not run
the experiment; the tests run this config on a small network and drawn faces.

The paper states the network, the data, AdamW, 96.33 % accuracy on 4,494 test pictures
and the 20 % of the evaluation. All other numbers here are this project's choice.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    """Return the paper's experiment."""
    config = ml_collections.ConfigDict()
    config.seed = 0
    config.data = dict(
        source="folder",
        root="data/facescrub",
        validation_fraction=0.05,
        test_fraction=0.1,
    )
    config.model = dict(
        backbone=dict(name="ir_resnet", arch="ir_101", dtype="float32"),
        pretrained="weights/adaface_ir101_webface12m",
    )
    config.train = dict(
        parts=".*",
        steps=12_000,
        batch_size=128,
        warmup_fraction=0.05,
        head_learning_rate=1e-3,
        backbone_learning_rate=1e-4,
        weight_decay=5e-2,
        clip_norm=1.0,
        label_smoothing=0.1,
        # The published statistics come from 12 million pictures.
        update_batch_stats=False,
        augmentation=dict(
            mirror=0.5,
            max_shift=4,
            max_gain=0.2,
            # A network that never saw a masked picture falls for any mask.
            masking=0.5,
            max_masked=0.5,
        ),
        validate_every=1000,
        log_every=50,
        cache_images=False,
    )
    config.saliency = dict(
        sdd=dict(
            num_classes_compared=5,
            centre=True,
            scale=ml_collections.config_dict.placeholder(float),  # adaptive
            amplification=ml_collections.config_dict.placeholder(float),  # adaptive
        ),
        cam=dict(centre=True),
    )
    config.explain = dict(
        images="",  # files, folders or names of pictures; "" takes from the split
        split="test",
        num_images=12,
        fraction=0.2,
        batch_size=16,
        seed=0,
    )
    config.eval = dict(
        split="test",
        methods=("sdd", "cam", "random_map", "random_pixels", "centre"),
        fills=("black", "mean"),
        fraction=0.2,
        batch_size=128,
        num_resamples=2000,
        seed=0,
    )
    return config
