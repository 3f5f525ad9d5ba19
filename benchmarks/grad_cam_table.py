"""Eight methods' maps and their curves with pytorch-grad-cam, written to be fast.

The maps are the package's own, in batches, Score-CAM's and Ablation-CAM's masked passes
too. It has no curves of exact fractions, so these are written by hand: an image's
pixels are put in order once, each masked batch is one `torch.where` on normalised
images, and what all methods share, the intact images and the filled ones, is scored
once. Everything that needs no gradient runs in inference mode, channels last.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from benchmarks import torch_dlib, torch_network
from benchmarks.grad_cam_baseline import can_be_imported
from benchmarks.torch_network import Folded
from benchmarks.watch import Watch
from sdd_jax.faithfulness.perturbations import Outcome, Perturbation
from sdd_jax.faithfulness.ranks import num_masked
from sdd_jax.models.ir_resnet import ARCHITECTURES

METHODS = {
    "grad_cam": "GradCAM",
    "grad_cam_plus_plus": "GradCAMPlusPlus",
    "hires_cam": "HiResCAM",
    "xgrad_cam": "XGradCAM",
    "layer_cam": "LayerCAM",
    "eigen_cam": "EigenCAM",
    "score_cam": "ScoreCAM",
    "ablation_cam": "AblationCAM",
}
WITHOUT_GRADIENTS = ("eigen_cam", "score_cam", "ablation_cam")
# Score-CAM holds a masked image a channel of each; its passes are batched besides.
_IMAGES_OF_SCORE_CAM = 8

Net = Folded | torch_dlib.Network


def maps(
    network: Net, images: Tensor, name: str, *, batch_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return a method's maps, [images, height, width] from 0 to 1, and the classes.

    Args:
        network: the classifier.
        images: uint8 RGB, [images, height, width, 3].
        name: in METHODS.
        batch_size: images, or masked images, a forward pass.
    """
    assert can_be_imported()  # puts something in a missing torchvision's place
    import pytorch_grad_cam
    import tqdm

    made, options = getattr(pytorch_grad_cam, METHODS[name]), {}
    if name == "ablation_cam":
        options["batch_size"] = batch_size
    is_score_cam = name == "score_cam"
    size = min(batch_size, _IMAGES_OF_SCORE_CAM) if is_score_cam else batch_size
    found, classes = [], []
    with (
        _differentiable(network, name) as layer,
        torch.inference_mode(name in WITHOUT_GRADIENTS),
        mock.patch.object(tqdm, "tqdm", iter),  # no bar for each image
        made(model=network, target_layers=[layer], **options) as cam,
    ):
        cam.batch_size = batch_size  # of Score-CAM, which else takes 16
        for batch in images.split(size):
            found.append(cam(input_tensor=_prepared(network, batch), targets=None))
            classes.append(cam.outputs.detach().argmax(1).numpy())
    return np.concatenate(found), np.concatenate(classes)


@contextlib.contextmanager
def _differentiable(network: Net, name: str) -> Iterator[torch.nn.Module]:
    """Yield the last layer; a gradient reaches its maps and goes no deeper."""
    last = network.body[-1]
    last.conv2.bias.requires_grad_(name not in WITHOUT_GRADIENTS)
    try:
        yield network.maps if isinstance(network, Folded) else last
    finally:
        last.conv2.bias.requires_grad_(False)


def _prepared(network: Net, images: Tensor) -> Tensor:
    x = network.normalised(images)
    return x.contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def outcomes(
    network: Net,
    images: Tensor,
    found: Sequence[np.ndarray],
    wanted: Sequence[Perturbation],
    *,
    batch_size: int,
    seed: int = 0,
) -> tuple[Outcome, Outcome]:
    """Return the intact and the perturbed outcomes, as `split_outcomes` has them.

    Equal values of a map are put in order at random, as this project does it.

    Args:
        network: the classifier.
        images: uint8 RGB, [images, height, width, 3].
        found: each method's maps, [images, height, width].
        wanted: perturbations under the mean fill.
        batch_size: images a forward pass.
        seed: of the ties.
    """
    generator = torch.Generator().manual_seed(seed)
    shuffled = torch.randperm(found[0][0].size, generator=generator)
    rows: list[tuple[Any, Any]] = []
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        x = _prepared(network, batch)
        mean = batch.float().mean((1, 2), keepdim=True).round().to(torch.uint8)
        colour = network.normalised(mean)
        confidence, target = network(x).softmax(1).max(1)
        scored = {}

        def score(keep: Tensor | None, x: Any = x, c: Any = colour, t: Any = target):
            masked = c.expand_as(x) if keep is None else torch.where(keep, x, c)
            scores = network(masked).softmax(1)
            return scores.gather(1, t[:, None])[:, 0], scores.argmax(1)

        filled = score(None)
        for method, maps in enumerate(found):
            flat = torch.from_numpy(maps[start : start + batch_size]).flatten(1)
            order = flat[:, shuffled].argsort(dim=1, descending=True, stable=True)
            ranks = torch.empty_like(order)
            places = torch.arange(flat.shape[1]).expand_as(order)
            ranks.scatter_(1, shuffled[order], places)
            ranks = ranks.view(len(batch), 1, *batch.shape[1:3])
            for place, each in enumerate(wanted):
                stays = each.order == "retention"
                count = num_masked(each.fraction, *batch.shape[1:3])
                all_filled = count == (0 if stays else flat.shape[1])
                scored[method, place] = (
                    filled if all_filled else score((ranks < count) == stays)
                )
        shape = (len(found), len(wanted), len(batch))
        masked = [
            torch.stack(part).view(shape) for part in zip(*scored.values(), strict=True)
        ]
        rows.append(((confidence, target), masked))
    intact, perturbed = (
        Outcome(*(torch.cat(part, -1).numpy() for part in zip(*each, strict=True)))
        for each in zip(*rows, strict=True)
    )
    return intact, perturbed


def network_of(model: Any, arch: str | None) -> Net:
    """Return a `FaceClassifier`'s network for evaluation, channels last.

    Args:
        model: of dlib's or of the AdaFace family's backbone.
        arch: its name in `ir_resnet.ARCHITECTURES`, if it has one.
    """
    if arch not in ARCHITECTURES:
        return torch_dlib.Network(model, torch.float32).eval()
    tensors = torch_network.tensors_of(model)
    loaded = torch_network.load(ARCHITECTURES[arch], model.num_classes, tensors)
    return Folded(loaded, size=model.spec.size, dtype=torch.float32).eval()


class Job:
    """The whole table."""

    def __init__(
        self,
        network: Net,
        pixels: np.ndarray,
        wanted: Sequence[Perturbation],
        batch_size: int,
    ):
        """Prepare it; nothing is computed."""
        self.network, self.images = network, torch.from_numpy(pixels)
        self.wanted, self.batch_size = wanted, batch_size

    def __call__(self, watch: Watch, number: int | None = None) -> Any:
        """Return the outcomes of the first images, or of all."""
        images, size = self.images[:number], self.batch_size
        found = []
        for name in METHODS:
            made = watch(
                f"maps: {name}",
                lambda name=name: maps(self.network, images, name, batch_size=size),
            )
            found.append(made[0])
        return watch(
            "curves",
            lambda: outcomes(self.network, images, found, self.wanted, batch_size=size),
        )
