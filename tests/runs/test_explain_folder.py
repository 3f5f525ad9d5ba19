import pytest

from sdd_jax.errors import InputError
from sdd_jax.runs.explain_folder import chosen


def name_of(images, workdir, output=""):
    return chosen({"images": images, "output": output}, workdir).name


def test_a_split_has_the_usual_folder_and_images_have_their_own(tmp_path):
    assert chosen({"images": ""}, tmp_path) == tmp_path / "explain"
    assert name_of(" ", tmp_path) == "explain"
    assert name_of("some.jpg", tmp_path) == "explain_some.jpg"
    assert name_of("some.jpg", tmp_path, "visit-2") == "visit-2"


def test_no_two_questions_share_a_folder(tmp_path):
    questions = (
        *("a.jpg", "b.jpg", "x/a.jpg", "y/a.jpg", "x-a.jpg", "a.jpg,b.jpg", "a b.jpg"),
        *("Zo\u00eb", "Zoe\u0308", "\udcff", "..", "-", "a" * 500, "a" * 501, "*?:"),
    )
    names = [name_of(images, tmp_path) for images in questions]
    assert len({name.lower() for name in names}) == len(questions)
    for name in names:
        (tmp_path / name).mkdir()
        assert name.startswith("explain_") and name.isascii() and len(name) < 90


@pytest.mark.parametrize(
    "output",
    [
        "a/b",
        "..",
        ".hidden",
        "/etc",
        "~",
        "a\\b",
        "a b",
        "Zo\u00eb",
        "x" * 61,
        "\0",
        *("eval", "checkpoints", "Tensorboard"),
    ],
)
def test_what_is_no_name_of_a_folder_of_its_own_is_refused(tmp_path, output):
    with pytest.raises(InputError) as error:
        name_of("", tmp_path, output)
    assert str(error.value).startswith(f"explain.output is {output!r}, expected the")
    assert "\n" not in str(error.value)


def test_what_is_no_explanation_is_not_replaced(tmp_path):
    (tmp_path / "mine").mkdir()
    assert name_of("", tmp_path, "mine") == "mine"  # empty
    (tmp_path / "mine" / "notes.txt").write_text("years of work")
    (tmp_path / "config.json").write_text("{}")
    for output in ("mine", "config.json"):
        with pytest.raises(InputError, match="holds no explanation, so it is not repl"):
            name_of("", tmp_path, output)
    for file in ("manifest.json", "index.html"):
        (tmp_path / "mine" / file).write_text("")
    assert name_of("", tmp_path, "mine") == "mine"
