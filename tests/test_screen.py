import pytest

from sdd_jax import screen


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


def test_the_first_few_have_dots_where_there_are_more():
    assert screen.first_of(["a", "b", "c"]) == "a, b, c"
    assert screen.first_of(["a", "b", "c", "d"]) == "a, b, c, ..."
    assert screen.first_of(["a", "b"], 1) == "a, ..."
