"""Convert published weights to a checkpoint, or a checkpoint to a file for PyTorch."""

import argparse
import sys
from pathlib import Path
from typing import Any

from sdd_jax import cli
from sdd_jax.errors import InputError
from sdd_jax.files import expanded
from sdd_jax.models.ir_resnet import ARCHITECTURES
from sdd_jax.screen import say
from weights_conversion.convert import convert, locate, save
from weights_conversion.export import export
from weights_conversion.new_head import num_classes_of, with_pooled_head

_USAGE = """
  python -m weights_conversion SOURCE OUTPUT [--arch=ARCH] [--colour-order=ORDER]
                               [--part=NAME] [--head=pooled:NUMBER [--seed=SEED]]
  python -m weights_conversion --to=torch CHECKPOINT OUTPUT"""
_EPILOG = """
examples:
  python -m weights_conversion adaface_ir101_webface12m.ckpt weights/ir101
  python -m weights_conversion --head=pooled:530 model.safetensors weights/ir101_530
  python -m weights_conversion --to=torch weights/ir101 back.ckpt

exit status:
  0    done; the card is printed
  1    refused: one line on stderr says why, and there is no new checkpoint or file
  2    the command itself is wrong
  130  stopped with Ctrl-C"""


def main(arguments: list[str] | None = None) -> int:
    """Convert or export, print the card, and return the exit status."""
    options = _parser().parse_args(arguments)

    def work() -> None:
        options.output = expanded(options.output)
        done = _export(options) if options.to else _convert(options)
        for name, value in done.items():
            say(f"{name:>16}  {value}")

    return cli.run(
        work,
        stopped="stopped; run the same command again",
        way_out="make room, or choose another OUTPUT",
    )


def _convert(options: argparse.Namespace) -> dict[str, Any]:
    # Before a file of 260 MB is read for nothing.
    num_classes = None if options.head is None else num_classes_of(options.head)
    if options.seed is not None and num_classes is None:
        raise InputError("--seed draws a fresh head: give --head=pooled:NUMBER too")
    converted = convert(
        locate(options.source),
        arch=options.arch,
        colour_order=options.colour_order,
        part=options.part,
    )
    if num_classes is not None:
        converted = with_pooled_head(converted, num_classes, seed=options.seed or 0)
    save(converted, options.output)
    return converted.card | {"checkpoint": options.output}


def _export(options: argparse.Namespace) -> dict[str, Any]:
    given = [
        f"--{name.replace('_', '-')}"
        for name in ("arch", "colour_order", "part", "head", "seed")
        if getattr(options, name) is not None
    ]
    if given:
        raise InputError(
            f"found {', '.join(given)} beside --to=torch, but an export goes by the "
            f"checkpoint alone: leave it out"
        )
    return export(expanded(options.source), options.output) | {"file": options.output}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m weights_conversion",
        usage=_USAGE,
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="AdaFace's .ckpt, .pt, .pth or .safetensors, alone or among a trainer's "
        "state, dlib's .dat, OpenCV's SFace .onnx, or such a file in an installed "
        "package: package:NAME/PATH. With --to=torch: a converted checkpoint, or a "
        "fine-tuned workdir, whose best step is taken",
    )
    parser.add_argument(
        "output",
        metavar="OUTPUT",
        type=Path,
        help="the checkpoint directory to make. With --to=torch: the file to make, "
        ".ckpt for a BGR network, .pt or .safetensors for an RGB one. What is there "
        "already is never replaced",
    )
    parser.add_argument(
        "--to", choices=("torch",), help="export for PyTorch, which need not be there"
    )
    parser.add_argument(
        "--arch",
        help=f"what AdaFace's network must be: {', '.join(_published())}; told from "
        f"the file without it",
    )
    parser.add_argument(
        "--colour-order",
        choices=("RGB", "BGR"),
        help="what the network was trained on, where its file does not say (keys "
        "without a published prefix; BGR without this option)",
    )
    parser.add_argument(
        "--part",
        metavar="NAME",
        help="which network to take from a file with several that differ, such as a "
        "model and the running average of its weights; the error names them",
    )
    parser.add_argument(
        "--head",
        metavar="pooled:NUMBER",
        help="leave the network's own last layer out, and put a fresh classifier of "
        "NUMBER people over averaged features in its place",
    )
    parser.add_argument(
        "--seed",
        type=int,
        help="of the fresh head (default 0); the pooled head starts at zero, so every "
        "seed gives the same",
    )
    return parser


def _published() -> list[str]:
    return [arch for arch in ARCHITECTURES if arch != "ir_tiny"]


if __name__ == "__main__":
    sys.exit(main())
