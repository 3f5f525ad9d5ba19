from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from sdd_jax import models
from weights_conversion.__main__ import main

torch = pytest.importorskip(
    "torch", reason="parity with PyTorch needs the extra [parity]"
)

# The oracle lies with the tests of the network, whose folder pytest adds by itself only
# when it collects that folder too.
from importlib.util import module_from_spec, spec_from_file_location  # noqa: E402

_spec = spec_from_file_location(
    "torch_ir_resnet", Path(__file__).parents[1] / "models" / "torch_ir_resnet.py"
)
oracle = module_from_spec(_spec)
_spec.loader.exec_module(oracle)

# Container -> suffix, prefix, colour order of its input.
CONTAINERS = {
    "lightning": (".ckpt", "model.", "BGR"),
    "lightning_legacy": (".ckpt", "model.", "BGR"),
    "cvlface_safetensors": (".safetensors", "model.net.", "RGB"),
    "cvlface_pt": (".pt", "net.", "RGB"),
    "bare": (".pth", "", "BGR"),
}


@pytest.fixture(scope="module")
def net():
    return oracle.randomise(oracle.IRNet((2, 2, 2, 2)), seed=0)


@pytest.fixture(scope="module")
def pictures():
    # Coarse blocks under fine noise: pictures of noise alone all look the same.
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (2, 4, 4, 3)).repeat(28, axis=1).repeat(28, axis=2)
    noisy = blocks + rng.integers(-20, 21, blocks.shape)
    return noisy.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def their_embeddings(net, pictures):
    """PyTorch's, of a network that takes BGR."""
    bgr = torch.from_numpy(pictures[..., ::-1].copy()).permute(0, 3, 1, 2)
    with torch.inference_mode():
        return net((bgr / 255 - 0.5) / 0.5)[0].numpy()


def write(container, net, folder):
    suffix, prefix, order = CONTAINERS[container]
    state = {prefix + name: value for name, value in net.state_dict().items()}
    if order == "RGB":
        # The same network for the other order: its first filters are turned over.
        first = f"{prefix}input_layer.0.weight"
        state[first] = state[first].flip(1).contiguous()
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


def cosine(a, b):
    return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_converted_network_embeds_as_pytorch_does(
    container, net, pictures, their_embeddings, tmp_path, capsys
):
    path = write(container, net, tmp_path)
    assert main([str(path), str(tmp_path / "out"), "--arch=ir_18"]) == 0
    card = capsys.readouterr().out
    assert f"colour_order  {CONTAINERS[container][2]}\n" in card

    model = models.load(tmp_path / "out")
    ours = jax.jit(lambda x: model.embeddings(model.feature_maps(x)))
    ours = np.asarray(ours(jnp.asarray(pictures)))

    # Drawn weights make embeddings alike: what tells two pictures apart must agree too.
    for found, expected in (
        (ours[0], their_embeddings[0]),
        (ours[1], their_embeddings[1]),
        (ours[0] - ours[1], their_embeddings[0] - their_embeddings[1]),
    ):
        assert cosine(found, expected) >= 0.999999
