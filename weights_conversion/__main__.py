"""Convert published weights: python -m weights_conversion SOURCE OUTPUT."""

import argparse
import sys
from pathlib import Path

from sdd_jax.errors import InputError
from weights_conversion.convert import convert, locate, save


def main(arguments: list[str] | None = None) -> int:
    """Convert and print the card; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m weights_conversion", description=__doc__
    )
    parser.add_argument("source", help="a published file, or package:NAME/PATH")
    parser.add_argument("output", type=Path, help="the checkpoint directory to make")
    parser.add_argument("--arch", help="what AdaFace's network must be, e.g. ir_101")
    parser.add_argument(
        "--colour-order",
        choices=("RGB", "BGR"),
        help="what the network was trained on, where its file does not say",
    )
    options = parser.parse_args(arguments)
    try:
        converted = convert(
            locate(options.source),
            arch=options.arch,
            colour_order=options.colour_order,
        )
        save(converted, options.output)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: cannot write {options.output}: {error}", file=sys.stderr)
        return 1
    for name, value in converted.card.items():
        print(f"{name:>16}  {value}")
    print(f"{'checkpoint':>16}  {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
