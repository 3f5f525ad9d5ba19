import jax
import jax.numpy as jnp
import numpy as np
import pytest
from published_files import description_of, shapes_of

from sdd_jax import checkpoints, models
from weights_conversion import adaface_names
from weights_conversion.__main__ import main

torch = pytest.importorskip(
    "torch", reason="parity with PyTorch needs the extra [parity]"
)

import safetensors.torch  # noqa: E402
import torch_ir_resnet as oracle  # noqa: E402
from torch_containers import (  # noqa: E402
    CONTAINERS,
    UNITS_PER_STAGE,
    activations,
    coarse_images,
    make,
)

IMAGES = coarse_images(2)


@pytest.fixture(scope="module")
def net():
    return oracle.randomise(oracle.IRNet(UNITS_PER_STAGE["ir_18"]), seed=0)


def load(path, prefix, **options):
    """Return the network's tensors without the prefix, and those beside it."""
    if path.suffix == ".safetensors":
        state = safetensors.torch.load_file(path)
    else:
        state = torch.load(path, weights_only=True, **options)
        state = state.get("state_dict", state)
    beside = {n: state.pop(n) for n in list(state) if not n.startswith(prefix)}
    return {name.removeprefix(prefix): x for name, x in state.items()}, beside


@pytest.mark.parametrize(
    "container", ["lightning", "cvlface_pt", "cvlface_safetensors"]
)
def test_pytorch_loads_an_export_strictly_and_computes_the_same(
    container, net, tmp_path
):
    suffix, prefix, order = CONTAINERS[container]
    source = make(container, net, tmp_path)
    output = tmp_path / f"back{suffix}"
    assert main([str(source), str(tmp_path / "out")]) == 0
    assert main(["--to=torch", str(tmp_path / "out"), str(output)]) == 0

    state, beside = load(output, prefix)
    fresh = oracle.IRNet(UNITS_PER_STAGE["ir_18"]).eval()
    fresh.load_state_dict(state, strict=True)
    mapped = state if suffix == ".safetensors" else load(output, prefix, mmap=True)[0]
    for name, tensor in net.state_dict().items():
        assert torch.equal(mapped[name], tensor), name
        assert state[name].dtype == tensor.dtype
        assert torch.equal(state[name], tensor), name
    expected, features = activations(net, IMAGES[:1], order)
    found, found_features = activations(fresh, IMAGES[:1], order)
    for a, b in zip([*found, found_features], [*expected, features], strict=True):
        np.testing.assert_array_equal(a, b)

    assert (set(beside) == {"head.kernel", "head.t"}) == (container == "lightning")
    if container == "lightning":
        assert torch.equal(beside["head.kernel"], torch.ones(512, 10))


@pytest.mark.parametrize("arch", UNITS_PER_STAGE)
def test_every_architecture_has_pytorchs_names_and_shapes(arch):
    with torch.device("meta"):
        net = oracle.IRNet(UNITS_PER_STAGE[arch])
    expected = {name: tuple(x.shape) for name, x in net.state_dict().items()}
    found = {}
    for path, shape in shapes_of(arch).items():
        name = adaface_names.published_name(path)
        found[name] = adaface_names.published_shape(path, shape)
        if name.endswith("running_mean"):
            found[name.replace("running_mean", "num_batches_tracked")] = ()
    assert found == expected


def test_pytorch_classifies_as_a_fine_tuned_network_does(net, tmp_path):
    description = description_of("ir_18") | {
        "head": {"name": "pooled", "num_classes": 6},
        "input": {"colour_order": "RGB"},
    }
    source = make("cvlface_pt", net, tmp_path)
    arguments = ["--head=pooled:6", str(source), str(tmp_path / "converted")]
    assert main(arguments) == 0
    variables = models.variables(models.load(tmp_path / "converted"))
    rng = np.random.default_rng(0)
    variables["head"] = jax.tree.map(
        lambda x: rng.uniform(0.5, 1.5, x.shape).astype(np.float32), variables["head"]
    )
    trees, workdir = {"model": variables}, tmp_path / "workdir"
    checkpoints.save(workdir, 7, trees, {"model": description}, 0.5)

    output = tmp_path / "x.pt"
    assert main(["--to=torch", str(workdir), str(output)]) == 0
    state, head = load(output, "net.")
    fresh = oracle.IRNet(UNITS_PER_STAGE["ir_18"]).eval()
    result = fresh.load_state_dict(state, strict=False)
    assert not result.unexpected_keys
    assert {name.split(".")[0] for name in result.missing_keys} == {"output_layer"}

    maps = activations(fresh, IMAGES, "RGB")[0][-1]
    pooled = torch.from_numpy(maps).mean((1, 2))
    theirs = pooled @ head["head.weight"].T + head["head.bias"]
    model = models.load(workdir)
    ours = jax.jit(lambda x: model.logits(model.feature_maps(x)))(jnp.asarray(IMAGES))
    assert ours.shape == (2, 6)
    error = np.abs(ours - theirs.numpy()).max() / np.abs(theirs.numpy()).max()
    print(f"logits: {error:.1e} of the largest")
    assert error < 1e-5
