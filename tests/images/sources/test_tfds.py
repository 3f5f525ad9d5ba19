import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
import tfds_sets

from sdd_jax.errors import InputError
from sdd_jax.images import SOURCES, decoding
from sdd_jax.images.sources import tfds
from sdd_jax.images.splitting.collection import Collection, SourceImage

PEOPLE = ("ann", "bea", "cem")
NUM_TRAIN, NUM_TEST = 18, 3


def example(seed: int, label) -> dict:
    return {"label": label, "image": tfds_sets.image_file(seed)}


@pytest.fixture(scope="module")
def features():
    library = pytest.importorskip(
        "tensorflow_datasets", reason="pip install 'sdd_jax[tfds]'"
    )
    return library.features


@pytest.fixture(scope="module")
def data_dir(features, tmp_path_factory):
    """Three sets: labels as text, as names, and without an answer in one split."""
    folder = tmp_path_factory.mktemp("tfds")
    split_sizes = {"train": range(NUM_TRAIN), "test": range(100, 100 + NUM_TEST)}
    tfds_sets.write(
        folder,
        "text",
        {"label": features.Text(), "image": features.Image(shape=(24, 24, 3))},
        {
            split: [example(seed, PEOPLE[seed % 3]) for seed in seeds]
            for split, seeds in split_sizes.items()
        },
    )
    tfds_sets.write(
        folder,
        "names",
        {
            "label": features.ClassLabel(names=PEOPLE),
            "number": features.Scalar(np.int64),
            "size": features.Scalar(np.float32),
            "box": features.BBoxFeature(),
            "image": features.Image(),
        },
        {
            "train": [
                example(seed, PEOPLE[seed % 3])
                | {"number": seed % 2, "size": 1.0}
                | {"box": features.BBox(0.0, 0.0, 1.0, 1.0)}
                for seed in range(8)
            ],
            "secret": [
                example(9, -1)
                | {"number": 0, "size": 1.0}
                | {"box": features.BBox(0.0, 0.0, 1.0, 1.0)}
            ],
        },
    )
    return folder


@pytest.fixture
def copy(data_dir, tmp_path):
    """Return a folder with a set that a test may damage."""
    (tmp_path / "text").mkdir()
    folder = tmp_path / "text" / "1.0.0"
    folder.mkdir()
    for path in (data_dir / "text" / "1.0.0").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return tmp_path


def splits(data_dir, name="text", **options):
    return SOURCES["tfds"](
        image_size=24, seed=0, name=name, data_dir=str(data_dir), **options
    )


def test_every_image_is_read_with_its_identity(data_dir):
    found = tfds.images("text", data_dir=str(data_dir)).images
    assert len({image.file for image in found}) == NUM_TRAIN + NUM_TEST
    expected = {
        tfds_sets.image_file(seed): PEOPLE[seed % 3]
        for seed in (*range(NUM_TRAIN), *range(100, 100 + NUM_TEST))
    }
    assert {p.contents(): p.identity for p in found} == expected
    for image in found:
        pixels = decoding.decode(image.contents())
        np.testing.assert_array_equal(image.pixels(image.contents()), pixels)


def test_it_is_split_recorded_and_batched_like_any_source(data_dir, tmp_path):
    first = splits(data_dir, record=tmp_path, validation_fraction=0.2)
    assert first["train"].names == PEOPLE
    assert {name: len(split) for name, split in first.items()} == {
        "train": 15,
        "validation": 3,
        "test": 3,
    }
    again = splits(data_dir, record=tmp_path)
    assert again["test"].files == first["test"].files
    for split in again.values():
        for index, file in enumerate(split.files):
            assert file.split("/")[0] == split.names[split.labels[index]]
    assert again["train"].read(0).shape == (24, 24, 3)


def test_only_the_split_asked_for_is_taken(data_dir):
    for name, size in (("train", NUM_TRAIN), ("test", NUM_TEST), ("train[:6]", 6)):
        found = tfds.images(
            "text:1.0.0", data_dir=str(data_dir), tfds_split=name
        ).images
        assert len(found) == size


def test_a_label_is_called_by_its_name_or_its_number(data_dir):
    options = {"data_dir": str(data_dir), "tfds_split": "train"}
    found = tfds.images("names", **options).images
    assert {p.contents(): p.identity for p in found} == {
        tfds_sets.image_file(seed): PEOPLE[seed % 3] for seed in range(8)
    }
    found = tfds.images("names", label_key="number", **options).images
    assert {p.contents(): p.identity for p in found} == {
        tfds_sets.image_file(seed): str(seed % 2) for seed in range(8)
    }


def test_images_can_be_sent_to_another_process(data_dir):
    first, *_ = tfds.images("text", data_dir=str(data_dir)).images
    same = pickle.loads(pickle.dumps(first))
    assert same.contents() == first.contents()


