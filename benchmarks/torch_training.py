"""A fine-tuning step in PyTorch, with the loss and the AdamW of this project."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
import torch.utils.checkpoint
from torch import Tensor

from benchmarks.torch_network import Folded, Network, normalised


def make_optimizer(
    network: Network, options: Mapping[str, Any], *, parts: str
) -> torch.optim.AdamW:
    """Return AdamW with a learning rate for each part and decay for matrices only.

    Args:
        network: what is trained.
        options: head_learning_rate, backbone_learning_rate, weight_decay.
        parts: "all", or "head", which leaves the rest as it is.
    """
    groups: dict[tuple[str, bool], list[Tensor]] = {}
    for name, parameter in network.named_parameters():
        part = "head" if name.startswith("head.") else "backbone"
        parameter.requires_grad_(parts == "all" or part == "head")
        if parameter.requires_grad:
            groups.setdefault((part, parameter.ndim >= 2), []).append(parameter)
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "lr": options[f"{part}_learning_rate"],
                "weight_decay": options["weight_decay"] * decays,
            }
            for (part, decays), parameters in groups.items()
        ],
        fused=True,
    )


def logits_of_images(
    network: Network, images: Tensor, dtype: torch.dtype, *, remat: bool = False
) -> Tensor:
    """Return the logits of uint8 images, with autocast where dtype is bfloat16."""
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        # Autocast casts what goes into each convolution itself.
        x = normalised(images, torch.float32)
        if not remat:
            maps = network.feature_maps(x)
        else:
            maps = network.input_layer(x.flip(1))
            for unit in network.body:
                maps = torch.utils.checkpoint.checkpoint(
                    unit, maps, use_reentrant=False
                )
    return network.logits(maps)


def train_step(
    logits: Callable[[], Tensor],
    labels: Tensor,
    optimizer: torch.optim.Optimizer,
    *,
    label_smoothing: float,
    clip_norm: float,
) -> float:
    """Take a step and return the loss before it."""
    optimizer.zero_grad(set_to_none=True)
    loss = F.cross_entropy(logits(), labels, label_smoothing=label_smoothing)
    loss.backward()
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    torch.nn.utils.clip_grad_norm_(trained, clip_norm)
    optimizer.step()
    return loss.item()


@torch.inference_mode()
def pooled_features(network: Folded, images: Tensor, *, batch_size: int) -> Tensor:
    """Return the average features of images and mirror images, [2, images, f]."""
    rows = []
    for batch in images.split(batch_size):
        both = [
            network.feature_maps(normalised(seen, network.dtype)).mean((2, 3))
            for seen in (batch, batch.flip(2))
        ]
        rows.append(torch.stack(both))
    return torch.cat(rows, 1)
