"""The CAMs of this project, against pytorch-grad-cam's on the same network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

torch = pytest.importorskip("torch", reason="PyTorch is in the extra parity")

from benchmarks import grad_cam_baseline  # noqa: E402
from sdd_jax.saliency import METHODS, clean_pass  # noqa: E402
from sdd_jax.saliency.class_maps import upsample  # noqa: E402
from sdd_jax.types import CellGrid, InputSpec, Stage  # noqa: E402

pytestmark = pytest.mark.skipif(
    not grad_cam_baseline.can_be_imported(), reason=grad_cam_baseline.HOW_TO_GET_IT
)
TARGETS = np.arange(8) % 7
KEY = jax.random.key(0)
CENTRES = {"stage1": slice(1, 16), "stage2": slice(2, 15, 4)}  # of the cells, pixels
# Ours, with options that make it theirs, and theirs.
PAIRS = {
    "grad_cam": ({}, "GradCAM"),
    "grad_cam_plus_plus": ({}, "GradCAMPlusPlus"),
    "hires_cam": ({}, "HiResCAM"),
    "xgrad_cam": ({}, "XGradCAM"),
    "layer_cam": ({}, "LayerCAM"),
    "eigen_cam": ({"centre": True}, "EigenCAM"),
}


@pytest.fixture(scope="module")
def steep(classifier):
    """The tests' classifier, but with large gradients.

    Next to squares of small ones, what the package adds to denominators is not small.
    """
    steep = nnx.clone(classifier)
    steep.head.kernel[...] = 100 * steep.head.kernel[...]
    return steep


def torch_network(steep):
    """Return the same network for PyTorch, and its two stages by name."""
    stages = {}
    layers = []
    for number, (kernel, stride) in enumerate(
        zip(steep.backbone.kernels, (1, 4), strict=True), 1
    ):
        kernel = torch.tensor(np.asarray(kernel[...]).transpose(3, 2, 0, 1))
        convolution = torch.nn.Conv2d(*kernel.shape[1::-1], 3, stride, bias=False)
        convolution.weight = torch.nn.Parameter(kernel)
        stages[f"stage{number}"] = torch.nn.LeakyReLU(0.25)
        layers += [convolution, stages[f"stage{number}"]]
    linear = torch.nn.Linear(5, 7)
    weights = np.asarray(steep.head.class_weights).T
    linear.weight = torch.nn.Parameter(torch.tensor(weights))
    linear.bias = torch.nn.Parameter(torch.tensor(np.asarray(steep.head.bias)))
    pool = (torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    return torch.nn.Sequential(*layers, *pool, linear).eval(), stages


@pytest.fixture(scope="module")
def network(steep):
    return torch_network(steep)


def torch_input(model, images):
    return torch.tensor(np.array(model.normalised(images)).transpose(0, 3, 1, 2))


def packages_map(cam, x, layer):
    """Return the package's map on the layer's cells, with its sign."""
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    targets = [ClassifierOutputTarget(target) for target in TARGETS.tolist()]
    cam(input_tensor=x, targets=targets)
    seen = cam.activations_and_grads
    activations, gradients = (
        maps[0].detach().numpy() if maps else None
        for maps in (seen.activations, seen.gradients)
    )
    return cam.get_cam_image(
        x, layer, targets, activations, gradients, eigen_smooth=False
    )


@pytest.mark.parametrize("stage", CENTRES)
@pytest.mark.parametrize("name", PAIRS)
def test_a_method_is_the_packages(steep, network, images, name, stage):
    import pytorch_grad_cam

    model, stages = network
    options, theirs = PAIRS[name]
    made = getattr(pytorch_grad_cam, theirs)(model, target_layers=[stages[stage]])
    made.uses_gradients = True  # Eigen-CAM's has none otherwise, and asks for some
    with made as cam:
        expected = packages_map(cam, torch_input(steep, images), stages[stage])

    @jax.jit
    def program(images):
        clean = clean_pass(steep, images, jnp.asarray(TARGETS))
        return METHODS[name](steep, clean, KEY, stage=stage, **options).saliency

    cells = CENTRES[stage]
    found = np.asarray(program(images))[:, cells, cells]
    if name == "eigen_cam":  # nobody fixes the sign
        expected = expected * np.sign((expected * found).sum((1, 2), keepdims=True))
    elif name != "hires_cam":  # the package rectifies later, what is signed here too
        expected = np.maximum(expected, 0)
    scale = np.abs(expected).max((1, 2), keepdims=True)
    tolerance = 5e-3 if name in ("xgrad_cam", "grad_cam_plus_plus") else 1e-4
    assert (np.abs(found - expected) <= tolerance * scale).all()


@pytest.mark.parametrize("stage", CENTRES)
def test_ablation_cam_is_the_packages(steep, network, images, stage):
    """It differs from the paper where activations are negative, and by a sign.

    Where any activation is below 0, the package does not take a channel away: it puts
    -10,000,000 in its place. Its layer that does so can be exchanged, here for one that
    sets the channel to 0, as the paper and this project do. And it divides by the
    logit, not by its size: the map of a logit below 0 is turned over.
    """
    from pytorch_grad_cam import AblationCAM
    from pytorch_grad_cam.ablation_layer import AblationLayer

    class Without(AblationLayer):
        def __call__(self, x):
            left = self.activations.clone()
            left[torch.arange(len(left)), self.indices[: len(left)]] = 0
            return left

    model, stages = network
    clean = clean_pass(steep, images, jnp.asarray(TARGETS))
    sign = np.sign(np.asarray(clean.scores.value))
    assert set(sign) == {-1.0, 1.0}  # both cases are there
    layer = stages[stage]
    with AblationCAM(model, [layer], ablation_layer=Without(), batch_size=3) as cam:
        theirs = packages_map(cam, torch_input(steep, images), layer)

    cells = CENTRES[stage]
    for relu in (True, False):
        method = METHODS["ablation_cam"]
        found = method(steep, clean, KEY, stage=stage, relu=relu).saliency
        expected = theirs * sign[:, None, None]
        expected = np.maximum(expected, 0) if relu else expected
        scale = np.abs(theirs).max((1, 2), keepdims=True)
        found = np.asarray(found)[:, cells, cells]
        assert (np.abs(found - expected) <= 1e-4 * scale).all()


@pytest.mark.parametrize("stage", CENTRES)
def test_score_cam_is_the_packages(classifier, images, stage):
    """It masks in other pixels, and what it masks is not black.

    The package stretches a channel from the image's first pixel to its last; this
    project puts values where their cells lie, so here the cells lie so. It multiplies
    normalised pixels, which fade to the network's mean colour and not to the paper's
    black: here that colour is black. And its masked images are not rounded to whole
    grey levels: here its network rounds what it is given. The softmax of logits over
    the channels, without the paper's baseline, is the same on both sides.
    """
    from pytorch_grad_cam import ScoreCAM

    aligned = nnx.clone(classifier)
    aligned.spec = InputSpec(17, "RGB", mean=(0.0, 0.0, 0.0), scale=64.0)
    aligned.backbone.stages = tuple(
        Stage(name, CellGrid(0.0, 16 / (number - 1)))
        for name, number in (("stage1", 15), ("stage2", 4))
    )
    aligned.backbone.cells = aligned.backbone.stages[-1].cells

    class Rounded(torch.nn.Module):
        def forward(self, x):
            return (64 * x).round().clamp(0, 255) / 64

    model, stages = torch_network(aligned)
    model = torch.nn.Sequential(Rounded(), *model)
    layer = stages[stage]
    with ScoreCAM(model, [layer]) as cam:
        cam.batch_size = 3
        theirs = packages_map(cam, torch_input(aligned, images), layer)
    clean = clean_pass(aligned, images, jnp.asarray(TARGETS))
    cells = {known.name: known.cells for known in aligned.stages}[stage]
    for relu in (True, False):
        found = METHODS["score_cam"](aligned, clean, KEY, stage=stage, relu=relu)
        maps = jnp.asarray(np.maximum(theirs, 0) if relu else theirs)
        expected = upsample(maps, (17, 17), cells)
        np.testing.assert_allclose(
            found.saliency, expected, rtol=0, atol=1e-4 * np.abs(theirs).max()
        )
