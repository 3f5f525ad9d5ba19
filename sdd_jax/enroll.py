"""Enrol people in a gallery: python -m sdd_jax.enroll IMAGES GALLERY.

IMAGES holds a folder a person, <name>/<files>. Every image's face is found, aligned and
embedded by a published network, SFace by default; a person's reference is the mean of
the embeddings. GALLERY appears whole or not at all:

    references.npy    float32, one a person, of length 1
    people.jsonl      name and number of images of each, in the same order
    embeddings.npy    float32, one an image
    images.jsonl      whose, file and fingerprint of each, in the same order
    skipped.jsonl     path and reason of every image without one face, or damaged
    manifest.json     network, colour order, alignment, versions, checksums

The same command adds people and images to a gallery that is there, and computes nothing
again; who is in it stays in it. A run that was stopped goes on. Images are not copied,
but embeddings are biometric data: keep them as you would keep the images.
"""

import argparse
import dataclasses
import os
import sys
from pathlib import Path
from typing import Any

import jax

from sdd_jax import cli, launch, sharding
from sdd_jax.files import expanded
from sdd_jax.runs import embedder, faces, workdir
from sdd_jax.runs.enroll import enroll


def main(arguments: list[str] | None = None) -> int:
    """Enrol a folder; return the exit status, after one line on what went wrong."""
    options = _parser().parse_args(arguments)

    names = [field.name for field in dataclasses.fields(launch.Asked)]
    processes = launch.Asked(**{name: getattr(options, name) for name in names})

    def work() -> None:
        jax.set_mesh(sharding.make_mesh(None))
        enroll(
            expanded(options.images),
            expanded(options.gallery),
            source=options.model,
            compute_dtype=options.compute_dtype,
            align=options.align,
            largest=options.largest,
            min_score=options.min_score,
            batch_size=options.batch_size,
        )

    def facts() -> dict[str, Any]:
        told = {k: str(v) for k, v in vars(options).items() if k != "process_id"}
        return told | {"the code (its SHA-256)": workdir.code_sha256()}

    return cli.run(
        lambda: launch.run(processes, facts, work),
        stopped="stopped; what was finished is kept, the same command goes on",
        way_out="make room, or choose another GALLERY",
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sdd_jax.enroll",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("images", type=Path, help="a folder of people's folders")
    parser.add_argument("gallery", type=Path, help="the folder to write, outside it")
    parser.add_argument(
        "--model",
        metavar="SOURCE",
        default=embedder.SFACE,
        help="what embeds: a published file, or a checkpoint of python -m "
        "weights_conversion; SFace by default",
    )
    parser.add_argument(
        "--compute-dtype", help="float32 or bfloat16; as the network was trained"
    )
    parser.add_argument(
        "--align",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="find and align faces; --no-align where that was done already",
    )
    parser.add_argument(
        "--largest",
        action="store_true",
        help="take the largest of several faces; else such an image is left out",
    )
    parser.add_argument(
        "--min-score",
        type=float,
        default=faces.MIN_SCORE,
        help="faces that are less certain do not count (%(default)s)",
    )
    parser.add_argument(
        "--batch-size", type=int, default=32, help="images at a time (%(default)s)"
    )
    parser.add_argument(
        "--coordinator", help="HOST:PORT of process 0, where several are one run"
    )
    parser.add_argument("--num_processes", type=int, help="how many there are")
    parser.add_argument("--process_id", type=int, help="which this is, from 0")
    parser.add_argument(
        "--distributed",
        action="store_true",
        help="find out the three above from Slurm, a TPU VM or Kubernetes",
    )
    parser.add_argument(
        "--start_seconds",
        type=int,
        default=launch.START_SECONDS,
        help="how long all may take to begin (%(default)s)",
    )
    parser.add_argument(
        "--heartbeat_seconds",
        type=int,
        default=launch.HEARTBEAT_SECONDS,
        help="after how long without an answer one counts as gone (%(default)s)",
    )
    return parser


if __name__ == "__main__":
    status = main()
    if status:
        # As in main.py.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
