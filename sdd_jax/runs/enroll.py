"""Enrolment: a folder of people's images -> a gallery, or more of one.

What is there already is not computed again: an image is told by its file's bytes. Until
the gallery is written, faces and embeddings are kept beside it, in .NAME-work: a run
that was stopped goes on.
"""

import contextlib
import functools
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sdd_jax import distributed, files, models, screen, sharding
from sdd_jax.errors import InputError
from sdd_jax.images import decoding
from sdd_jax.images.sources import folder as folder_source
from sdd_jax.images.splitting import identities, scanning
from sdd_jax.images.splitting.collection import Collection
from sdd_jax.models import FaceClassifier
from sdd_jax.reports import identify_table
from sdd_jax.runs import embedder, faces, galleries, store, workdir
from sdd_jax.runs.new_images import NewImage, face_file, unknown, with_faces
from sdd_jax.types import ImageSet
from sdd_jax.verification import gallery_files
from sdd_jax.verification.gallery_files import Enrolled, Gallery

PIECE = 2048  # images whose embeddings are kept together


_NOTHING = Enrolled((), np.zeros((0, 0), np.float32))


def enroll(
    images: Path,
    folder: Path,
    *,
    source: str = embedder.SFACE,
    compute_dtype: str | None = None,
    align: bool = True,
    largest: bool = False,
    min_score: float = faces.MIN_SCORE,
    batch_size: int = 32,
) -> Gallery:
    """Write a gallery of the people in a folder, or add them to the one that is there.

    Args:
        images: <name>/<files>; see the data source "folder".
        folder: the gallery. People in it whose images are not given again stay.
        source: the network that embeds; see `embedder.published`.
        compute_dtype: what it convolves in; as trained where None.
        align: whether faces are to be found and aligned.
        largest: whether to take the largest of several faces; else the image is left
            out.
        min_score: faces that are less certain, from 0 to 1, do not count.
        batch_size: images a batch, over all devices.

    Raises:
        InputError: the folders or the options do not fit, the gallery is of another
            network or alignment, one image is two people's, or no face was found.
    """
    if not 0 <= min_score <= 1:
        raise InputError(f"--min-score={min_score:g}: expected a score from 0 to 1")
    sharding.check_batch_size(batch_size, "--batch-size")
    folder = folder.resolve()
    _require_apart(images, folder)
    collection = folder_source.images(images)
    _require_names(collection)
    lock = folder.with_name(f".{folder.name}.lock")
    is_first = distributed.is_first()
    with files.lock(lock, of=folder) if is_first else contextlib.nullcontext():
        earlier = gallery_files.load(folder) if gallery_files.exists(folder) else None
        known = gallery_files.load_enrolled(folder) if earlier else _NOTHING
        model, provenance = embedder.published(source, dtype=compute_dtype)
        made_with = galleries.made_with(model, provenance, aligned=align)
        if earlier:
            gallery_files.require_same(folder, earlier.made_with, made_with)
        new, skipped = unknown(collection, known.rows)
        options = {"largest": largest, "min_score": min_score}
        make = faces.maker(size=model.spec.size, align=align, **options)
        work = folder.with_name(f".{folder.name}-work")
        begin = functools.partial(_begin, work, made_with | options)
        distributed.first_then_all("a place to work", begin)
        find = functools.partial(with_faces, new, work, make)
        new, faceless = distributed.first_then_all("the faces", find)
        skipped += faceless
        enrolled = _joined(known, new, _embedded(new, work, model, batch_size))
        if not enrolled.rows:
            raise InputError(
                f"none of the {len(skipped)} images in {images} can be enrolled; the "
                f"first: {skipped[0]['reason']}"
            )
        gallery = _gallery(enrolled, made_with)
        if not is_first:
            return gallery
        gallery_files.save(folder, gallery, enrolled, skipped)
        shutil.rmtree(work)
    _report(collection, gallery, skipped)
    screen.say(
        f"enrolled: {len(gallery.names)} people, {len(enrolled.rows)} images "
        f"({len(new)} new), {folder}"
    )
    return gallery


