import time

import pytest
from rich.console import Console

from sdd_jax import screen


@pytest.fixture
def fresh(monkeypatch):
    """Logs and a console that are forgotten after the test."""
    monkeypatch.setattr(screen, "_logs", [])
    monkeypatch.setattr(screen, "console", Console())


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "plain [red]x[/red] :smile: 'a' Zoë 李",
            "plain [red]x[/red] :smile: 'a' Zoë 李",
        ),
        ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
        ("a\u2028b\u2029c\x85d", "a\\u2028b\\u2029c\\x85d"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("caf\udce9", "caf\\udce9"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
    ],
)
def test_a_line_is_one_line_and_shows_what_a_name_holds(capsys, text, shown):
    screen.say(text)
    assert capsys.readouterr().out == shown + "\n"


def test_a_long_line_is_neither_wrapped_nor_cut(capsys):
    screen.say("x" * 500)
    assert capsys.readouterr().out == "x" * 500 + "\n"


def test_without_a_terminal_progress_is_silent(capsys):
    assert list(screen.progress(iter("ab"), "reading", total=2)) == ["a", "b"]
    assert capsys.readouterr().out == ""


def test_threads_give_results_in_order_and_stop_at_the_first_error(capsys):
    assert screen.in_threads(lambda x: 2 * x, range(50), "doubling") == [
        2 * x for x in range(50)
    ]
    begun = []

    def fail(number):
        begun.append(number)
        time.sleep(0.01)
        raise ValueError(f"no {number}")

    with pytest.raises(ValueError, match="^no 0$"):
        screen.in_threads(fail, range(1000), "failing")
    assert len(begun) < 900
    assert capsys.readouterr().out == ""


def test_the_first_few_have_dots_where_there_are_more():
    assert screen.first_of(["a", "b", "c"]) == "a, b, c"
    assert screen.first_of(["a", "b", "c", "d"]) == "a, b, c, ..."
    assert screen.first_of(["a", "b"], 1) == "a, ..."


def test_what_went_wrong_stands_in_the_log_as_well(fresh, capsys, tmp_path):
    path = tmp_path / "logs" / "process-1.log"
    with pytest.raises(ZeroDivisionError), screen.log(path, shown=False):
        screen.say("before")
        raise ZeroDivisionError
    screen.say_error("it\nends")
    assert path.read_text() == "before\nerror: it\\nends\n"
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "error: it\\nends\n")


def test_what_goes_wrong_after_a_log_is_closed_is_not_in_it(fresh, capsys, tmp_path):
    with screen.log(tmp_path / "log", shown=False):
        screen.say("done")
    screen.say_error("later")
    assert (tmp_path / "log").read_text() == "done\n"
    assert capsys.readouterr().err == "error: later\n"
