"""IR-ResNet, average pooling and a linear layer in PyTorch, written to be fast.

`Network` is what is trained: the published module names, and the batch norms' running
statistics used as they are. `Folded` is what is evaluated: the same function with all
batch norms in the convolutions. Neither imports JAX, so that a process can be asked for
PyTorch's memory alone; `tensors_of` reads a JAX model's arrays.

Images are uint8 RGB, [batch, height, width, 3], which in PyTorch is the channels-last
order; feature maps are [batch, channels, rows, columns].
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

Stages = Sequence[tuple[int, int]]  # (units, channels), as `ir_resnet.ARCHITECTURES`


def tensors_of(model: Any) -> dict[str, np.ndarray]:
    """Return the arrays of a `FaceClassifier` by the names they have in `Network`."""
    from sdd_jax import models
    from weights_conversion.export import network_tensors

    variables = models.variables(model)
    head = {name: np.asarray(value) for name, value in variables.pop("head").items()}
    return network_tensors(variables) | {
        "feature_mean": head["feature_mean"],
        "feature_deviation": head["feature_deviation"],
        "head.weight": np.ascontiguousarray(head["kernel"].T),
        "head.bias": head["offset"],
    }


def normalised(images: Tensor, dtype: torch.dtype) -> Tensor:
    """Return what a network takes, [batch, 3, height, width] in RGB order, -1 to 1."""
    return ((images.permute(0, 3, 1, 2).float() - 127.5) / 127.5).to(dtype)


class Unit(nn.Module):
    """Residual unit that begins with normalisation and strides in the second conv."""

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        """Make the layers under the published names."""
        super().__init__()
        self.stride = stride
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(in_channels),
            nn.Conv2d(in_channels, out_channels, 3, 1, 1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.PReLU(out_channels),
            nn.Conv2d(out_channels, out_channels, 3, stride, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.shortcut_layer = None
        if in_channels != out_channels:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return residual plus shortcut."""
        shortcut = x[:, :, :: self.stride, :: self.stride]
        if self.shortcut_layer is not None:
            shortcut = self.shortcut_layer(shortcut)
        return self.res_layer(x) + shortcut


class Network(nn.Module):
    """Stem, units, and a linear layer on standardised average features."""

    def __init__(self, stages: Stages, num_classes: int):
        """Make the layers; `load` sets their numbers."""
        super().__init__()
        channels = stages[0][1]
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, channels, 3, 1, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.PReLU(channels),
        )
        self.body = nn.Sequential()
        for num_units, out_channels in stages:
            for index in range(num_units):
                self.body.append(Unit(channels, out_channels, 1 if index else 2))
                channels = out_channels
        self.register_buffer("feature_mean", torch.zeros(channels))
        self.register_buffer("feature_deviation", torch.ones(channels))
        self.head = nn.Linear(channels, num_classes)

    def feature_maps(self, x: Tensor) -> Tensor:
        """Return the last unit's maps of normalised images."""
        # The published weights' order is BGR.
        return self.body(self.input_layer(x.flip(1)))

    def logits(self, feature_maps: Tensor) -> Tensor:
        """Return one logit a class, float32."""
        return self.logits_of_features(feature_maps.float().mean((2, 3)))

    def logits_of_features(self, features: Tensor) -> Tensor:
        """Return the logits of averaged features, [batch, features]."""
        return self.head((features - self.feature_mean) / self.feature_deviation)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of normalised images."""
        return self.logits(self.feature_maps(x))


def load(
    stages: Stages, num_classes: int, tensors: Mapping[str, np.ndarray]
) -> Network:
    """Return the network with the given numbers, in evaluation mode, channels last."""
    network = Network(stages, num_classes)
    # A copy: arrays that come from JAX cannot be written to.
    state = {name: torch.from_numpy(np.array(x)) for name, x in tensors.items()}
    network.load_state_dict(state)
    return network.eval().to(memory_format=torch.channels_last)


class Folded(nn.Module):
    """A `Network` for evaluation, without batch norms.

    The norm behind a convolution goes into its weights and bias. So does the scale of
    the norm before one, but not its shift: the zeros around the maps are put there
    after it. What the shift adds is the same everywhere except at the maps' border, so
    it is a bias, and a correction of the outermost rows and columns.
    """

    def __init__(self, network: Network, *, size: int, dtype: torch.dtype):
        """Fold a network for square images of `size` pixels."""
        super().__init__()
        self.dtype = dtype
        # A copy, because the dtype of what is folded is its own.
        conv, norm, self.prelu = copy.deepcopy(network.input_layer)
        self.stem = _folded_conv(conv, norm)
        self.stem.weight.data = self.stem.weight.data.flip(1)  # takes RGB
        self.body = nn.Sequential()
        for unit in network.body:
            self.body.append(_FoldedUnit(copy.deepcopy(unit), size))
            size = -(-size // unit.stride)
        self.to(dtype=dtype, memory_format=torch.channels_last)
        # The head's sums are float32, and so are the maps that explain it.
        self.maps = _Float32()
        self.head = network.head
        self.feature_mean = network.feature_mean
        self.feature_deviation = network.feature_deviation

    def normalised(self, images: Tensor) -> Tensor:
        """Return what `feature_maps` takes; see the function of that name."""
        return normalised(images, self.dtype)

    def feature_maps(self, x: Tensor) -> Tensor:
        """Return the last unit's maps of normalised images, float32."""
        x = x.contiguous(memory_format=torch.channels_last)
        return self.maps(self.body(self.prelu(self.stem(x))))

    logits = Network.logits
    logits_of_features = Network.logits_of_features
    forward = Network.forward


