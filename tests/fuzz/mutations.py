"""Inputs made from good ones: cut, flipped, spliced, with sizes that are too large.

The same random numbers make the same input. What checks itself, such as a PNG's chunks,
is mended again half of the time, so that what lies behind the check is reached.
"""

import random
import re
import struct
import zlib
from collections.abc import Callable, Sequence

Mutation = Callable[[bytes, random.Random, Sequence[bytes]], bytes]

LARGEST = 2**20  # bytes of an input
_NUMBERS = (
    0,
    1,
    16,
    255,
    256,
    9400,
    16_383,
    65_535,
    2**24,
    2**31 - 1,
    2**31,
    2**32 - 1,
)
_TEXTS = (
    b"-1", b"0", b"1e999", b"nan", b"None", b"9" * 30, b"9" * 5000, b"[" * 9000,
    b"\xed\xa0\x80", b"\\ud800", b"\0", b"\xef\xbb\xbf", b"../../x", b"\xe2\x80\xa8",
    b"x" * 300, b'"', b"\t", b",", b"\r", b"[]", b"{}", b"true", b"1.5",
)  # fmt: skip


def of_bytes(data: bytes, draw: random.Random, others: Sequence[bytes]) -> bytes:
    """Return a damaged file."""
    found = bytearray(data)
    for _ in range(draw.choice((1, 1, 1, 2, 4, 8))):
        found = draw.choice(_CHANGES)(found, draw, others)
    return bytes(found[:LARGEST])


def of_text(data: bytes, draw: random.Random, others: Sequence[bytes]) -> bytes:
    """Return a damaged text: words and lines are changed more often than bytes."""
    if draw.random() < 0.2:
        return of_bytes(data, draw, others)
    words = re.split(rb"(\W)", data)
    for _ in range(draw.choice((1, 1, 2, 4))):
        place = draw.randrange(len(words))
        known = draw.choice([word for word in words if word] or [b""])
        words[place] = draw.choice((b"", known, 2 * words[place], draw.choice(_TEXTS)))
    lines = b"".join(words).split(b"\n")
    if draw.random() < 0.3:
        own, other = draw.randrange(len(lines)), draw.choice(others).split(b"\n")
        lines[own:own] = [draw.choice((*lines, *other))]
    return b"\n".join(lines)[:LARGEST]


def of_images(data: bytes, draw: random.Random, others: Sequence[bytes]) -> bytes:
    """Return a damaged image, or a whole one that claims to be of another size."""
    if draw.random() < 0.2:
        data = _resized(data, draw)
        if draw.random() < 0.3:
            return data
    found = of_bytes(data, draw, others)
    return whole_png(found) if draw.random() < 0.5 else found


def whole_png(data: bytes) -> bytes:
    """Return a PNG with the checksums that it should have; others as they are."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data
    found, place = bytearray(data), 8
    while place + 12 <= len(found):
        [length] = struct.unpack_from(">I", found, place)
        end = place + 8 + length
        if end + 4 > len(found):
            break
        struct.pack_into(">I", found, end, zlib.crc32(found[place + 4 : end]))
        place = end + 4
    return bytes(found)


def _resized(data: bytes, draw: random.Random) -> bytes:
    """Return an image whose header has another width or height."""
    sizes = {  # signature -> where width and height are, and how they are written
        b"\x89PNG": (16, ">I", 4),
        b"GIF8": (draw.choice((6, data.find(b",") + 5)), "<H", 2),
        b"BM": (18, "<I", 4),
        b"RIFF": (24, "<I", 3),
        b"\xff\xd8": (max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2")) + 5, ">H", 2),
    }
    if re.match(rb"P[1-6]\s", data):
        size = b"%d %d" % (draw.choice(_NUMBERS), draw.choice(_NUMBERS))
        return re.sub(rb"\d+ \d+", size, data, count=1)
    found = bytearray(data)
    for signature, (place, layout, step) in sizes.items():
        if data.startswith(signature):
            for side in draw.choice(((0,), (1,), (0, 1))):
                top = 256 ** struct.calcsize(layout) - 1
                at, value = place + side * step, min(draw.choice(_NUMBERS), top)
                if 0 <= at <= len(found) - struct.calcsize(layout):
                    struct.pack_into(layout, found, at, value)
    return whole_png(bytes(found))


_Change = Callable[[bytearray, random.Random, Sequence[bytes]], bytearray]


def _flip(data: bytearray, draw: random.Random, others: Sequence[bytes]) -> bytearray:
    if data:
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    return data


def _cut(data: bytearray, draw: random.Random, others: Sequence[bytes]) -> bytearray:
    return data[: draw.randrange(len(data) + 1)]


def _leave_out(
    data: bytearray, draw: random.Random, others: Sequence[bytes]
) -> bytearray:
    start = draw.randrange(len(data) + 1)
    del data[start : start + draw.choice((1, 2, 4, 16, 256))]
    return data


def _repeat(data: bytearray, draw: random.Random, others: Sequence[bytes]) -> bytearray:
    start = draw.randrange(len(data) + 1)
    part = data[start : start + draw.choice((1, 4, 16, 256))]
    data[start:start] = part * draw.choice((1, 2, 50))
    return data


def _splice(data: bytearray, draw: random.Random, others: Sequence[bytes]) -> bytearray:
    other = draw.choice(others)
    start = draw.randrange(len(other) + 1)
    place = draw.randrange(len(data) + 1)
    length = draw.choice((1, 8, 64, len(other)))
    data[place : place + draw.choice((0, length))] = other[start : start + length]
    return data


def _number(data: bytearray, draw: random.Random, others: Sequence[bytes]) -> bytearray:
    layout, top = draw.choice((("B", 1), ("<H", 2), (">H", 2), ("<I", 4), (">I", 4)))
    if len(data) >= top:
        value = min(draw.choice(_NUMBERS), 256**top - 1)
        place = draw.randrange(len(data) - top + 1)
        struct.pack_into(layout, data, place, value)
    return data


_CHANGES: tuple[_Change, ...] = (
    _flip, _flip, _flip, _cut, _leave_out, _repeat, _splice, _number, _number,
)  # fmt: skip
