"""One network in containers for BGR and RGB: same image, same embedding."""

import jax.numpy as jnp
import numpy as np
import pytest
from published_files import write

import weights_conversion
from sdd_jax import models

FIRST = "input_layer.0.weight"


@pytest.fixture(scope="module")
def image():
    blocks = np.random.default_rng(0).integers(0, 256, (1, 4, 4, 3), np.uint8)
    return jnp.asarray(blocks.repeat(28, axis=1).repeat(28, axis=2))


@pytest.fixture(scope="module")
def embedding_of(published, image, tmp_path_factory):
    """Return the image's embedding through a container that was converted."""

    def embedding_of(suffix, prefix, *, swapped):
        tensors = dict(published)
        if swapped:
            tensors[FIRST] = np.ascontiguousarray(tensors[FIRST][:, ::-1])
        folder = tmp_path_factory.mktemp("orders")
        source = write(folder / f"x{suffix}", tensors, prefix)
        weights_conversion.save(weights_conversion.convert(source), folder / "out")
        model = models.load(folder / "out")
        return np.asarray(model.embeddings(model.feature_maps(image)))[0]

    return embedding_of


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suffix", "prefix"), [(".safetensors", "model.net."), (".pt", "net.")]
)
def test_the_first_layers_channels_make_up_for_the_order(suffix, prefix, embedding_of):
    bgr = embedding_of(".ckpt", "model.", swapped=False)
    rgb = embedding_of(suffix, prefix, swapped=True)
    mistaken = embedding_of(suffix, prefix, swapped=False)
    print(
        f"cosine of BGR .ckpt and RGB {suffix}: {bgr @ rgb:.8f}; "
        f"with the channels not swapped: {bgr @ mistaken:.4f}"
    )
    np.testing.assert_allclose(rgb, bgr, atol=1e-6)
    assert np.abs(mistaken - bgr).max() > 1e-3
