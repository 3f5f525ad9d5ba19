"""Align faces: python -m sdd_jax.images.align SOURCE OUTPUT.

Every image below SOURCE, whatever the nesting, becomes a square PNG with its largest
face, or with --boxes the face at its box, where AdaFace and ArcFace expect it, in the
same folder below OUTPUT:

    <folder>/<name>.png   uint8 RGB; black where the photograph ends
    alignment.jsonl       path, output, box, landmarks, score, num_faces and residual
    skipped.jsonl         path and reason of every image without a crop, and of
                          every file that is no image, with "looked_at": false
    options.json          what the crops were made from, and with

The residual is how far the landmarks are from the expected ones, root mean square, in
pixels of a 112 x 112 crop; an image where it is above 10 is skipped. Where two
images of a folder differ in nothing but their suffix, the second keeps it: a.jpg
gives a.png, and a.png then gives a.png.png.

With --boxes an image that has none is skipped, unless --largest-face is given. The
paths in a file of boxes may differ from the images' in Unicode form, case and
slashes, and may begin with ./ or SOURCE. A line that fits no image is counted.

A run that was stopped goes on: what alignment.jsonl and skipped.jsonl name is not
looked at again, even if the image has changed since. Remove a line to have its
image done again. Hidden files and folders are left out, and each folder is entered
once, however many links lead to it.
"""

import argparse
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sdd_jax import cli
from sdd_jax.errors import InputError
from sdd_jax.files import expanded, line_of, lock, write_rows
from sdd_jax.images import preprocess
from sdd_jax.images.alignment import aligned_folder, crops
from sdd_jax.images.alignment.aligned_folder import Row
from sdd_jax.images.alignment.detectors import load_mtcnn
from sdd_jax.images.alignment.similarity import SIZE
from sdd_jax.images.alignment.wanted_faces import wanted_faces
from sdd_jax.images.sources.facescrub_files import OTHER_KIND
from sdd_jax.images.splitting.identities import some
from sdd_jax.images.splitting.scanning import say_others
from sdd_jax.screen import progress, say


def main(arguments: list[str] | None = None) -> int:
    """Align a folder; return the exit status, after one line on what went wrong."""
    options = _parser().parse_args(arguments)

    def work() -> None:
        stop = threading.Event()
        # Images in the works are finished; `cli.run` puts its own handler back.
        signal.signal(signal.SIGINT, lambda *_: stop.set())
        align(
            expanded(options.source),
            expanded(options.output),
            size=options.size,
            min_score=options.min_score,
            boxes=options.boxes and expanded(options.boxes),
            largest_face=options.largest_face,
            stop=stop,
        )

    return cli.run(
        work,
        stopped="stopped; what was finished is kept, the same command goes on",
        way_out="make room, or choose another OUTPUT",
    )


