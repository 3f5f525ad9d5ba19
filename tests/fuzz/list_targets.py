"""Lists that people keep, and the records that this program writes and reads again."""

import hashlib
import json
import tempfile
from pathlib import Path

import facescrub_tree
import numpy as np
from mutations import of_text
from oracle import refusable
from target import Target

from sdd_jax import files
from sdd_jax.images.alignment import aligned_folder, wanted_faces
from sdd_jax.images.sources import facescrub, folder
from sdd_jax.images.splitting import splits
from sdd_jax.runs import pair_images, verify_images
from sdd_jax.types import ImageSet
from sdd_jax.verification import gallery_files, groups
from sdd_jax.verification.gallery_files import Enrolled, Gallery


def _tree(place: Path) -> Path:
    """Return FaceScrub's photographs of four people, written once a folder."""
    root = place / "tree"
    if not root.exists():
        facescrub_tree.write_photographs(root, num_identities=4, num_images=2)
    return root


def _facescrub_seeds() -> list[bytes]:
    rows = [
        "Persona Ofa\t0\t7\thttp://example.org/0.jpg\t15,16,47,48\t",
        "Personb Ofa\t2\t9\thttp://example.org/2.jpg\t15,16,47,48\t" + 64 * "a",
        "Persona Ofa\t1\t8\thttp://example.org/1.jpg\t-4,0,60,64\t",
    ]
    header = facescrub_tree.HEADER
    return [(header + "\n".join(rows)).encode(), "\r\n".join(rows).encode()]


def read_facescrub(contents: bytes, place: Path) -> None:
    """Take the faces of a list, and look for faces at its boxes."""
    root = _tree(place)
    (root / "facescrub_actors.txt").write_bytes(contents)
    (root / "facescrub_actresses.txt").unlink(missing_ok=True)
    found = facescrub.images(root).images
    paths = [image.file for image in found]
    wanted = wanted_faces.wanted_faces(root, paths, root, largest_face=True)
    for path in wanted.paths[:3]:
        refusable(wanted.read, path)
    for image in found[:3]:
        refusable(image.pixels, image.contents())


def _image_set() -> ImageSet:
    names = [f"Ann/Ann_000{i}.jpg" for i in (1, 2)] + ["Ben/Ben_0001.jpg"]
    return ImageSet(
        names=("Ann", "Ben"),
        files=tuple(names),
        labels=np.array([0, 0, 1], np.int32),
        read=lambda place: np.zeros((16, 16, 3), np.uint8),
    )


_PAIRS = b"2\t1\nAnn\t1\t2\nAnn\t1\tBen\t1\nAnn\t2\t1\nAnn\t2\tBen\t1\n"
_GROUPS = b'Ann,left\nBen/Ben_0001.jpg,right\n"x, y",left\n'
_BOXES = b"\n".join(
    b'{"path": "%s", "box": [1, 2, 3.5, 4]}' % name
    for name in (b"a/1.png", b"./A/2.png", b"a\\\\3.png")
)


def _read_pairs(contents: bytes, place: Path) -> None:
    path = place / "pairs.txt"
    path.write_bytes(contents)
    verify_images.listed_pairs(_image_set(), path)


def _read_groups(contents: bytes, place: Path) -> None:
    path, known = place / "groups.csv", _image_set()
    path.write_bytes(contents)
    owners = [known.names[label] for label in known.labels]
    groups.labels_of(groups.read(path), known.files, owners, path)


def _read_boxes(contents: bytes, place: Path) -> None:
    path = place / "boxes.jsonl"
    path.write_bytes(contents)
    images = ["a/1.png", "a/2.png", "a/3.png"]
    wanted_faces.wanted_faces(place, images, path)


def _alignment_seeds() -> list[bytes]:
    row = {"path": "a/1.png", "output": "a/1.png", "box": [1.0, 2, 3, 4]}
    row |= {"landmarks": [[1.0, 2.0]] * 5, "score": 0.9, "residual": 0.5}
    bad = {"path": "a/2.png", "reason": "no face", "looked_at": False}
    return ["".join(map(files.line_of, rows)).encode() for rows in ([row, bad], [row])]