@pytest.mark.slow
def test_tensorflow_is_not_imported(data_dir):
    program = (
        "import sys; from sdd_jax.images.sources import tfds;"
        f"found = tfds.images('text', data_dir={str(data_dir)!r}).images;"
        "found[0].pixels(found[0].contents()); print('tensorflow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "False\n", done.stderr


def of(counts: dict[str, int]) -> Collection:
    images = [
        SourceImage(
            name, f"{name}/{n}", lambda: b"", lambda contents: np.zeros((1, 1, 3))
        )
        for name, count in counts.items()
        for n in range(count)
    ]
    return Collection(images)


def test_identities_with_too_few_images_are_left_out():
    kept = tfds.with_enough(of({"ann": 3, "bea": 2, "cem": 1}), 2)
    assert [p.file for p in kept.images] == [
        "ann/0",
        "ann/1",
        "ann/2",
        "bea/0",
        "bea/1",
    ]


def test_identities_with_too_few_images_are_named():
    [note] = tfds.with_enough(of({"ann": 3, "bea": 2, "cem": 1}), 3).notes
    assert note == (
        "people left out, with fewer than 3 images each (data.min_images): 2 of 3: "
        "bea, cem"
    )
    assert tfds.with_enough(of({"ann": 3}), 3).notes == ()


def test_a_label_that_is_no_text_is_a_name_all_the_same():
    assert tfds._identity(object(), b"caf\xe9", "text") == "caf\udce9"


def test_nobody_with_enough_images_is_an_error():
    message = "nobody has data.min_images=4 images; the most is 3, lower data.min_im"
    with pytest.raises(InputError, match=message):
        tfds.with_enough(of({"ann": 3, "bea": 2}), 4)


def test_min_images_decides_who_is_told_apart(data_dir):
    # Of seeds 0 to 7, cem has only two.
    options = {"tfds_split": "train", "validation_fraction": 0.0}
    assert splits(data_dir, "names", min_images=2, **options)["test"].names == PEOPLE
    few = splits(data_dir, "names", min_images=3, **options)
    assert few["test"].names == PEOPLE[:2]


def refusal(data_dir, name="text", **options) -> str:
    with pytest.raises(InputError) as caught:
        splits(data_dir, name, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_set_that_is_not_prepared_is_refused_with_the_command(data_dir):
    for name in ("lfw", "text:9.9.9"):
        message = refusal(data_dir, name)
        assert message.startswith(f"{name} is not prepared in {data_dir}: correct data")
        command = (
            f'python -c "import tensorflow_datasets as tfds; tfds.builder({name!r}, '
            f"data_dir='{data_dir}', file_format='array_record')"
            '.download_and_prepare()"'
        )
        assert message.endswith(f"or prepare it: {command}")


def test_what_is_no_name_is_refused(data_dir):
    message = refusal(data_dir, "my set")
    assert message.startswith("data.name='my set' cannot be read: expected SET, SET/CO")


def test_a_set_in_another_format_is_refused_with_the_command(copy):
    path = copy / "text" / "1.0.0" / "dataset_info.json"
    info = json.loads(path.read_text())
    assert info["fileFormat"] == "array_record"
    path.write_text(json.dumps(info | {"fileFormat": "tfrecord"}))
    message = refusal(copy)
    assert "1.0.0 is prepared as tfrecord, expected array_record: remove it" in message
    assert "file_format='array_record').download_and_prepare()" in message


def test_a_split_that_is_not_there_is_refused(data_dir):
    for name in ("dev", "tra in"):
        message = refusal(data_dir, tfds_split=name)
        expected = f"data.tfds_split={name!r}: text has no such split; expected "
        assert message.startswith(expected) and message.endswith("test, train or all")


def test_a_feature_that_is_not_there_is_refused(data_dir):
    for option in ("image_key", "label_key"):
        message = refusal(data_dir, **{option: "face"})
        assert message == (
            f"data.{option}='face': text has no such feature; expected one of image, "
            "label"
        )


def test_a_feature_of_no_use_is_refused(data_dir):
    message = refusal(data_dir, image_key="label")
    assert "is of text's kind Text, expected an Image" in message
    for key, kind in (("box", "BBoxFeature"), ("size", "Scalar"), ("image", "Image")):
        message = refusal(data_dir, "names", label_key=key)
        assert f"data.label_key={key!r} is of names's kind {kind}, expected" in message


def test_images_of_nobody_are_refused(data_dir):
    message = refusal(data_dir, "names", tfds_split="secret")
    assert message.startswith("names holds images whose label is -1, which is nobody")


@pytest.mark.parametrize("place", [40_000, -1])
def test_a_damaged_set_is_refused(copy, place):
    path = next((copy / "text" / "1.0.0").glob("text-train.*"))
    contents = bytearray(path.read_bytes())
    path.write_bytes(contents[:place] if place < 0 else b"")
    message = refusal(copy)
    assert message.startswith("text is damaged (") and message.endswith(
        "): remove its folder and prepare it again"
    )


def test_without_the_package_the_error_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    assert refusal(tmp_path) == (
        "reading sets of TensorFlow Datasets needs a package that is not installed: "
        "pip install 'sdd_jax[tfds]'"
    )
