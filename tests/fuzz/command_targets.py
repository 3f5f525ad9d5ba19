"""What a command line may say: overrides of a config, modes, names of images."""

import functools
import signal
import sys
from pathlib import Path
from typing import Any

from mutations import of_text
from parsed_flags import forget
from target import Target

from sdd_jax.runs import settings, setup

_ROOT = Path(__file__).resolve().parents[2]
_FIXED = ("config", "flagfile", "help", "?", "only_check_args", "run_with", "pdb")
_LINES = (
    "--config.train.steps=3\n--config.eval.methods=sdd,cam\n--mode=eval",
    "--config.data.source=folder\n--config.data.root=x\n--config.data.max_skipped=0.1",
    "--mode=explain_pair\na.jpg\nb.jpg\n--config.explain_pair.largest",
    "--config.train.remat\n--noconfig.train.remat\n--num_devices=2\n--workdir=~/x",
    "--config.saliency.sdd.scale=None\n--config.model.backbone.num_blocks=3",
    "--config.seed\n7\n--gallery=x\n--mode\nidentify\n--config.eval.fills=('black',)",
    "--config.train.head_learning_rate=1e-3\n--config.data.num_train=two\n--\nx",
)


@functools.cache
def _program() -> Any:
    """Return the module, which takes Ctrl-C while it loads."""
    handler = signal.getsignal(signal.SIGINT)
    sys.path.insert(0, str(_ROOT))
    import main

    signal.signal(signal.SIGINT, handler)
    return main


def arguments_of(contents: bytes) -> list[str]:
    """Return an argument a line, without those that only start other programs."""
    lines = contents.replace(b"\0", b"").decode("utf-8", "surrogateescape").split("\n")
    return [
        line
        for line in lines
        if not line.lstrip("-").partition("=")[0].startswith(_FIXED)
        or line.lstrip("-").startswith("config.")
    ]


def read_command(contents: bytes, folder: Path) -> None:
    """Parse a command line, and check the config that it gives."""
    program, before = _program(), sys.argv
    config = f"--config={_ROOT / 'configs' / 'smoke.py'}"
    try:
        found, _, _ = program._parse(["main.py", config, *arguments_of(contents)])
        settings.check(found)
        setup.source_arguments(found)
    finally:
        sys.argv = before
        forget()


TARGETS = (
    Target(
        "command lines", lambda: [x.encode() for x in _LINES], read_command, of_text
    ),
)
