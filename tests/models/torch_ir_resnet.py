"""An independent PyTorch IR-ResNet with the published module names: the oracle.

Written from the published architecture's description, not from this project's code.
`copy_weights` carries its weights over to the models under test.
"""

import torch
from torch import nn


class Unit(nn.Module):
    def __init__(self, in_channels, out_channels, stride):
        super().__init__()
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(in_channels),
            nn.Conv2d(in_channels, out_channels, 3, 1, 1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.PReLU(out_channels),
            nn.Conv2d(out_channels, out_channels, 3, stride, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        if in_channels == out_channels:
            self.shortcut_layer = nn.MaxPool2d(1, stride)
        else:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, x):
        return self.res_layer(x) + self.shortcut_layer(x)


class IRNet(nn.Module):
    def __init__(self, units_per_stage):
        super().__init__()
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64)
        )
        in_channels, units = 64, []
        for stage, num_units in enumerate(units_per_stage):
            for index in range(num_units):
                out_channels = 64 * 2**stage
                units.append(Unit(in_channels, out_channels, 2 if index == 0 else 1))
                in_channels = out_channels
        self.body = nn.Sequential(*units)
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(512),
            nn.Dropout(0.4),
            nn.Flatten(),
            nn.Linear(512 * 7 * 7, 512),
            nn.BatchNorm1d(512, affine=False),
        )

    def forward(self, x):
        x = self.output_layer(self.body(self.input_layer(x)))
        norm = torch.linalg.vector_norm(x, dim=1, keepdim=True)
        return x / norm, norm


def randomise(net, seed):
    """Draw weights and running statistics that no two channels share."""
    generator = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            fan_in = module.weight[0].numel()
            module.weight.data.normal_(0, fan_in**-0.5, generator=generator)
        elif isinstance(module, nn.PReLU):
            module.weight.data.uniform_(-0.5, 1.0, generator=generator)
        elif isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            module.running_mean.normal_(0, 0.3, generator=generator)
            module.running_var.uniform_(0.5, 2.0, generator=generator)
            if module.affine:
                module.weight.data.uniform_(0.2, 0.8, generator=generator)
        if getattr(module, "bias", None) is not None:
            module.bias.data.normal_(0, 0.3, generator=generator)
    return net.eval()


def copy_weights(net, backbone, head):
    """Set every variable of an IRResNet and a FlatEmbedding from an IRNet."""
    _copy(
        net.input_layer, [backbone.stem.conv, backbone.stem.norm, backbone.stem.prelu]
    )
    for theirs, ours in zip(net.body, backbone.body, strict=True):
        names = ("norm1", "conv1", "norm2", "prelu", "conv2", "norm3")
        _copy(theirs.res_layer, [getattr(ours, name) for name in names])
        if ours.projection is not None:
            _copy(theirs.shortcut_layer, [ours.projection.conv, ours.projection.norm])
    norm_maps, _, _, linear, norm_embeddings = net.output_layer
    _copy([norm_maps, norm_embeddings], [head.norm_maps, head.norm_embeddings])
    matrix = linear.weight.data.reshape(512, 512, 7, 7).permute(2, 3, 1, 0)
    head.linear.kernel.set_value(matrix.reshape(25088, 512).numpy())
    head.linear.bias.set_value(linear.bias.data.numpy())


def _copy(theirs, ours):
    for source, target in zip(theirs, ours, strict=True):
        if isinstance(source, nn.Conv2d):
            names = {"kernel": source.weight.data.permute(2, 3, 1, 0)}
        elif isinstance(source, nn.PReLU):
            names = {"slope": source.weight.data}
        else:
            names = {"mean": source.running_mean, "var": source.running_var}
            if source.affine:
                names |= {"scale": source.weight.data, "bias": source.bias.data}
        for name, value in names.items():
            getattr(target, name).set_value(value.numpy())
