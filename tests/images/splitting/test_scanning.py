import numpy as np
import pytest
from PIL import Image

from sdd_jax.errors import InputError
from sdd_jax.images.splitting import scanning
from sdd_jax.images.splitting.collection import SourceImage


def smooth(seed: int) -> np.ndarray:
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    image = Image.fromarray(pixels).resize((64, 64), Image.Resampling.BICUBIC)
    return np.asarray(image)


def source_image(identity: str, file: str, seed: int, detail: str = "") -> SourceImage:
    """Return an image of which the contents are its seed; -1 is a damaged one."""

    def pixels(contents: bytes) -> np.ndarray:
        if contents == b"-1":
            raise InputError(f"{file}: torn")
        return smooth(int(contents))

    return SourceImage(identity, file, lambda: str(seed).encode(), pixels, detail)


def two_of(*names: str) -> list[SourceImage]:
    return [
        source_image(name, f"{name}/{i}", 10 * number + i)
        for number, name in enumerate(names)
        for i in range(2)
    ]


def test_rows_come_in_order_whatever_order_the_images_have():
    images = two_of("ann", "bea")
    found = scanning.scan(images[::-1])
    files = ["ann/0", "ann/1", "bea/0", "bea/1"]
    assert [row["file"] for row in found.good] == files == list(found.hashes)
    assert found.skipped == []
    scanning.check_enough(found, 0.0, "")


def test_two_faces_in_one_photograph_are_two_images():
    images = two_of("ann", "bea")
    images += [
        source_image("ann", "ann/2", 7, "box 1"),
        source_image("bea", "bea/2", 7, "2"),
    ]
    found = scanning.scan(images)
    assert len(found.good) == 6 and found.skipped == []


def test_more_damage_than_allowed_stops_and_names_the_first():
    images = two_of("ann", "bea") + [source_image("ann", "ann/9", -1)]
    found = scanning.scan(images)
    assert found.damaged == [{"path": "ann/9", "reason": "ann/9: torn"}]
    scanning.check_enough(found, 0.2, "")
    with pytest.raises(
        InputError, match=r"1 of 5 .*max_skipped=0.1 .* first: ann/9: torn; .*, see s,"
    ):
        scanning.check_enough(found, 0.1, ", see s")


def test_one_person_is_nobody_to_tell_apart():
    found = scanning.scan(two_of("ann") + [source_image("bea", "bea/0", 9)])
    with pytest.raises(
        InputError,
        match=r"^3 images leave 1 identities \(ann\); expected two .*; 1 were left "
        r"out, see s; the first: bea/0, the only good image of bea$",
    ):
        scanning.check_enough(found, 0.05, ", see s")


def test_nothing_but_copies_under_two_names_says_so():
    one = [
        source_image(name, f"{name}/{i}", i) for name in ("ann", "bea") for i in (0, 1)
    ]
    found = scanning.scan(one)
    reason = "the same image under 2 names: ann/0, bea/0"
    assert found.copies[0] == {"path": "ann/0", "reason": reason}
    with pytest.raises(InputError, match=rf"4 images leave 0 .*: ann/0, {reason}"):
        scanning.check_enough(found, 0.05, "")


def test_different_images_differ_in_many_bits():
    hashes = [scanning.small_hash(smooth(seed)) for seed in range(20)]
    apart = [np.bitwise_count(a ^ b) for a in hashes for b in hashes if a != b]
    assert len(apart) == 380 and min(apart) > 3 * scanning.NEAR


def test_darker_to_the_right_sets_no_bit_and_brighter_all():
    ramp = np.repeat(np.arange(0, 256, 4, dtype=np.uint8)[None, :, None], 64, 0)
    ramp = np.repeat(ramp, 3, -1)
    assert scanning.small_hash(ramp) == 2**64 - 1
    assert scanning.small_hash(ramp[:, ::-1]) == 0
