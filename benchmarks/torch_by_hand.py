"""Explaining and evaluating in PyTorch, written by hand to be fast.

The job is the paper's: for every image one clean pass, SDD and a random map, and the
most salient fifth of each removed and kept alone, in black: five forward passes.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import torch_dlib
from benchmarks.torch_network import Folded, Network

SCHEMES = ("deletion", "retention")


def sdd(
    network: Folded | Network | torch_dlib.Network,
    feature_maps: Tensor,
    logits: Tensor,
    size: int,
    *,
    num_compared: int = 5,
) -> Tensor:
    """Return scaled directed divergence of the predicted class, [batch, size, size].

    F and alpha are adaptive and the class weights centred, as `sdd_jax.saliency.sdd`
    does it, whose documentation says what each line is for.
    """
    classes = logits.topk(num_compared, 1).indices
    weight = network.head.weight
    weights = (weight[classes] - weight.mean(0)) / network.feature_deviation
    maps = torch.einsum("bfhw,bcf->bchw", feature_maps.float(), weights)
    common = maps.abs().amax((1, 2, 3), keepdim=True)
    maps = maps / torch.where(common > 0, common, 1.0)
    target, rivals = maps[:, 0], maps[:, 1:].sum(1)
    ratio = rivals.abs().mean((1, 2)) / target.abs().mean((1, 2))
    scale = ratio.nan_to_num(0.0).clamp(num_compared - 1, 50.0)[:, None, None]
    divergence = scale * target - rivals
    largest = divergence.amax((1, 2), keepdim=True)
    span = largest - divergence.amin((1, 2), keepdim=True)
    exponent = (2.0 / span).clamp(0.2, 0.4) * (divergence - largest)
    return upsample(exponent.exp(), size)


def upsample(maps: Tensor, size: int) -> Tensor:
    """Return [batch, rows, columns] maps at `size` pixels, by the half-pixel rule."""
    maps = F.interpolate(maps[:, None], size=(size, size), mode="bilinear")
    return maps[:, 0]


def most_salient(saliency: Tensor, fraction: float) -> Tensor:
    """Return True at exactly the `fraction` largest values of every image."""
    flat = saliency.flatten(1)
    chosen = flat.topk(round(fraction * flat.shape[1]), 1, sorted=False).indices
    return (
        torch.zeros_like(flat, dtype=torch.bool)
        .scatter_(1, chosen, True)
        .view_as(saliency)
    )


@torch.inference_mode()
def explain_and_evaluate(
    network: Folded | torch_dlib.Network,
    images: Tensor,
    *,
    batch_size: int,
    fraction: float = 0.2,
    seed: int = 0,
) -> dict[str, Any]:
    """Return the mean effects of deletion and retention, per cent.

    The result is {method: {scheme: {metric: number}}} for the methods sdd and
    random_map, the metrics confidence_drop and prediction_change, and black fill.

    Args:
        network: the classifier.
        images: uint8 RGB, [images, height, width, 3], where the network is.
        batch_size: images a forward pass.
        fraction: the share of pixels that is masked.
        seed: of the random maps.
    """
    generator = torch.Generator(images.device).manual_seed(seed)
    totals = Effects(("sdd", "random_map"))
    for batch in images.split(batch_size):
        maps = network.feature_maps(network.normalised(batch))
        logits = network.logits(maps)
        confidence, prediction = logits.softmax(1).max(1)
        noise = torch.rand(maps[:, 0].shape, generator=generator, device=images.device)
        size = batch.shape[1]
        saliency = {
            "sdd": sdd(network, maps, logits, size),
            "random_map": upsample(noise, size),
        }
        for method, values in saliency.items():
            salient = most_salient(values, fraction)
            for scheme, kept in zip(SCHEMES, (~salient, salient), strict=True):
                masked = network.normalised(batch * kept[..., None])
                scores = network(masked).softmax(1)
                totals.add(method, scheme, confidence, prediction, scores)
    return totals.means()


class Effects:
    """Sums of what masking does, over batches."""

    def __init__(self, methods: tuple[str, ...]):
        """Start at no images."""
        # Tensors from the first batch on: a number would wait for the device.
        self.sums: dict[str, dict[str, dict[str, Any]]] = {
            method: {
                scheme: {"confidence_drop": 0.0, "prediction_change": 0.0}
                for scheme in SCHEMES
            }
            for method in methods
        }
        self.num_images = dict.fromkeys(methods, 0)

    def add(
        self,
        method: str,
        scheme: str,
        confidence: Tensor,
        prediction: Tensor,
        masked_scores: Tensor,
    ) -> None:
        """Add a batch.

        Args:
            method: whose mask it was.
            scheme: which of SCHEMES.
            confidence: of the clean prediction, [batch].
            prediction: the class predicted on the clean images, [batch].
            masked_scores: [batch, classes].
        """
        masked = masked_scores.gather(1, prediction[:, None])[:, 0]
        drop = 100 * ((confidence - masked) / confidence).clamp(min=0)
        change = 100.0 * (masked_scores.argmax(1) != prediction)
        sums = self.sums[method][scheme]
        sums["confidence_drop"] += drop.double().sum()
        sums["prediction_change"] += change.double().sum()
        self.num_images[method] += len(drop) if scheme == SCHEMES[0] else 0

    def means(self) -> dict[str, Any]:
        """Return the means over all images."""
        return {
            method: {
                scheme: {
                    metric: float(value) / self.num_images[method]
                    for metric, value in metrics.items()
                }
                for scheme, metrics in schemes.items()
            }
            for method, schemes in self.sums.items()
        }
