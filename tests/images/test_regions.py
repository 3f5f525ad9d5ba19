import json

import numpy as np
import pytest
from PIL import Image

from sdd_jax.errors import InputError
from sdd_jax.images import pipeline, regions
from sdd_jax.images.alignment import similarity
from sdd_jax.types import ImageSet

SIZE = 112


def image_set(*files):
    return ImageSet(
        names=("ann",),
        files=files,
        labels=np.zeros(len(files), np.int32),
        read=lambda place: np.full((SIZE, SIZE, 3), place, np.uint8),
    )


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def half(size):
    pixels = np.zeros((size, size), np.uint8)
    pixels[: size // 2] = 255
    return pixels


def test_masks_lie_where_the_images_do_and_may_have_any_size(tmp_path, capfd):
    save(tmp_path / "ann" / "a.png", half(SIZE))
    save(tmp_path / "ann" / "b.png.png", half(56))
    images = image_set("ann/a.jpg", "ann/b.png", "ann/c.png")
    found = regions.of_masks(images, tmp_path, size=SIZE)
    expected = half(SIZE) > 0
    np.testing.assert_array_equal(found.region(0), expected)
    assert (found.region(1) != expected).mean() < 0.01
    assert not found.region(2).any()
    assert "masks of 2 of 3 training images" in capfd.readouterr().out


def test_a_folder_without_any_mask_is_refused_and_what_is_there_is_said(tmp_path):
    def refused(folder, found):
        expected = rf"{found}: no mask of the 1 training images.*ann/a\.png"
        with pytest.raises(InputError, match=expected):
            regions.of_masks(image_set("ann/a.jpg"), folder, size=SIZE)

    refused(tmp_path, "is empty")
    refused(tmp_path / "nowhere", "does not exist")
    save(tmp_path / "ann" / "mask_a.png", half(SIZE))
    refused(tmp_path, "has ann/mask_a.png and the like")
    refused(tmp_path / "ann" / "mask_a.png", "is no folder")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.zeros((20, 30), np.uint8), "30x20 pixels: expected a square"),
        (b"\x89PNG\r\n\x1a\nno more", r"b\.png"),
    ],
)
def test_a_mask_that_is_not_square_or_damaged_is_refused_at_once(
    tmp_path, content, message
):
    save(tmp_path / "ann" / "a.png", half(SIZE))
    if isinstance(content, bytes):
        (tmp_path / "ann" / "b.png").write_bytes(content)
    else:
        save(tmp_path / "ann" / "b.png", content)
    with pytest.raises(InputError, match=message):
        regions.of_masks(image_set("ann/a.jpg", "ann/b.jpg"), tmp_path, size=SIZE)


@pytest.mark.parametrize(
    ("value", "colour"), [(0, "black"), (127, "black"), (128, "white"), (255, "white")]
)
def test_masks_that_tell_nothing_are_refused(tmp_path, value, colour):
    save(tmp_path / "ann" / "a.png", np.full((SIZE, SIZE), value, np.uint8))
    with pytest.raises(InputError, match=f"are {colour} all over.*white \\(128 of"):
        regions.of_masks(image_set("ann/a.jpg"), tmp_path, size=SIZE)


def aligned(folder, files, landmarks):
    rows = [
        {"path": file, "output": file, "landmarks": landmarks.tolist()}
        for file in files
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "alignment.jsonl").write_text(lines)


def test_parts_are_about_the_landmarks_of_the_crop(tmp_path):
    # A photograph in which the face is twice as large, and elsewhere.
    aligned(tmp_path, ["ann/a.png"], 2 * similarity.template() + [30, 50])
    images = image_set("ann/a.png")
    points = np.rint(similarity.template(SIZE)).astype(int)
    shown = {
        part: regions.of_parts(images, tmp_path, [part], size=SIZE).region(0)
        for part in regions.PARTS
    }
    places = {"eyes": points[:2], "nose": points[2:3], "mouth": points[3:]}
    for part, mask in shown.items():
        for other, centres in places.items():
            hits = [mask[y, x] for x, y in centres]
            assert all(hits) == any(hits) == (part == other)
    middle = (points[3] + points[4]) // 2
    assert shown["mouth"][middle[1], middle[0]]
    both = regions.of_parts(images, tmp_path, ["eyes", "mouth"], size=SIZE).region(0)
    np.testing.assert_array_equal(both, shown["eyes"] | shown["mouth"])


def test_the_radius_is_a_share_of_the_eyes_distance(tmp_path):
    aligned(tmp_path, ["ann/a.png"], similarity.template())
    images = image_set("ann/a.png")
    nose = regions.of_parts(images, tmp_path, ["nose"], size=SIZE).region(0)
    eyes = similarity.template(SIZE)[:2]
    radius = 0.35 * np.linalg.norm(eyes[1] - eyes[0])
    assert nose.sum() == pytest.approx(np.pi * radius**2, rel=0.03)


@pytest.mark.parametrize(
    ("files", "parts", "message"),
    [
        (["ann/a.png"], ["ears"], "no part of the face called 'ears': .*eyes, nose"),
        (["ann/b.png"], ["eyes"], r"no line for 1 of 1 training images \(ann/b.png"),
    ],
)
def test_wrong_parts_and_images_that_were_not_aligned_are_refused(
    tmp_path, files, parts, message
):
    aligned(tmp_path, ["ann/a.png"], similarity.template())
    with pytest.raises(InputError, match=message):
        regions.of_parts(image_set(*files), tmp_path, parts, size=SIZE)


def test_parts_without_a_record_of_the_alignment_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"has no alignment\.jsonl, which says"):
        regions.of_parts(image_set("ann/a.png"), tmp_path, ["eyes"], size=SIZE)


def test_regions_go_with_their_images_through_batches_subsets_and_joins():
    def with_regions(image_set, value):
        def region(place):
            mask = np.zeros((SIZE, SIZE), bool)
            mask[place, value] = True
            return mask

        return pipeline.dataclasses.replace(image_set, region=region)

    one = with_regions(image_set("a", "b", "c"), 1)
    (batch,) = pipeline.eval_batches(one, batch_size=4)
    assert batch.regions.shape == (4, SIZE, SIZE) and not batch.regions[3].any()
    assert [batch.regions[i, i, 1] for i in range(3)] == [True] * 3
    chosen = pipeline.subset(pipeline.cached(one), [2, 0])
    assert chosen.region(0)[2, 1] and chosen.region(1)[0, 1]
    both = pipeline.joined([chosen, with_regions(image_set("d"), 5)])
    assert both.files == ("c", "a", "d") and both.region(2)[0, 5]
    np.testing.assert_array_equal(both.read(0), one.read(2))
    assert pipeline.joined([one, image_set("d")]).region is None
    (batch,) = pipeline.eval_batches(image_set("a"), batch_size=1)
    assert batch.regions is None
