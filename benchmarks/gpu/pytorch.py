"""PyTorch at the same job on the same device: written by hand, folded, channels last.

    python -m benchmarks.gpu.pytorch [--arch=ir_101] [--batch_size=256] [--images=1024]
        [--device=cuda] [--identities=530] [--repeats=2]

The images lie on the device. float32 is float32: TF32 is switched off, as "highest"
precision does for JAX. One row a dtype, or one that says why there is none.
"""

import argparse
import sys
from typing import Any

import numpy as np

from benchmarks import command, drawn
from benchmarks.gpu import rows
from benchmarks.gpu.explain_eval import fastest
from sdd_jax.models.ir_resnet import ARCHITECTURES


def drawn_tensors(network: Any, seed: int = 0) -> dict[str, np.ndarray]:
    """Return numbers for all of a `Network` that keep its maps near 1.

    JAX, which draws them elsewhere, would take the device's memory.
    """
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, tensor in network.state_dict().items():
        shape = tuple(tensor.shape)
        if len(shape) > 1:
            values = rng.normal(0, np.prod(shape[1:]) ** -0.5, shape)
        elif name.endswith(("running_var", "feature_deviation")):
            values = rng.uniform(0.5, 2.0, shape)
        elif name.endswith("weight"):
            values = rng.uniform(0.2, 0.8, shape)
        else:
            values = rng.normal(0, 0.3, shape)
        tensors[name] = values.astype(np.float32)
    return tensors


def measure(options: argparse.Namespace, torch: Any, dtype: str) -> dict[str, Any]:
    """Return a row."""
    from benchmarks.torch_by_hand import explain_and_evaluate
    from benchmarks.torch_network import Folded, Network, load

    stages, device = ARCHITECTURES[options.arch], options.device
    tensors = drawn_tensors(Network(stages, options.identities))
    network = load(stages, options.identities, tensors).to(device)
    folded = Folded(network, size=drawn.SIZE, dtype=getattr(torch, dtype))
    images = torch.from_numpy(drawn.images(options.images)).to(device)
    size = options.batch_size
    # Once without the clock: libraries choose their kernels.
    explain_and_evaluate(folded, images[:size], batch_size=size)
    seconds = fastest(
        lambda: explain_and_evaluate(folded, images, batch_size=size), options.repeats
    )
    is_gpu = device != "cpu"
    return {
        "dtype": dtype,
        "batch_size": size,
        "device_images_per_second": options.images / seconds,
        "peak_memory_bytes": torch.cuda.max_memory_allocated() if is_gpu else None,
        "torch": torch.__version__,
    }


def main(arguments: list[str] | None = None) -> int:
    """Print a row for each dtype, and return the exit status."""
    parser = command.parser(__doc__)
    parser.add_argument("--arch", choices=tuple(ARCHITECTURES), default="ir_101")
    parser.add_argument("--batch_size", type=command.at_least(1), default=256)
    parser.add_argument("--images", type=command.at_least(1), default=1024)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--identities", type=command.at_least(5), default=530)
    parser.add_argument("--repeats", type=command.at_least(1), default=2)
    options = parser.parse_args(arguments)
    return command.run(lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    try:
        import torch
    except (ImportError, OSError):  # or a library that it loads
        rows.put(left_out="PyTorch is not installed")
        return
    if options.device == "cuda" and not torch.cuda.is_available():
        rows.put(left_out=f"PyTorch {torch.__version__} finds no CUDA")
        return
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    for dtype in ("bfloat16", "float32"):
        rows.put(**measure(options, torch, dtype))


if __name__ == "__main__":
    sys.exit(main())
