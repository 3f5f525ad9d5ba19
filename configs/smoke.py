"""What the tests run: a tiny network from scratch on drawn faces, in seconds.

    python main.py --config=configs/smoke.py --workdir=/tmp/smoke --mode=all

Nothing is downloaded, no extra is needed, and the numbers mean nothing.
"""

import ml_collections

from configs import orl


def get_config() -> ml_collections.ConfigDict:
    """Return the embedded default's config, made as small as it gets."""
    config = orl.get_config()
    config.data = dict(source="synthetic", num_identities=6, num_images=10)
    config.model = dict(
        backbone=dict(name="ir_resnet", arch="ir_tiny"),
        pretrained="",  # a random start
    )
    config.train.update(
        parts=".*",
        steps=6,
        batch_size=8,
        head_learning_rate=1e-2,
        backbone_learning_rate=1e-2,
        update_batch_stats=True,
        validate_every=3,
        log_every=2,
    )
    config.explain.update(methods=("sdd", "cam"), num_images=3, batch_size=8)
    config.eval.update(batch_size=8, num_resamples=100)
    config.compare.update(
        methods=("cam", "random_map"),
        mean_map_of="cam",
        curves=("mean",),
        fills=("black", "mean"),
        num_images=6,
        num_shown=2,
        num_squares=3,
        num_shifts=1,
        batch_size=8,
        num_resamples=100,
    )
    config.planted.update(
        methods=("cam", "random_map"),
        mean_map_of="cam",
        batch_size=8,
        num_resamples=100,
    )
    config.lookalikes.update(
        methods=("sdd", "cam"),
        num_pairs=2,
        num_faces=1,
        batch_size=8,
        num_resamples=100,
    )
    config.revise.update(
        method="sdd", num_clusters=3, num_shown=2, steps=2, batch_size=8
    )
    config.revise.num_resamples = 100
    config.sanity.update(
        methods=("cam", "random_map"),
        num_images=6,
        num_costly=2,
        batch_size=8,
        num_resamples=100,
    )
    config.verify.update(far=0.1, batch_size=8, num_resamples=50)
    config.explain_pair.update(num_rivals=2, num_resamples=40)
    config.identify.update(align=False, batch_size=8)
    config.prove_pairs.update(
        methods=("fine_similarity", "fine_distance", "centre"),
        people="all",
        num_pairs=3,
        num_games=4,
        costly=3.0,
        num_costly=3,
        batch_size=8,
        num_resamples=50,
    )
    config.ablate.update(
        parameters=("num_classes_compared",),
        fills=("black", "mean"),
        num_images=0,
        batch_size=8,
        num_resamples=100,
    )
    return config