def _require_names(collection: Collection) -> None:
    """Raise InputError where somebody has the name that stands for nobody."""
    for image in collection.images:
        if image.identity.strip().upper() == identify_table.NOBODY:
            raise InputError(
                f"a person is called {image.identity}, which is what --mode=identify "
                f"says of who is not enrolled: rename the folder"
            )


def _require_apart(images: Path, folder: Path) -> None:
    here, there = images.resolve(), folder.resolve()
    if here.is_relative_to(there) or there.is_relative_to(here):
        raise InputError(
            f"IMAGES {images} and GALLERY {folder} lie in one another; expected two "
            f"folders apart, choose another GALLERY"
        )


def _begin(work: Path, key: Mapping[str, Any]) -> None:
    """Make the folder of what is kept; what another command left there goes."""
    path, sha256 = work / "made_with.json", files.json_sha256(key)
    try:
        is_ours = files.json_sha256(files.parsed(files.read_text(path))) == sha256
    except (OSError, ValueError):
        is_ours = False
    if not is_ours:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        files.write_json(path, key)


def _embedded(
    new: Sequence[NewImage], work: Path, model: FaceClassifier, batch_size: int
) -> dict[str, np.ndarray]:
    """Return `embeddings` and `norms`, what a stopped run had of them included.

    Raises:
        InputError: an embedding is NaN, infinite or 0; the message names the file.
    """
    pieces = []
    for start in range(0, len(new), PIECE):
        piece = new[start : start + PIECE]
        image_set = ImageSet(
            names=("",),
            files=tuple(one.file for one in piece),
            labels=np.zeros(len(piece), np.int32),
            read=lambda place, piece=piece: decoding.decode(
                face_file(work, piece[place])
            ),
        )
        pieces.append(
            store.kept(
                work / "embeddings",
                [batch_size, *(one.sha256 for one in piece)],
                functools.partial(
                    embedder.embedded, model, image_set, batch_size=batch_size
                ),
            )
        )
    if not pieces:
        return {}
    return {name: np.concatenate([x[name] for x in pieces]) for name in pieces[0]}


def _joined(
    known: Enrolled, new: Sequence[NewImage], found: Mapping[str, np.ndarray]
) -> Enrolled:
    """Return all images, by name and file."""
    if not new:
        return known
    rows = [*known.rows]
    for one, norm in zip(new, found["norms"].tolist(), strict=True):
        row = {"name": one.name, "file": one.file, "sha256": one.sha256}
        rows.append(row | {"norm": norm})
    embeddings = found["embeddings"]
    if known.rows:
        embeddings = np.concatenate([known.embeddings, embeddings])
    order = sorted(range(len(rows)), key=lambda i: (rows[i]["name"], rows[i]["file"]))
    return Enrolled([rows[i] for i in order], embeddings[order])


def _gallery(enrolled: Enrolled, made_with: Mapping[str, Any]) -> Gallery:
    owners = [row["name"] for row in enrolled.rows]  # in order
    names, labels, counts = np.unique(
        np.array(owners, object), return_inverse=True, return_counts=True
    )
    shown = [row["file"] for row in enrolled.rows]
    references = models.references_of(enrolled.embeddings, labels, shown)
    return Gallery(
        tuple(names.tolist()),
        tuple(counts.tolist()),
        references,
        made_with,
        workdir.versions(),
    )


def _report(
    collection: Collection, gallery: Gallery, skipped: Sequence[Mapping[str, str]]
) -> None:
    """Say what was left out, and what else there is to know."""
    scanning.say_left_out(
        collection, kept=gallery.names, lacking="an image to enrol", listed=""
    )
    for note in identities.lookalikes(gallery.names):
        if note not in collection.notes:
            screen.say(note)
    if skipped:
        total = len(collection.images)
        reasons = [row["reason"] for row in skipped]
        screen.say(
            f"images left out: {len(skipped)} of {total}, see skipped.jsonl of the "
            f"gallery: {screen.first_of(reasons)}"
        )
    given = {image.identity for image in collection.images}
    others = [name for name in gallery.names if name not in given]
    if others:
        screen.say(
            f"enrolled before and not given again, so they stay: {len(others)} "
            f"({screen.first_of(others)})"
        )
