import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdd_jax import models
from weights_conversion.__main__ import main

torch = pytest.importorskip(
    "torch", reason="parity with PyTorch needs the extra [parity]"
)

import torch_ir_resnet as oracle  # noqa: E402
from torch_containers import (  # noqa: E402
    CONTAINERS,
    UNITS_PER_STAGE,
    activations,
    coarse_images,
    make,
)

CASES = [("ir_18", container) for container in CONTAINERS]
CASES += [
    ("ir_34", "cvlface_pt"),
    ("ir_50", "cvlface_safetensors"),
    ("ir_101", "lightning"),
]
IMAGES = coarse_images(2)


@pytest.fixture(scope="module")
def nets():
    """Return the network of an architecture, the same at every call."""
    made = {}

    def net_of(arch):
        if arch not in made:
            made[arch] = oracle.randomise(oracle.IRNet(UNITS_PER_STAGE[arch]), seed=0)
        return made[arch]

    return net_of


@jax.jit
def outputs_of(backbone, head, x):
    x = backbone.stem(x)
    outputs = [x]
    for unit in backbone.body:
        outputs.append(x := unit(x))
    return outputs, *head.embeddings_and_norms(x)


def error_of(ours, theirs):
    """Return the largest difference, in units of PyTorch's largest activation."""
    assert ours.shape == theirs.shape
    return np.abs(np.asarray(ours) - theirs).max() / np.abs(theirs).max()


def cosine(a, b):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))


@pytest.mark.parametrize(("arch", "container"), CASES)
def test_a_converted_network_agrees_with_pytorch_after_every_unit(
    arch, container, nets, tmp_path, capsys
):
    net, order = nets(arch), CONTAINERS[container][2]
    path = make(container, net, tmp_path)
    assert main([str(path), str(tmp_path / "out"), f"--arch={arch}"]) == 0
    assert f"colour_order  {order}\n" in capsys.readouterr().out
    expected, features = activations(net, IMAGES, order)
    norms = np.linalg.norm(features, axis=1)
    embeddings = features / norms[:, None]

    model = models.load(tmp_path / "out")
    x = model.normalised(jnp.asarray(IMAGES))
    found, our_embeddings, our_norms = outputs_of(model.backbone, model.head, x)

    assert len(found) == len(expected) == 1 + sum(UNITS_PER_STAGE[arch])
    errors = [error_of(a, b) for a, b in zip(found, expected, strict=True)]
    our_embeddings = np.asarray(our_embeddings)
    # Drawn weights make embeddings alike: what tells two images apart must agree too.
    cosines = [
        *map(cosine, our_embeddings, embeddings),
        cosine(our_embeddings[0] - our_embeddings[1], embeddings[0] - embeddings[1]),
    ]
    print(
        f"{arch} {container}: worst of {len(errors)} outputs {max(errors):.1e}, "
        f"1 - cosine {1 - min(cosines):.1e}, "
        f"norms {np.abs(our_norms / norms - 1).max():.1e}"
    )
    assert max(errors) <= 1e-5, errors
    assert min(cosines) >= 0.999999
    np.testing.assert_allclose(our_norms, norms, rtol=1e-5)


def test_the_models_own_calls_give_the_same_embedding_and_norm(nets, tmp_path):
    net = nets("ir_18")
    path = make("cvlface_safetensors", net, tmp_path)
    assert main([str(path), str(tmp_path / "out")]) == 0
    _, features = activations(net, IMAGES, "RGB")
    norms = np.linalg.norm(features, axis=1)
    model = models.load(tmp_path / "out")
    feature_maps = model.feature_maps(jnp.asarray(IMAGES))
    found, found_norms = model.embeddings_and_norms(feature_maps)
    np.testing.assert_allclose(found, features / norms[:, None], atol=1e-6)
    np.testing.assert_allclose(found_norms, norms, rtol=1e-5)
    np.testing.assert_array_equal(found, model.embeddings(feature_maps))
