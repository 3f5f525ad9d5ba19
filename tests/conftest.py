"""What the tests share.

The package is imported inside the fixtures: array shapes are checked only in what is
imported after pytest has read its command line.
"""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

if jax.__version_info__[:2] == (0, 10):
    # XLA's older emitters compile in less than half the time; later versions have them
    # no more. What programs compute is the same, only rounded otherwise.
    os.environ["XLA_FLAGS"] = (
        "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    )
else:
    os.environ["XLA_FLAGS"] = ""
# Then one process can show that eight devices compute what one does.
jax.config.update("jax_num_cpu_devices", 8)
# Most of the time goes into compiling: LLVM does half of it, for code that runs once.
# The programs, and what XLA makes of them, are the same.
jax.config.update("jax_disable_most_optimizations", True)


def pytest_collection_modifyitems(items):
    """Call slow what needs a trained workdir, which takes half a minute to make."""
    for item in items:
        if "trained" in item.fixturenames:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
    """Return an environment in which what one process compiled serves the next."""
    return os.environ | {
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("compiled")),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }


@pytest.fixture(scope="session", autouse=True)
def compiled_once(tmp_path_factory):
    """What one test had compiled serves the next that asks for the same."""
    # Files are named by a hash of the program, so a hit is the same program.
    jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.mktemp("jax")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Return a workdir in which smoke's config was trained; tests only read it."""
    from configs import smoke
    from sdd_jax.runs import train

    folder = tmp_path_factory.mktemp("trained")
    train.run(smoke.get_config().to_dict(), folder)
    return folder


@pytest.fixture(autouse=True)
def mesh_is_left_as_it_was():
    mesh = jax.sharding.get_mesh()
    yield
    jax.set_mesh(mesh)


class TinyBackbone(nnx.Module):
    """17x17 pixels -> 4x4 cells of 5 features, centred at pixels 2, 6, 10 and 14.

    In between are 15x15 cells of 4 channels; both stages quarter what is negative.
    """

    num_features = 5
    ends = (1, 2)

    def __init__(self, stages, kernels):
        self.stages = stages
        self.cells = stages[-1].cells
        self.kernels = nnx.List([nnx.Param(kernel) for kernel in kernels])

    def __call__(self, x):
        return self.with_taps(x, {})[0]

    def with_taps(self, x, taps):
        from sdd_jax.models.layers import through_stages

        def run(start, end, x):
            for number in range(start, end):
                stride = (1, 4)[number]
                x = jax.lax.conv_general_dilated(
                    x,
                    self.kernels[number][...],
                    window_strides=(stride, stride),
                    padding="VALID",
                    dimension_numbers=("NHWC", "HWIO", "NHWC"),
                )
                x = jnp.where(x > 0, x, x / 4)
            return x

        return through_stages(self, run, x, taps)


@pytest.fixture(scope="session")
def classifier():
    """Seven classes; every number of the network is random. Not to be changed."""
    from sdd_jax.models.classifier import FaceClassifier
    from sdd_jax.models.heads import PooledHead
    from sdd_jax.types import CellGrid, InputSpec, Stage

    rng = np.random.default_rng(0)
    kernels = [
        jnp.asarray(rng.normal(0, deviation, (3, 3, *channels)), jnp.float32)
        for deviation, channels in ((0.3, (3, 4)), (0.2, (4, 5)))
    ]
    stages = (
        Stage("stage1", CellGrid(1.0, 1.0)),
        Stage("stage2", CellGrid(2.0, 4.0)),
    )
    head = PooledHead(5, 7)
    head.kernel[...] = jnp.asarray(rng.normal(0, 1, (5, 7)), jnp.float32)
    head.offset[...] = jnp.asarray(rng.normal(0, 1, 7), jnp.float32)
    head.feature_mean[...] = jnp.asarray(rng.normal(0, 1, 5), jnp.float32)
    head.feature_deviation[...] = jnp.asarray(rng.uniform(0.2, 1, 5), jnp.float32)
    spec = InputSpec(17, "RGB", mean=(120.0, 110.0, 100.0), scale=64.0)
    return FaceClassifier(spec, TinyBackbone(stages, kernels), head)


@pytest.fixture(scope="session")
def images():
    """Eight images of noise."""
    rng = np.random.default_rng(1)
    return jnp.asarray(rng.integers(0, 256, (8, 17, 17, 3), np.uint8))
