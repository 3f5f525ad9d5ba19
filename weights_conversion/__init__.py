"""Published weights <-> this project's checkpoints.

One file a format, each with a map that is complete by construction: every array of the
source is used, kept or named as dropped or passed over, every array of the model is
filled. No code from a source is ever run, and PyTorch is not needed in either
direction.

    python -m weights_conversion SOURCE OUTPUT [--arch=ir_101] [--head=pooled:530]
    python -m weights_conversion --to=torch CHECKPOINT OUTPUT.ckpt
"""

from weights_conversion.convert import Converted, convert, exists, locate, save
from weights_conversion.export import export

__all__ = ["Converted", "convert", "exists", "export", "locate", "save"]
