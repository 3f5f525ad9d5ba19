"""What the figures are held against: a chip's published peaks, and the aims.

Nothing here imports JAX.

References:
    NVIDIA, "H100 Tensor Core GPU Datasheet" and "H200 Tensor Core GPU Datasheet", SXM;
    NVIDIA, "A100 Tensor Core GPU Datasheet". Where a sheet gives tensor cores with
    sparsity, half of that: dense.
"""

from dataclasses import dataclass

NUM_IMAGES = 4494  # the paper's test split
AIMED_SECONDS = 2.0  # for all of them
AIMED_SHARE = 0.6  # of the bfloat16 peak, over the forward passes


@dataclass(frozen=True)
class Peaks:
    """Dense operations a second, and bytes a second of the chip's memory.

    float32 is the plain cores': explaining and evaluating asks for "highest" precision,
    which keeps XLA from TF32 on the tensor cores. Training does not ask for it and may
    be given TF32.
    """

    bfloat16: float
    tf32: float
    float32: float
    memory: float


# By what JAX calls a device's kind. Others are not guessed at.
PEAKS = {
    "NVIDIA H200": Peaks(989e12, 494e12, 67e12, 4.8e12),
    "NVIDIA H100 80GB HBM3": Peaks(989e12, 494e12, 67e12, 3.35e12),
    "NVIDIA A100-SXM4-80GB": Peaks(312e12, 156e12, 19.5e12, 2.039e12),
    "NVIDIA A100-SXM4-40GB": Peaks(312e12, 156e12, 19.5e12, 1.555e12),
}


def peak(kind: str, dtype: str) -> float | None:
    """Return a device's operations a second in float32 or bfloat16, where known."""
    return getattr(PEAKS[kind], dtype) if kind in PEAKS else None


def bound(kind: str, dtype: str, flops: float, num_bytes: float) -> str:
    """Return what keeps a kernel from being faster: "arithmetic", "memory", "unknown".

    Its operations a byte are compared with what the chip could do in the time in which
    it moves a byte.

    Args:
        kind: the device's.
        dtype: what is multiplied, float32 or bfloat16.
        flops: the kernel's operations; 0 where nobody counted them.
        num_bytes: what it reads and writes; 0 likewise.
    """
    if kind not in PEAKS or not flops or not num_bytes:
        return "unknown"
    ridge = getattr(PEAKS[kind], dtype) / PEAKS[kind].memory
    return "arithmetic" if flops / num_bytes > ridge else "memory"
