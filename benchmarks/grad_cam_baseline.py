"""The same job with pytorch-grad-cam, as somebody who knows the package would do it.

Everything that the package has is the package's: Grad-CAM, the scaling of maps, the
thresholds, the perturbed images and their confidences. Everything is batched. Its
masks are percentiles, so ties make them larger or smaller than a fifth.

Given a `Folded`, it is tuned as the package allows: no batch norms, channels last, and
a gradient that stops at the last unit's own bias. Given a `Network` it is as it was
loaded, with gradients. The package's metrics return a difference of confidences unless
they are told not to, and for it each call passes the intact images through the
network once more: that, one image at a time, is what its documentation shows.
"""

import contextlib
import sys
import types
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.torch_by_hand import SCHEMES, Effects
from benchmarks.torch_network import Folded, Network, normalised

HOW_TO_GET_IT = (
    "no pytorch-grad-cam: pip install torch==2.13.0 grad-cam==1.5.7 to measure it"
)
_BLACK = -1.0  # a normalised pixel of 0


def can_be_imported() -> bool:
    """Return whether pytorch-grad-cam and what it needs are installed."""
    _ensure_torchvision()
    try:
        import pytorch_grad_cam  # noqa: F401
    except ImportError:
        return False
    return True


def explain_and_evaluate(
    network: Folded | Network,
    images: Tensor,
    *,
    batch_size: int,
    fraction: float = 0.2,
    seed: int = 0,
    return_diff: bool = False,
) -> dict[str, Any]:
    """Return the mean effects of deletion and retention for grad_cam and random_map.

    Result and other arguments are those of `torch_by_hand.explain_and_evaluate`.

    Args:
        network: a `Folded` or a `Network`.
        images, batch_size, fraction, seed: as there.
        return_diff: passed on to the package's metrics, whose default is True.
    """
    _ensure_torchvision()
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.metrics.perturbation_confidence import (
        PerturbationConfidenceMetric,
        RemoveLeastRelevantFirst,
        RemoveMostRelevantFirst,
    )
    from pytorch_grad_cam.utils.image import scale_cam_image
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget

    perturbations = (
        RemoveMostRelevantFirst(100 * (1 - fraction), _paint_black),
        RemoveLeastRelevantFirst(100 * fraction, _paint_black),
    )
    rng = np.random.default_rng(seed)
    totals = Effects(("grad_cam", "random_map"))
    layer, dtype = network.body[-1], torch.float32
    if isinstance(network, Folded):
        # A gradient must reach the last maps, and need not go deeper.
        network.body[-1].conv2.bias.requires_grad_(True)
        layer, dtype = network.maps, network.dtype
    with GradCAM(model=network, target_layers=[layer]) as grad_cam:
        for batch in images.split(batch_size):
            x = normalised(batch, dtype)
            cams = grad_cam(input_tensor=x, targets=None)
            scores = grad_cam.outputs.detach().softmax(1)
            confidence, prediction = scores.max(1)
            targets = [ClassifierOutputSoftmaxTarget(c) for c in prediction.tolist()]
            grid = grad_cam.activations_and_grads.activations[0].shape[2:]
            noise = np.float32(rng.random((len(batch), *grid)))
            maps = {
                "grad_cam": cams,
                "random_map": scale_cam_image(noise, tuple(batch.shape[2:0:-1])),
            }
            for method, saliency in maps.items():
                for scheme, perturbation in zip(SCHEMES, perturbations, strict=True):
                    logits = []

                    def recorded(x: Tensor, logits: list[Tensor] = logits) -> Tensor:
                        logits.append(network(x))
                        return logits[-1]

                    # It gives confidences only; the same pass has the predictions.
                    metric = PerturbationConfidenceMetric(perturbation)
                    metric(x, saliency, targets, recorded, return_diff=return_diff)
                    masked = logits[-1].softmax(1)
                    totals.add(method, scheme, confidence, prediction, masked)
    if isinstance(network, Folded):
        network.body[-1].conv2.bias.requires_grad_(False)
    return totals.means()


def _paint_black(x: Tensor, kept: Tensor) -> Tensor:
    return torch.where(kept.bool(), x, _BLACK)


def _ensure_torchvision() -> None:
    """Put an empty module in torchvision's place where it cannot be imported.

    pytorch-grad-cam imports it for a few names that nothing here calls, and
    torchvision's build in the registry does not fit PyTorch's build for CPUs: it fails
    with "operator torchvision::nms does not exist".
    """
    with contextlib.suppress(ImportError, RuntimeError):
        import torchvision  # noqa: F401

        return
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    for name, contents in (
        ("torchvision", ()),
        ("torchvision.transforms", ("Compose", "Normalize", "ToTensor")),
        ("torchvision.transforms.functional", ("resize",)),
    ):
        sys.modules[name] = types.ModuleType(name)
        for content in contents:
            setattr(sys.modules[name], content, None)
