"""dlib's network, average pooling and a linear layer in PyTorch, written to be fast.

It has no normalisation to fold. Images are uint8 RGB, [batch, height, width, 3], which
in PyTorch is the channels-last order; maps are [batch, channels, rows, columns].
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.torch_network import Network as HeadNetwork


class Network(nn.Module):
    """The classifier for evaluation, channels last."""

    def __init__(self, model: Any, dtype: torch.dtype):
        """Take over the numbers of a `FaceClassifier` whose backbone is dlib's."""
        super().__init__()
        self.dtype = dtype
        backbone, head, spec = model.backbone, model.head, model.spec
        self.stem = _conv(backbone.stem, stride=2, padding=0)
        self.body = nn.Sequential(*(_Block(block) for block in backbone.blocks))
        self.requires_grad_(False).to(dtype=dtype, memory_format=torch.channels_last)
        # The head's sums are float32, and so are the maps that explain it.
        self.head = nn.Linear(*head.kernel.shape).requires_grad_(False)
        self.head.weight.data = _tensor(head.kernel).T.contiguous()
        self.head.bias.data = _tensor(head.offset)
        self.feature_mean = _tensor(head.feature_mean)
        self.feature_deviation = _tensor(head.feature_deviation)
        self.mean = torch.tensor(spec.mean)[:, None, None]
        self.scale = spec.scale

    def normalised(self, images: Tensor) -> Tensor:
        """Return what the network takes, [batch, 3, height, width] in RGB order."""
        x = images.permute(0, 3, 1, 2).float().sub_(self.mean).div_(self.scale)
        return x.to(self.dtype)

    def feature_maps(self, x: Tensor) -> Tensor:
        """Return the last block's maps of normalised images, float32."""
        x = x.contiguous(memory_format=torch.channels_last)
        x = F.max_pool2d(self.stem(x).relu_(), 3, 2)
        return self.body(x).float()

    logits = HeadNetwork.logits
    logits_of_features = HeadNetwork.logits_of_features
    forward = HeadNetwork.forward


class _Block(nn.Module):
    def __init__(self, block: Any):
        super().__init__()
        self.stride = block.stride
        self.conv1 = _conv(block.conv1, stride=block.stride, padding=block.padding)
        self.conv2 = _conv(block.conv2, stride=1, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        residual = self.conv2(self.conv1(x).relu_())
        if self.stride > 1:
            x = F.avg_pool2d(x, self.stride)
        if residual.shape == x.shape:
            return residual.add_(x).relu_()
        shape = [max(sizes) for sizes in zip(residual.shape, x.shape, strict=True)]
        return _filled_up(residual, shape).add_(_filled_up(x, shape)).relu_()


def _filled_up(x: Tensor, shape: list[int]) -> Tensor:
    """Return the maps with zeros at the end of each axis."""
    missing = [whole - part for whole, part in zip(shape, x.shape, strict=True)]
    widths = [width for fill in reversed(missing) for width in (0, fill)]
    return F.pad(x, widths) if any(missing) else x


def _conv(conv: Any, *, stride: int, padding: int) -> nn.Conv2d:
    kernel = conv.kernel[...]
    rows, columns, inputs, outputs = kernel.shape
    copied = nn.Conv2d(inputs, outputs, (rows, columns), stride, padding)
    copied.weight.data = _tensor(kernel).permute(3, 2, 0, 1)
    copied.bias.data = _tensor(conv.bias)
    return copied


def _tensor(variable: Any) -> Tensor:
    # A copy: arrays that come from JAX cannot be written to.
    return torch.from_numpy(np.array(variable[...]))
