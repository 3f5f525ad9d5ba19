"""The paper's experiment rehearsed on generated files of the real layouts and sizes.

    .venv/bin/python tests/dry_run.py FOLDER                 # `make dry-run`
    .venv/bin/python tests/dry_run.py FOLDER --arch=ir_18 --identities=20 --images=4
    .venv/bin/python tests/dry_run.py FOLDER --files-only    # to type them yourself

Writes a Lightning checkpoint of random weights and a FaceScrub tree of drawn faces,
then types what the header of configs/finetune.py says, and prints each command's
seconds and peak memory. It shows that everything fits and runs; the numbers that come
out of the networks mean nothing.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), *(str(p.parent) for p in ROOT.glob("tests/*/*_tree.py"))]
sys.path += [str(ROOT / "tests" / "weights_conversion")]


def main() -> None:
    from sdd_jax.models.ir_resnet import ARCHITECTURES

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="a new folder for all of it")
    parser.add_argument(
        "--arch", choices=ARCHITECTURES, default="ir_101", help="(%(default)s)"
    )
    parser.add_argument(
        "--identities", type=int, default=530, help="people (%(default)s)"
    )
    parser.add_argument(
        "--images", type=int, default=2, help="of each of them (%(default)s)"
    )
    parser.add_argument(
        "--batch-size", type=int, default=32, help="of train and eval (%(default)s)"
    )
    parser.add_argument(
        "--dtype",
        default="float32",
        help="what to compute in; the config's bfloat16 is for accelerators, and "
        "slower on a CPU (%(default)s)",
    )
    parser.add_argument("--files-only", action="store_true", help="run nothing")
    options = parser.parse_args()
    folder = options.folder
    if folder.exists():
        parser.error(f"{folder} exists already: choose another folder or remove it")
    folder.mkdir(parents=True)
    write_checkpoint(folder / "published.ckpt", options.arch)
    write_images(folder / "facescrub", options.identities, options.images)
    if options.files_only:
        return

    python = sys.executable
    weights, workdir = folder / "weights", folder / "run"
    run(python, "-m", "weights_conversion", folder / "published.ckpt", weights)
    shared = [
        *("main.py", "--config=configs/finetune.py", f"--workdir={workdir}"),
        f"--config.data.root={folder / 'facescrub'}",
        f"--config.model.pretrained={weights}",
        f"--config.model.backbone.arch={options.arch}",
        f"--config.model.backbone.dtype={options.dtype}",
    ]
    size = options.batch_size
    run(
        *(python, *shared, "--config.train.steps=2"),
        *(f"--config.train.batch_size={size}", "--config.train.validate_every=2"),
    )
    run(python, *shared, "--mode=explain", "--config.explain.num_images=4")
    run(
        *(python, *shared, "--mode=eval", f"--config.eval.batch_size={size}"),
        "--config.eval.methods=sdd,random_map",
    )
    back = folder / "back.ckpt"
    run(python, "-m", "weights_conversion", "--to=torch", workdir, back)


def write_checkpoint(path: Path, arch: str) -> None:
    """Write AdaFace's published container with numbers that keep maps near 1."""
    from published_files import drawn_tensors, write

    tensors = drawn_tensors(arch)
    rng = np.random.default_rng(0)
    for name, tensor in tensors.items():
        if name.endswith("running_var"):
            tensors[name] = rng.uniform(0.5, 2.0, tensor.shape).astype(np.float32)
        elif tensor.ndim > 1:
            tensors[name] = tensor / np.float32(np.prod(tensor.shape[1:]) ** 0.5)
        elif tensor.dtype == np.float32:
            tensors[name] = rng.uniform(0.2, 0.8, tensor.shape).astype(np.float32)
    write(path, tensors, "model.")
    print(f"{path}: {path.stat().st_size / 1e6:.0f} MB", flush=True)


def write_images(root: Path, num_identities: int, num_images: int) -> None:
    from facescrub_tree import write_faces

    write_faces(root, num_identities=num_identities, num_images=num_images)
    print(f"{root}: {num_identities} x {num_images} images", flush=True)


def run(*command: object) -> None:
    """Run a command from the project's root; stop where it fails."""
    words = [str(word) for word in command]
    print("\n$ python", *words[1:], flush=True)
    began = time.monotonic()
    process = subprocess.Popen(words, cwd=ROOT)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - began
    print(f"{seconds:.0f} s, peak memory {usage.ru_maxrss / 2**20:.2f} GB", flush=True)
    if status:
        sys.exit(f"it failed with status {os.waitstatus_to_exitcode(status)}")


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")
    main()
