"""The paper: AdaFace IR-101 (WebFace12M), fine-tuned on FaceScrub's 530 identities.

    python -m weights_conversion PUBLISHED weights/adaface_ir101_webface12m
    python -m sdd_jax.images.align YOUR_COPY data/facescrub_aligned --boxes=YOUR_COPY
    python main.py --config=configs/finetune.py --workdir=runs/finetune
    python main.py --config=configs/finetune.py --workdir=runs/finetune --mode=explain
    python main.py --config=configs/finetune.py --workdir=runs/finetune --mode=eval

Needs your own copies of the weights and of FaceScrub: neither may be shipped, so this
project has not run the experiment. It has run these commands on generated files of the
same layouts and of the network's full size.

"Paper" marks what the paper states. It publishes none of its hyper-parameters: every
other number is this project's choice, carried over from the embedded default
(configs/orl.py) or computed from the sizes of network and data, not tuned on FaceScrub.
"""

import ml_collections

from configs import orl
from sdd_jax.saliency import METHODS


def get_config() -> ml_collections.ConfigDict:
    """Return the paper's experiment."""
    config = ml_collections.ConfigDict()
    config.seed = 0  # of the split, the order of the images and the augmentation
    # What explain and eval convolve in: float32, bfloat16, or as trained where None.
    config.compute_dtype = ml_collections.config_dict.placeholder(str)
    config.data = dict(
        source="facescrub",
        # Aligned faces; photographs with the published lists do as well, unaligned.
        root="data/facescrub_aligned",
        # Paper: 4,494 test images, which are 4.2 % of FaceScrub's 106,863.
        test_fraction=0.042,
        validation_fraction=0.05,  # some 5,000: 0.3 points are a standard error
        max_skipped=0.05,  # more damaged images than this stop the run
    )
    config.model = dict(
        # Paper: "ResNet-100", which is IR-101. Parameters, normalisation statistics,
        # head and losses stay in float32; bfloat16 has float32's range, so no loss
        # scaling. On a CPU use float32: it is faster there.
        backbone=dict(name="ir_resnet", arch="ir_101", dtype="bfloat16"),
        # Paper: AdaFace trained on WebFace12M. Its embedding layer is left out; global
        # average pooling and a linear layer with 530 outputs (paper) start fresh, on
        # features brought to zero mean and unit deviation.
        pretrained="weights/adaface_ir101_webface12m",
    )
    config.train = dict(
        parts=".*",  # backbone and head; the paper says "fine-tuned", not which parts
        # The head that answers must be the paper's linear one; arcface and adaface are
        # margins on cosines, for training from scratch (docs/many_machines.md).
        loss="softmax",
        # The statistics of all batch norms stay the published ones, of 12 million
        # images: a batch of 128 of 530 people would only make them worse.
        update_batch_stats=False,
        batch_size=128,  # over all devices, each takes its share
        # True computes every residual unit twice and keeps only what goes into it: a
        # third more work for less than half of the activations' memory. No number
        # changes, so it is for a batch that does not fit.
        remat=False,
        # Each device has a part of the identities: True, False, or where the head and
        # what training keeps of it take more than a quarter of a device's memory.
        divide_head=ml_collections.config_dict.placeholder(bool),
        steps=12_000,  # 16 epochs of some 97,000 images
        warmup_fraction=0.05,  # Adam's second moments settle in some hundred steps
        # Then cosine decay to 0. A pretrained backbone must move less than a head
        # that starts at zero: a tenth.
        head_learning_rate=1e-3,
        backbone_learning_rate=1e-4,
        # Paper: AdamW. Decay off norms, biases and slopes; times the learning rate,
        # 5e-2 takes 3 % off the backbone's filters in all.
        weight_decay=5e-2,
        clip_norm=1.0,  # of the whole gradient: one bad batch cannot undo the start
        label_smoothing=0.1,  # of scores at 1.0 everywhere, every drop is the same
        augmentation=dict(
            mirror=0.5,  # share of the images; faces are nearly symmetric
            max_shift=4,  # pixels of 112: what landmarks are uncertain by
            max_gain=0.2,  # brightness and contrast
            # A network that never saw a masked image falls for any mask, and
            # deletion would prove nothing: half the images lose up to half.
            masking=0.5,
            max_masked=0.5,
        ),
        validate_every=1000,  # and save: twelve times in all
        log_every=50,
        cache_images=False,  # 4 GB of aligned images; set it if the host has them
    )
    # Losses on explanations: none of the paper's; see docs/guided.md.
    config.train.guidance = orl.get_config().train.guidance
    config.saliency = dict(
        sdd=dict(
            num_classes_compared=5,  # paper
            centre=True,  # what all classes share changes no prediction
            # Paper: adaptive, F in [number of rivals, 50] and alpha in [0.2, 0.4].
            scale=ml_collections.config_dict.placeholder(float),
            amplification=ml_collections.config_dict.placeholder(float),
            upsample_first=False,  # the exponential on the network's own grid
        ),
        cam=dict(centre=True),
    )
    config.explain = dict(
        images="",  # files, folders or names of images; "" takes from the split
        output="",  # a folder of the workdir; "" names it after the images
        split="test",
        num_images=12,
        methods=("sdd", "cam", "fine_sdd"),  # the first is tested by masking
        fraction=0.2,  # paper
        batch_size=16,
        seed=0,  # of ties
    )
    config.eval = dict(
        split="test",
        # Paper: SDD and random maps. CAM is what SDD narrows, and a centred Gaussian
        # knows only that faces are in the middle.
        methods=("sdd", "cam", "random_map", "random_pixels", "centre"),
        # Paper: pixels set to 0. Black alone rewards any mask for being unnatural.
        fills=("black", "mean"),
        fraction=0.2,  # paper
        batch_size=128,
        num_resamples=2000,  # 95 % intervals to a tenth of their width
        seed=0,
    )
    # Beyond the paper: every method of this library, by whole curves.
    config.compare = dict(
        split="test",
        methods=tuple(METHODS),
        reference="cam",
        mean_map_of="fine_cam",
        curves=("mean", "linear"),
        fills=("black", "mean", "blur", "linear"),
        fraction=0.2,
        num_images=1000,  # evenly spaced over the split
        costly=100.0,  # forward passes
        num_costly=200,
        num_shown=24,
        batch_size=128,
        num_squares=20,  # of infidelity, an image
        num_shifts=3,  # of max_sensitivity
        num_resamples=2000,
        seed=0,
    )
    # Also beyond the paper: the embedded default's experiments, on more images.
    experiments = orl.get_config()
    for name, more in (
        ("sanity", dict(num_images=200, num_costly=50, batch_size=50)),
        ("ablate", dict(num_images=500, batch_size=128)),
        ("planted", dict(batch_size=128)),
        ("lookalikes", dict(batch_size=128)),
        ("revise", dict(steps=1000, batch_size=128)),
        ("verify", dict(batch_size=128)),
        ("identify", dict(batch_size=128)),
        ("explain_pair", {}),
        ("prove_pairs", dict(num_pairs=200, num_games=400, batch_size=64)),
    ):
        config[name] = experiments[name]
        config[name].update(more)
    return config