def align(
    source: Path,
    output: Path,
    *,
    size: int = SIZE,
    min_score: float = 0.9,
    boxes: Path | None = None,
    largest_face: bool = False,
    stop: threading.Event | None = None,
) -> None:
    """Write the aligned face of every image below a folder.

    Args:
        source: Where the images are.
        output: An empty folder, a new one, or that of a run to go on with.
        size: Height and width of the crops, in pixels.
        min_score: Faces that are less certain, from 0 to 1, do not count.
        boxes: JSON lines with path and box, x1, y1, x2 and y2, or a folder with
            FaceScrub's lists: of several faces the one that overlaps its image's box
            most is taken, not the largest.
        largest_face: Of an image without a box among these, take the largest face;
            else it is left out.
        stop: Once set, the images being worked on are the last.

    Raises:
        InputError: The folders or the options do not fit, or no face was found at all.
        KeyboardInterrupt: `stop` was set.
    """
    if not (16 <= size <= 2048 and 0 <= min_score <= 1):
        raise InputError(
            f"--size={size} --min-score={min_score:g}: expected a size from 16 to 2048 "
            "pixels, and a score from 0 to 1"
        )
    listed = aligned_folder.images(source, output)
    wanted = wanted_faces(source, listed.images, boxes, largest_face=largest_face)
    others: list[Row] = [
        {"path": path, "reason": OTHER_KIND}
        for path in sorted(set(listed.images) - set(wanted.paths))
    ]
    others = [row | {"looked_at": False} for row in listed.others + others]
    detect = load_mtcnn()
    options = {"detector": "mtcnn", "size": size, "min_score": min_score}
    options |= {"boxes": wanted.sha256, "source": str(source.resolve())}
    options |= {"largest_face": largest_face or boxes is None}
    # Nobody was left out then for having no line in a file of boxes.
    earlier = {"largest_face": boxes is None or boxes.is_file()}
    aligned_folder.begin(output, options, earlier)
    with lock(output / ".lock", of=output):
        good, bad = output / "alignment.jsonl", output / "skipped.jsonl"
        done, skipped = aligned_folder.resume(good), aligned_folder.resume(bad)
        # What was no image may be one now.
        skipped = [row for row in skipped if row.get("looked_at", True)]
        write_rows(bad, others + skipped)
        say_others(others, f", see {bad}")
        names = aligned_folder.names(
            wanted.paths, {row["path"]: row["output"] for row in done}
        )
        known = {row["path"] for row in done + skipped}
        todo = [path for path in wanted.paths if path not in known]

        def work(number: int, path: str) -> Row:
            try:
                pixels, box = wanted.read(path)
                preprocess.checked(pixels, path, of=pixels)
                crop, row = crops.aligned(
                    pixels, detect, size=size, min_score=min_score, box=box
                )
            except InputError as error:
                return {"path": path, "reason": str(error)}
            aligned_folder.save(crop, output / names[path], number)
            return {"path": path, "output": names[path]} | row

        with (
            contextlib.closing(
                _results(work, todo, stop or threading.Event())
            ) as results,
            good.open("a", encoding="utf-8") as good_lines,
            bad.open("a", encoding="utf-8") as bad_lines,
        ):
            for row in results:
                is_bad = "reason" in row
                (skipped if is_bad else done).append(row)
                lines = bad_lines if is_bad else good_lines
                lines.write(line_of(row))
                lines.flush()  # what is finished stays finished, whatever comes next
    total = len(done) + len(skipped)
    if not done:
        raise InputError(
            f"none of the {total} images in {source} could be aligned, see "
            f"{bad}; the first: {skipped[0]['reason']}"
        )
    where = f", see {bad}" if skipped else ""
    say(
        f"faces aligned: {len(done)} of {total} images "
        f"({len(todo)} looked at in this run){where}"
    )
    # People, as a rule: who has no crop is nobody for whatever comes next.
    looked_at = {_folder(path) for path in wanted.paths}
    outer = {_folder(folder) for folder in listed.folders}
    empty = set(listed.folders) - outer - {_folder(path) for path in listed.images}
    without = sorted((looked_at | empty) - {_folder(row["path"]) for row in done})
    if without:
        say(
            f"folders without any aligned face: {len(without)} of "
            f"{len(looked_at | empty)}: {some(without)}"
        )


def _folder(path: str) -> str:
    return path.rpartition("/")[0] or "."


def _results(
    work: Callable[[int, str], Row], todo: list[str], stop: threading.Event
) -> Generator[Row]:
    """Yield what becomes of each image, in order."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            rows = pool.map(work, range(len(todo)), todo)
            shown = progress(rows, "aligning faces", total=len(todo))
            for number, row in enumerate(shown, 1):
                yield row
                if stop.is_set() and number < len(todo):
                    raise KeyboardInterrupt
        finally:
            pool.shutdown(cancel_futures=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sdd_jax.images.align",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", type=Path, help="a folder of photographs")
    parser.add_argument("output", type=Path, help="the folder to write, outside it")
    parser.add_argument(
        "--size", type=int, default=SIZE, help="height and width (%(default)s)"
    )
    parser.add_argument(
        "--min-score",
        type=float,
        default=0.9,
        help="faces that are less certain do not count (%(default)s)",
    )
    parser.add_argument(
        "--boxes",
        type=Path,
        help='which of several faces: a file of lines {"path": "ann/1.jpg", "box": '
        "[x1, y1, x2, y2]}, or the folder with FaceScrub's published lists",
    )
    parser.add_argument(
        "--largest-face",
        action="store_true",
        help="take the largest face of an image without a box; else it is left out",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