def _read_alignment(contents: bytes, place: Path) -> None:
    folder = place / "aligned"
    (folder / "a").mkdir(parents=True, exist_ok=True)
    (folder / "a" / "1.png").touch()
    path = folder / "alignment.jsonl"
    path.write_bytes(contents)
    config = {"verify": {"align": True}, "data": {"source": "folder"}}
    pair_images.known_landmarks(config, place)
    path.write_bytes(contents)
    done = aligned_folder.resume(path)
    outputs = {row["path"]: row["output"] for row in done if "reason" not in row}
    aligned_folder.names(["a/1.png", "a/2.png"], outputs)
    options = {"size": 112, "source": "x"}
    (folder / "options.json").write_bytes(contents.partition(b"\n")[0])
    aligned_folder.begin(folder, options)


def _split_seeds() -> list[bytes]:
    rows = [
        {"split": split, "identity": who, "file": f"{who}/{number}.png"}
        for who in ("ann", "ben")
        for number, split in enumerate(splits.SPLITS)
    ]
    for row in rows:
        row["sha256"] = hashlib.sha256(row["file"].encode()).hexdigest()
    return ["".join(map(files.line_of, rows)).encode()]


def _read_split(contents: bytes, place: Path) -> None:
    root, record = place / "people", place / "record"
    record.mkdir(exist_ok=True)
    for who in ("ann", "ben"):
        for number in range(3):
            path = root / who / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    (record / "split.jsonl").write_bytes(contents)
    splits.splits_of(
        folder.images(root),
        image_size=16,
        seed=0,
        validation_fraction=0.2,
        test_fraction=0.2,
        record=record,
    )


def _gallery(place: Path) -> Path:
    made_with = {"network": {"checkpoint": "x"}, "input": {}, "alignment": {}}
    units = np.eye(3, dtype=np.float32)
    gallery = Gallery(("ann", "ben"), (2, 1), units[:2], made_with, {"numpy": "2"})
    rows = [{"name": name, "file": "1.jpg"} for name in ("ann", "ann", "ben")]
    gallery_files.save(place / "gallery", gallery, Enrolled(rows, units))
    return place / "gallery"


_FILES = ("people.jsonl", "images.jsonl", "references.npy", "embeddings.npy")


def _gallery_seeds() -> list[bytes]:
    with tempfile.TemporaryDirectory() as scratch:
        made = _gallery(Path(scratch))
        contents = [(made / name).read_bytes() for name in _FILES]
        manifest = (made / "manifest.json").read_bytes()
    return [b"m" + manifest, *(b"%d" % i + x for i, x in enumerate(contents))]


def read_gallery(contents: bytes, place: Path) -> None:
    """Read a gallery of which one file is another; its hashes are made to fit."""
    made, which = _gallery(place), contents[:1]
    path = made / "manifest.json"
    manifest = json.loads(path.read_text())
    if which and which in b"0123":
        name = _FILES[int(which)]
        (made / name).write_bytes(contents[1:])
        manifest["sha256"][name] = hashlib.sha256(contents[1:]).hexdigest()
    else:
        path.write_bytes(contents[1:])
        try:
            manifest = json.loads(contents[1:])
        except (ValueError, RecursionError):
            manifest = None
    if isinstance(manifest, dict):
        manifest.pop("manifest_sha256", None)
        manifest["manifest_sha256"] = files.json_sha256(manifest)
        path.write_text(json.dumps(manifest))
    for load in (gallery_files.load, gallery_files.load_enrolled):
        refusable(load, made)


TARGETS = (
    Target("FaceScrub lists", _facescrub_seeds, read_facescrub, of_text),
    Target("pairs lists", lambda: [_PAIRS, _PAIRS[2:]], _read_pairs, of_text),
    Target("groups lists", lambda: [_GROUPS], _read_groups, of_text),
    Target("box files", lambda: [_BOXES], _read_boxes, of_text),
    Target("alignment records", _alignment_seeds, _read_alignment, of_text),
    Target("split files", _split_seeds, _read_split, of_text),
    Target("gallery files", _gallery_seeds, read_gallery, of_text),
)
