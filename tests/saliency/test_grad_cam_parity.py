"""The CAMs by gradients, against pytorch-grad-cam's on the same network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

torch = pytest.importorskip("torch", reason="PyTorch is in the extra parity")

from benchmarks import grad_cam_baseline  # noqa: E402
from sdd_jax.saliency import METHODS, clean_pass  # noqa: E402

pytestmark = pytest.mark.skipif(
    not grad_cam_baseline.can_be_imported(), reason=grad_cam_baseline.HOW_TO_GET_IT
)
TARGETS = np.arange(8) % 7
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


@pytest.fixture(scope="module")
def network(steep):
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


@pytest.mark.parametrize("stage", CENTRES)
@pytest.mark.parametrize("name", PAIRS)
def test_a_method_is_the_packages(steep, network, images, name, stage):
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    model, stages = network
    options, theirs = PAIRS[name]
    x = torch.tensor(np.array(steep.normalised(images)).transpose(0, 3, 1, 2))
    targets = [ClassifierOutputTarget(target) for target in TARGETS.tolist()]
    made = getattr(pytorch_grad_cam, theirs)(model, target_layers=[stages[stage]])
    made.uses_gradients = True  # Eigen-CAM's has none otherwise, and asks for some
    with made as cam:
        cam(input_tensor=x, targets=targets)
        seen = cam.activations_and_grads
        activations, gradients = (
            maps[0].detach().numpy() for maps in (seen.activations, seen.gradients)
        )
        expected = cam.get_cam_image(
            x, stages[stage], targets, activations, gradients, eigen_smooth=False
        )

    @jax.jit
    def program(images):
        clean = clean_pass(steep, images, jnp.asarray(TARGETS))
        key = jax.random.key(0)
        return METHODS[name](steep, clean, key, stage=stage, **options).saliency

    cells = CENTRES[stage]
    found = np.asarray(program(images))[:, cells, cells]
    if name == "eigen_cam":  # nobody fixes the sign
        expected = expected * np.sign((expected * found).sum((1, 2), keepdims=True))
    elif name != "hires_cam":  # the package rectifies later, what is signed here too
        expected = np.maximum(expected, 0)
    scale = np.abs(expected).max((1, 2), keepdims=True)
    tolerance = 5e-3 if name in ("xgrad_cam", "grad_cam_plus_plus") else 1e-4
    assert (np.abs(found - expected) <= tolerance * scale).all()
