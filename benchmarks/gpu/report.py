"""What `on_gpu` has found so far, as one table in Markdown.

Nothing here imports JAX.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.gpu.yardsticks import AIMED_SECONDS, AIMED_SHARE, NUM_IMAGES

Row = Mapping[str, Any]
HEADINGS = (
    "step",
    "what",
    "images/s",
    "images/s, device",
    "TFLOP/s",
    "of the peak",
    f"{NUM_IMAGES:,} images, s",
    "memory, GB",
    "notes",
)


def largest_differences(rows: Sequence[Row]) -> dict[str, float]:
    """Return how far two platforms' metrics are apart at most, by metric.

    Empty where there are not two rows of one network.
    """
    if len(rows) != 2 or rows[0]["network"] != rows[1]["network"]:
        return {}
    found: dict[str, float] = {}
    for path, value in rows[0]["values"].items():
        name = path.rpartition("/")[2]
        difference = abs(value - rows[1]["values"][path])
        found[name] = max(found.get(name, 0.0), difference)
    return found


def markdown(report: Row) -> str:
    """Return the title, the aims, and a table of all rows."""
    device = report["device"]
    lines = [
        f"# {device['kind']}, JAX {device['jax']}",
        "",
        f"The aim: {AIMED_SHARE:.0%} of the bfloat16 peak over the five forward "
        f"passes, and all {NUM_IMAGES:,} test images within {AIMED_SECONDS:g} seconds.",
        "images/s is from images in the host's memory; TFLOP/s and the share of the "
        "published peak are of the device alone. float32 is held against the plain "
        "cores' peak: it is computed without TF32.",
        "",
    ]
    if report["rehearsal"]:
        lines[2:2] = ["**A rehearsal: small networks; no figure means anything.**", ""]
    lines += [_line(HEADINGS), _line(["---"] * len(HEADINGS))]
    for name, step in report["steps"].items():
        cells = [_CELLS[name](row) for row in step["rows"] if name in _CELLS]
        cells += [
            {"what": metric, "notes": f"at most {value:.3g} apart"}
            for metric, value in step.get("largest_differences", {}).items()
        ]
        if step["outcome"] != "done":
            cells.append({"notes": f"**{step['outcome']}**: {step['last_line']}"})
        for cell in cells:
            shown = {"step": name.replace("_", " ")} | cell
            lines.append(_line([shown.get(heading, "") for heading in HEADINGS]))
    return "\n".join(lines) + "\n"


def _line(cells: Any) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def _number(value: float | None, form: str, scale: float = 1.0) -> str:
    return "unknown" if value is None else format(value * scale, form)


def _tests(row: Row) -> dict[str, str]:
    return {"what": row["folder"], "notes": row["last_line"]}


def _metrics(row: Row) -> dict[str, str]:
    number = len(row["values"])
    return {"what": row["network"], "notes": f"{number} values on {row['platform']}"}


def _speed(row: Row) -> dict[str, str]:
    """Return the cells of whichever figures of speed a row has."""
    if "left_out" in row:
        return {}
    cells = {
        "what": f"{row['dtype']}, batches of {row['batch_size']}",
        "memory, GB": _number(row["peak_memory_bytes"], ".2f", 1e-9),
    }
    for name, heading, form, scale in (
        ("images_per_second", "images/s", ",.1f", 1),
        ("device_images_per_second", "images/s, device", ",.1f", 1),
        ("flops_per_second", "TFLOP/s", ",.2f", 1e-12),
        ("share_of_peak", "of the peak", ".0%", 1),
        ("seconds_for_all", HEADINGS[6], ",.2f", 1),
    ):
        if name in row:
            cells[heading] = _number(row[name], form, scale)
    if "launches" in row:
        cells["notes"] = (
            f"{row['launches']} launches; compiled in {row['compile_seconds']:.0f} s"
        )
    return cells


def _kernels(row: Row) -> dict[str, str]:
    if "clock_seconds" in row:
        return {
            "what": f"{row['images']} images, {row['kernels']} kernels",
            "notes": f"{1000 * row['kernel_seconds']:.1f} ms in kernels, "
            f"{1000 * row['clock_seconds']:.1f} ms by the clock",
        }
    return {
        "what": f"`{row['name'][:60]}`",
        "notes": f"{1000 * row['seconds']:.2f} ms, {row['share']:.0%}, bound: "
        f"{row['bound']}",
    }


_CELLS: dict[str, Callable[[Row], dict[str, str]]] = {
    "tests": _tests,
    "metrics": _metrics,
    "explain_eval": _speed,
    "training": _speed,
    "pytorch": _speed,
    "kernels": _kernels,
}
