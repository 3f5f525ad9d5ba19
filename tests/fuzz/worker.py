"""One target, fuzzed in a process of its own; `long_run.py` starts and watches it.

Atheris, which is libFuzzer for Python, sees which lines of the project and of Pillow an
input reaches and goes on from those that reach new ones. A finding is written down and
the process goes on; a hang and a crash end it, and libFuzzer leaves the input.
"""

import json
import os
import random
import resource
import sys
import time
from pathlib import Path

import atheris


def main(name: str, folder: Path, bytes_more: int, rest: list[str]) -> None:
    """Fuzz until libFuzzer's limits in `rest`; write `state.json` and findings."""
    with atheris.instrument_imports(
        include=["sdd_jax", "weights_conversion", "PIL", "main"]
    ):
        from all_targets import TARGETS
        from oracle import judge
    from sdd_jax import screen

    target = TARGETS[name]
    screen.console.file = Path(os.devnull).open("w")
    seeds, scratch = target.seeds(), folder / "scratch"
    scratch.mkdir(exist_ok=True)
    judge(lambda: target.read(seeds[0], scratch))  # loads what it needs
    loaded = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    _limit(bytes_more)
    known: set[str] = set()
    count, written = 0, 0.0

    def one(contents: bytes) -> None:
        nonlocal count, written
        count += 1
        found = judge(lambda: target.read(contents, scratch))
        if found and found.kind not in known:
            known.add(found.kind)
            number = len(list(folder.glob("finding-*.bin")))
            (folder / f"finding-{number}.bin").write_bytes(contents)
            lines = [found.kind, found.text]
            (folder / f"finding-{number}.txt").write_text("\n".join(lines))
        if found or time.monotonic() > written + 0.2:
            written = time.monotonic()
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            state = {"inputs": count, "peak": peak, "loaded": loaded}
            (folder / "state.json").write_text(json.dumps(state))

    def mutated(contents: bytes, most: int, seed: int) -> bytes:
        if seed % 3 == 0:
            return atheris.Mutate(contents, len(contents) + 64)[:most]
        return target.mutate(contents, random.Random(seed), seeds)[:most]

    atheris.Setup([sys.argv[0], *rest], one, custom_mutator=mutated)
    atheris.Fuzz()


def _limit(bytes_more: int) -> None:
    """Let the process have so much more address space than it has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + bytes_more
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
