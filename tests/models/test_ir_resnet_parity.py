import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sdd_jax.models.embedding_heads import FlatEmbedding
from sdd_jax.models.ir_resnet import IRResNet

torch = pytest.importorskip(
    "torch", reason="parity with PyTorch needs the extra [parity]"
)

from torch_ir_resnet import IRNet, copy_weights, randomise  # noqa: E402

UNITS_PER_STAGE = {"ir_18": (2, 2, 2, 2), "ir_101": (3, 13, 30, 3)}


@pytest.fixture(scope="module", params=UNITS_PER_STAGE)
def networks(request):
    net = randomise(IRNet(UNITS_PER_STAGE[request.param]), seed=0)
    # Shapes only: a variable that is not copied stays a shape and cannot be run.
    backbone, head = nnx.eval_shape(
        lambda: (
            IRResNet(arch=request.param, rngs=nnx.Rngs(0)),
            FlatEmbedding(rngs=nnx.Rngs(0)),
        )
    )
    copy_weights(net, backbone, head)
    return net, *(nnx.view(m, use_running_average=True) for m in (backbone, head))


@pytest.fixture(scope="module")
def inputs():
    # Coarse blocks under fine noise: images of noise alone all look the same.
    rng = np.random.default_rng(0)
    blocks = rng.uniform(-1, 1, (2, 4, 4, 3)).repeat(28, axis=1).repeat(28, axis=2)
    return (blocks + rng.normal(0, 0.1, blocks.shape)).astype(np.float32)


def nchw(x):
    return torch.from_numpy(np.array(x)).permute(0, 3, 1, 2)


def cosine(a, b):
    return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))


def assert_equal_within_scale(ours, theirs, name):
    theirs = theirs.permute(0, 2, 3, 1).numpy()
    assert ours.shape == theirs.shape, name
    error = np.abs(np.asarray(ours) - theirs).max() / theirs.std()
    assert error < 2e-5, f"{name}: {error}"


def test_every_unit_agrees_with_pytorch(networks, inputs):
    net, backbone, _ = networks

    @jax.jit
    def activations(backbone, x):
        x = backbone.stem(x)
        outputs = [x]
        for unit in backbone.body:
            outputs.append(x := unit(x))
        return outputs

    ours = activations(backbone, jnp.asarray(inputs))

    with torch.inference_mode():
        x = net.input_layer(nchw(inputs))
        assert_equal_within_scale(ours[0], x, "stem")
        for index, (unit, output) in enumerate(zip(net.body, ours[1:], strict=True)):
            x = unit(x)
            assert_equal_within_scale(output, x, f"unit {index}")


def test_embeddings_and_norms_agree_with_pytorch(networks, inputs):
    net, backbone, head = networks

    @jax.jit
    def run(backbone, head, x):
        return head.embeddings_and_norms(backbone(x))

    embeddings, norms = run(backbone, head, jnp.asarray(inputs))

    with torch.inference_mode():
        their_embeddings, their_norms = net(nchw(inputs))
    their_embeddings = their_embeddings.numpy()
    # Drawn weights make embeddings alike: what tells two images apart must agree too.
    for ours, theirs in (
        (embeddings[0], their_embeddings[0]),
        (embeddings[0] - embeddings[1], their_embeddings[0] - their_embeddings[1]),
    ):
        assert cosine(np.asarray(ours), theirs) >= 0.999999
    np.testing.assert_allclose(norms, their_norms[:, 0], rtol=1e-6)


def test_an_embedding_is_the_output_layer_of_the_same_maps(networks):
    net, _, head = networks
    maps = np.random.default_rng(1).normal(size=(3, 7, 7, 512)).astype(np.float32)

    with torch.inference_mode():
        theirs = net.output_layer(nchw(maps)).numpy()
    theirs /= np.linalg.norm(theirs, axis=1, keepdims=True)
    ours = head.embeddings(jnp.asarray(maps))
    np.testing.assert_allclose(ours, theirs, atol=1e-5 * theirs.std())


def test_the_published_names_count_917_keys():
    with torch.device("meta"):
        net = IRNet(UNITS_PER_STAGE["ir_101"])
    assert len(net.state_dict()) == 917
    assert sum(p.numel() for p in net.parameters()) == 65_150_912
