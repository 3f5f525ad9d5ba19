"""From a classifier to its inference form."""

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from sdd_jax import sharding
from sdd_jax.errors import InputError
from sdd_jax.models.classifier import FaceClassifier, replicated
from sdd_jax.models.dlib_resnet import DlibResNet
from sdd_jax.models.inference.dlib import FoldedDlibResNet
from sdd_jax.models.inference.ir import FoldedIRResNet
from sdd_jax.models.inference.sface import FoldedSFaceNet
from sdd_jax.models.ir_resnet import IRResNet
from sdd_jax.models.sface import SFaceNet

DTYPES = ("float32", "bfloat16")  # of convolutions; float16 overflows in such networks


def check_dtype(dtype: DTypeLike | None) -> None:
    """Raise InputError where convolutions in this dtype are not on offer."""
    name = dtype if isinstance(dtype, str | None) else jnp.dtype(dtype).name
    if name not in (None, *DTYPES):
        raise InputError(f"compute_dtype is {name!r}, expected {' or '.join(DTYPES)}")


def folded(
    model: FaceClassifier, *, dtype: DTypeLike | None = None, platform: str = ""
) -> FaceClassifier:
    """Return a model that answers as this one does, faster, and cannot be trained.

    A backbone without an inference form stays as it is, but for the dtype.

    Args:
        model: with the statistics its batch normalisation shall use.
        dtype: what convolutions multiply in, float32 or bfloat16; as the model does
            where None. Pooling, head and softmax are float32 either way.
        platform: "cpu", "gpu" or "tpu", what it is to run on; the mesh's where "".

    Raises:
        InputError: convolutions in this dtype are not on offer.
    """
    check_dtype(dtype)
    backbone = model.backbone
    is_tiled = (platform or sharding.platform()) == "cpu"
    size = model.spec.size
    if isinstance(backbone, IRResNet):
        dtype = jnp.dtype(dtype or backbone.stem.conv.dtype)
        backbone = FoldedIRResNet(backbone, size, dtype=dtype, is_tiled=is_tiled)
    elif isinstance(backbone, DlibResNet):
        dtype = jnp.dtype(dtype or jnp.float32)
        backbone = FoldedDlibResNet(backbone, size, dtype=dtype, is_tiled=is_tiled)
    elif isinstance(backbone, SFaceNet):
        dtype = jnp.dtype(dtype or backbone.stem.conv.dtype)
        backbone = FoldedSFaceNet(backbone, size, dtype=dtype, is_tiled=is_tiled)
    elif dtype is not None:
        backbone = nnx.clone(backbone)
        for _, module in nnx.iter_graph(backbone):
            if isinstance(module, nnx.Conv):
                module.dtype = jnp.dtype(dtype)
    return FaceClassifier(model.spec, replicated(backbone), model.head)
