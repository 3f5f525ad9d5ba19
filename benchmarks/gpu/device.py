"""Which device JAX computes on.

python -m benchmarks.gpu.device
"""

import sys

import jax

from benchmarks import command
from benchmarks.gpu import rows, yardsticks


def main(arguments: list[str] | None = None) -> int:
    """Print one row, and return the exit status."""
    parser = command.parser(__doc__)
    parser.parse_args(arguments)
    return command.run(_run)


def _run() -> None:
    device = jax.devices()[0]
    memory = device.memory_stats() or {}
    rows.put(
        platform=device.platform,
        kind=rows.kind(),
        number=len(jax.devices()),
        memory_bytes=memory.get("bytes_limit"),
        peak_flops={
            dtype: yardsticks.peak(rows.kind(), dtype)
            for dtype in ("bfloat16", "tf32", "float32")
        },
        jax=jax.__version__,
    )


if __name__ == "__main__":
    sys.exit(main())
