import io
import json
import struct
from typing import Any

import pytest
from rich.console import Console
from tensorboardX.proto import event_pb2

from sdd_jax.training.log import open_log

NUMBERS = {"loss": 0.5, "accuracy": 0.25, "gradient_norm": 2.0}


def plain_console() -> Console:
    return Console(file=io.StringIO(), width=120)


def text_on(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def log_steps(folder, console, *, start_step=0, stop=4, num_steps=4) -> None:
    """Log steps the way training does: all, shown every second, validated last."""
    with open_log(
        folder, console, num_steps=num_steps, start_step=start_step, batch_size=8
    ) as log:
        for step in range(start_step + 1, stop + 1):
            log.train(step, NUMBERS | {"loss": 1 / step})
            if step % 2 == 0:
                log.show(step, NUMBERS | {"loss": 1 / step})
        log.validation(stop, {"loss": 0.125, "accuracy": 0.75})


def lines_of(folder) -> list[dict]:
    text = (folder / "metrics.jsonl").read_text()
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def events_of(folder) -> list[Any]:
    """Return all events; a record is its length, a checksum, bytes, a checksum."""
    events = []
    for path in sorted((folder / "tensorboard").iterdir()):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            # Made while the module is imported, where type checkers see nothing.
            event = event_pb2.Event  # pyrefly: ignore[missing-attribute]
            events.append(event.FromString(content[12 : 12 + length]))
            content = content[16 + length :]
    return events


def scalars_of(folder) -> dict[tuple[str, int], float]:
    found = {}
    for event in events_of(folder):
        for value in event.summary.value:
            assert (value.tag, event.step) not in found
            found[value.tag, event.step] = value.simple_value
    return found


def test_every_step_and_every_validation_is_a_line(tmp_path):
    log_steps(tmp_path, plain_console(), stop=2)
    assert lines_of(tmp_path) == [
        {"step": 1, "kind": "train", **NUMBERS, "loss": 1.0},
        {"step": 2, "kind": "train", **NUMBERS, "loss": 0.5},
        {"step": 2, "kind": "validation", "loss": 0.125, "accuracy": 0.75},
    ]


def test_tensorboard_has_the_same_numbers_and_the_rate(tmp_path):
    log_steps(tmp_path, plain_console(), stop=2)
    scalars = scalars_of(tmp_path)
    for line in lines_of(tmp_path):
        for name in line.keys() - {"step", "kind"}:
            assert scalars.pop((f"{line['kind']}/{name}", line["step"])) == line[name]
    assert list(scalars) == [("train/images_per_second", 2)]
    assert scalars["train/images_per_second", 2] > 0


def test_going_on_drops_the_lines_of_steps_that_are_taken_again(tmp_path):
    log_steps(tmp_path, plain_console(), stop=4)
    log_steps(tmp_path, plain_console(), start_step=2, stop=3)
    found = [(line["step"], line["kind"]) for line in lines_of(tmp_path)]
    assert found == [
        (1, "train"),
        (2, "train"),
        (3, "train"),
        (3, "validation"),
    ]


def test_starting_anew_leaves_no_line_of_an_earlier_run(tmp_path):
    log_steps(tmp_path, plain_console(), stop=4)
    log_steps(tmp_path, plain_console(), stop=1)
    assert [line["step"] for line in lines_of(tmp_path)] == [1, 1]


@pytest.mark.parametrize("torn", ['{"step": 2, "ki', '{"step": 1', "{", '"ste', ""])
def test_a_line_that_was_cut_short_is_dropped(tmp_path, torn):
    whole = '{"step": 1, "kind": "train", "loss": 1.0}\n'
    (tmp_path / "metrics.jsonl").write_text(whole + torn)
    log_steps(tmp_path, plain_console(), start_step=2, stop=3)
    found = [(line["step"], line["kind"]) for line in lines_of(tmp_path)]
    assert found == [(1, "train"), (3, "train"), (3, "validation")]


def test_going_on_tells_tensorboard_which_steps_are_taken_again(tmp_path):
    log_steps(tmp_path, plain_console(), start_step=2, stop=3)
    starts = [event.step for event in events_of(tmp_path) if event.session_log.status]
    assert starts == [3]


def test_lines_are_on_disk_when_they_are_shown_and_not_only_at_the_end(tmp_path):
    # With no validation images nothing else would come before a checkpoint.
    with open_log(
        tmp_path, plain_console(), num_steps=4, start_step=0, batch_size=8
    ) as log:
        log.train(1, NUMBERS)
        log.show(1, NUMBERS)
        assert [line["step"] for line in lines_of(tmp_path)] == [1]


def test_without_a_terminal_there_is_a_line_for_what_is_shown_and_no_bar(tmp_path):
    console = plain_console()
    log_steps(tmp_path, console)
    lines = text_on(console).splitlines()
    assert [line.split("  ")[0] for line in lines] == [
        "step 2/4",
        "step 4/4",
        "step 4/4",
    ]
    assert "loss 0.5000  accuracy  25.0 %" in lines[0]
    assert lines[0].endswith(" images/s")
    assert lines[2] == "step 4/4  validation: loss 0.1250  accuracy 75.0 %"


def test_on_a_terminal_the_bar_moves_and_validations_stay(tmp_path):
    console = Console(file=io.StringIO(), width=120, force_terminal=True)
    log_steps(tmp_path, console)
    text = text_on(console)
    assert "\x1b[" in text
    assert "━" in text
    assert "step 4/4  loss 0.2500" in text
    shown = [line for line in text.splitlines() if "images/s" in line]
    assert all("━" in line for line in shown)
    assert text.count("validation: loss") == 1


def test_an_error_on_the_way_leaves_whole_lines_and_events(tmp_path):
    with (
        pytest.raises(KeyboardInterrupt),
        open_log(
            tmp_path, plain_console(), num_steps=9, start_step=0, batch_size=8
        ) as log,
    ):
        log.train(1, NUMBERS)
        raise KeyboardInterrupt
    assert [line["step"] for line in lines_of(tmp_path)] == [1]
    assert scalars_of(tmp_path)["train/loss", 1] == 0.5
