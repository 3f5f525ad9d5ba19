"""Published weights -> this project's checkpoints.

One file a format, each with a map that is complete by construction: every array of the
source is used or named as dropped, every array of the model is filled. No code from a
source is ever run.

    python -m weights_conversion SOURCE OUTPUT [--arch=ir_101] [--colour-order=RGB]
"""

from weights_conversion.convert import Converted, convert, exists, locate, save

__all__ = ["Converted", "convert", "exists", "locate", "save"]
