"""Writes grey TIFFs tag by tag: depths and layouts that Pillow reads, not writes."""

import struct
import zlib

import numpy as np


def tiff(
    values: np.ndarray,
    num_bits: int,
    *,
    is_white_zero: bool = False,
    order: str = "<",
    is_tiled: bool = False,
    is_deflated: bool = False,
    sample_format: int = 1,
    orientation: int = 1,
) -> bytes:
    """Return a TIFF of one channel, in one strip or in tiles of 16 x 16.

    Args:
        values: As they are stored, [height, width].
        num_bits: Of a value; 12 or fewer are packed, the first in the high bits.
        is_white_zero: Whether the smallest value is white.
        order: "<" for little-endian, ">" for big-endian.
        is_tiled: Whether the pixels lie in tiles.
        is_deflated: Whether they are compressed.
        sample_format: 1 without and 2 with a sign, 3 with fractions.
        orientation: How the image is to be turned, as in EXIF.
    """
    height, width = values.shape
    blocks = [values]
    if is_tiled:
        padded = np.pad(values, ((0, -height % 16), (0, -width % 16)))
        blocks = [
            padded[y : y + 16, x : x + 16]
            for y in range(0, len(padded), 16)
            for x in range(0, padded.shape[1], 16)
        ]
    data = [_packed(block, num_bits, order, sample_format) for block in blocks]
    if is_deflated:
        data = [zlib.compress(block) for block in data]
    start = 8 + sum(map(len, data))
    offsets = 8 + np.cumsum([0, *map(len, data)])[:-1]
    tags = {
        256: [width],
        257: [height],
        258: [num_bits],
        259: [8 if is_deflated else 1],
        262: [0 if is_white_zero else 1],
        274: [orientation],
        277: [1],
        339: [sample_format],
    }
    if is_tiled:
        tags |= {322: [16], 323: [16], 324: offsets, 325: list(map(len, data))}
    else:
        tags |= {273: offsets, 278: [height], 279: list(map(len, data))}
    rows, extra = b"", b""
    after = start + 2 + 12 * len(tags) + 4
    for number, found in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(found)}I", *map(int, found))
        kind = 4
        if number in (258, 262, 259, 274, 277, 339):
            kind, packed = 3, struct.pack(f"{order}HH", found[0], 0)
        if len(packed) > 4:
            extra += packed
            packed = struct.pack(f"{order}I", after + len(extra) - len(packed))
        rows += struct.pack(f"{order}HHI", number, kind, len(found)) + packed
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, start)
    directory = struct.pack(f"{order}H", len(tags)) + rows + bytes(4)
    return head + b"".join(data) + directory + extra


def _packed(block: np.ndarray, num_bits: int, order: str, sample_format: int) -> bytes:
    if num_bits in (16, 32):
        kind = {1: "u", 2: "i", 3: "f"}[sample_format]
        return block.astype(f"{order}{kind}{num_bits // 8}").tobytes()
    bits = block[..., None].astype(np.uint16) >> np.arange(num_bits)[::-1] & 1
    return np.packbits(bits.reshape(len(block), -1).astype(np.uint8), 1).tobytes()
