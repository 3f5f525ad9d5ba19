"""Makes checkpoints in each published container, with PyTorch and drawn weights.

The network is the tests' own PyTorch implementation, `torch_ir_resnet`.
"""

import numpy as np
import safetensors.numpy
import torch

UNITS_PER_STAGE = {
    "ir_18": (2, 2, 2, 2),
    "ir_34": (3, 4, 6, 3),
    "ir_50": (3, 4, 14, 3),
    "ir_101": (3, 13, 30, 3),
}
# Container -> suffix, prefix, colour order of its input.
CONTAINERS = {
    "lightning": (".ckpt", "model.", "BGR"),
    "lightning_legacy": (".ckpt", "model.", "BGR"),
    "cvlface_safetensors": (".safetensors", "model.net.", "RGB"),
    "cvlface_pt": (".pt", "net.", "RGB"),
    "bare": (".pth", "", "BGR"),
}


def make(container, net, folder):
    """Write a network into a container and return the file."""
    suffix, prefix, _ = CONTAINERS[container]
    state = {prefix + name: value for name, value in net.state_dict().items()}
    path = folder / f"network{suffix}"
    if suffix == ".safetensors":
        arrays = {name: value.numpy() for name, value in state.items()}
        safetensors.numpy.save_file(arrays, path)
    elif suffix == ".ckpt":
        state["head.kernel"] = torch.ones(512, 10)
        state["head.t"] = torch.zeros(1)
        content = {"state_dict": state, "hyper_parameters": {"head": "adaface"}}
        zipped = not container.endswith("legacy")
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
    else:
        torch.save(state, path)
    return path


def coarse_images(number):
    """Return uint8 RGB images: coarse blocks, as noise alone all looks the same."""
    rng = np.random.default_rng(0)
    shape = (number, 4, 4, 3)
    blocks = rng.integers(0, 256, shape).repeat(28, axis=1).repeat(28, axis=2)
    noisy = blocks + rng.integers(-20, 21, blocks.shape)
    return noisy.clip(0, 255).astype(np.uint8)


def activations(net, images, order):
    """Return a network's output after every unit, channels last, and its embeddings."""
    if order == "BGR":
        images = images[..., ::-1]
    x = torch.from_numpy(images.copy()).permute(0, 3, 1, 2)
    with torch.inference_mode():
        x = net.input_layer((x / 255 - 0.5) / 0.5)
        outputs = [x]
        for unit in net.body:
            outputs.append(x := unit(x))
        embeddings = net.output_layer(x).numpy()
    outputs = [output.permute(0, 2, 3, 1).numpy() for output in outputs]
    return outputs, embeddings