class _Float32(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.float()


class _FoldedUnit(nn.Module):
    def __init__(self, unit: Unit, size: int):
        super().__init__()
        norm1, conv1, norm2, self.prelu, conv2, norm3 = unit.res_layer
        self.stride = unit.stride
        scale, shift = _affine(norm1)
        self.conv1 = _folded_conv(conv1, norm2)
        constant = shift[None, :, None, None].expand(1, -1, size, size)
        biases = F.conv2d(constant, self.conv1.weight, self.conv1.bias, padding=1)
        self.conv1.weight.data = self.conv1.weight.data * scale[:, None, None]
        self.conv1.bias.data = biases[0, :, size // 2, size // 2].clone()
        border = biases - self.conv1.bias.data[:, None, None]
        for name, part in (
            ("top", border[:, :, :1]),
            ("bottom", border[:, :, -1:]),
            ("left", border[:, :, 1:-1, :1]),
            ("right", border[:, :, 1:-1, -1:]),
        ):
            self.register_buffer(name, part.clone())
        self.conv2 = _folded_conv(conv2, norm3)
        self.projection = None
        if unit.shortcut_layer is not None:
            self.projection = _folded_conv(*unit.shortcut_layer)

    def forward(self, x: Tensor) -> Tensor:
        residual = self.conv1(x)
        residual[:, :, :1] += self.top
        residual[:, :, -1:] += self.bottom
        residual[:, :, 1:-1, :1] += self.left
        residual[:, :, 1:-1, -1:] += self.right
        residual = self.conv2(self.prelu(residual))
        shortcut = x[:, :, :: self.stride, :: self.stride]
        if self.projection is not None:
            shortcut = self.projection(shortcut)
        return residual.add_(shortcut)


def _affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return a batch norm in evaluation mode as a scale and a shift a channel."""
    scale = norm.weight.data * torch.rsqrt(norm.running_var + norm.eps)
    return scale, norm.bias.data - norm.running_mean * scale


def _folded_conv(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """Return a convolution and the norm behind it as one convolution, not trained."""
    scale, shift = _affine(norm)
    folded = nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,
        conv.stride,
        conv.padding,
    ).requires_grad_(False)
    folded.weight.data = conv.weight.data * scale[:, None, None, None]
    folded.bias.data = shift
    return folded
