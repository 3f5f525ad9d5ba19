import unicodedata

import pytest

from sdd_jax.images.splitting import identities
from sdd_jax.images.splitting.identities import exact, loose, merged, tidy

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "Zoë") for form in ("NFC", "NFD"))


def test_unicodes_forms_are_one_name():
    assert COMPOSED != DECOMPOSED
    assert exact(DECOMPOSED) == exact(COMPOSED) == COMPOSED


@pytest.mark.parametrize(
    "name",
    ["adam sandler", "Adam_Sandler", "ADAM  SANDLER", " adam\u00a0sandler ", "adam_"]
    + ["ａｄａｍ　sandler", "ad\u00adam sandler", "\ufeffadam sandler\u200e"],
)
def test_names_that_differ_in_nothing_that_matters_are_alike(name):
    expected = "adam" if name == "adam_" else "adam sandler"
    assert loose(name) == expected


def test_names_of_other_letters_are_not():
    assert len(set(map(loose, ("zoe", COMPOSED, "zoé", "zo e")))) == 4
    assert loose(DECOMPOSED) == loose(COMPOSED.upper())


@pytest.mark.parametrize("name", ["caf\udce9", "a\udcff\udc80"])
def test_names_that_are_no_text_stay_as_they_are(name):
    assert exact(name) == name == tidy(name)
    assert loose(name) == loose(name.upper())


def test_the_most_frequent_way_of_writing_is_kept():
    names = ["adam_sandler", "Adam Sandler", "Adam Sandler", "bea", "BEA"]
    name_of, [note] = merged(names, same=loose, written=tidy)
    assert name_of == {
        "adam_sandler": "Adam Sandler",
        "Adam Sandler": "Adam Sandler",
        "bea": "BEA",  # of equals the first in order
        "BEA": "BEA",
    }
    assert note == (
        "names that are one person's: Adam Sandler (written 'Adam Sandler', "
        "'adam_sandler'), BEA (written 'BEA', 'bea')"
    )


def test_the_preferred_way_of_writing_wins():
    name_of, notes = merged(["ADAM", "ADAM"], loose, tidy, preferred=["Adam", "Eve"])
    assert name_of == {"ADAM": "Adam"} and notes == []


def test_names_that_look_alike_but_stay_apart_are_said():
    assert identities.lookalikes(["ann", "bea", "bea_2"]) == []
    [note] = identities.lookalikes(["Ann B", "ann_b", "cid"])
    assert note == (
        "names that differ in case, spaces or underscores only stay apart, but are "
        "probably one person's: 'Ann B' and 'ann_b'; call them the same to make them "
        "one"
    )


def test_many_names_are_counted():
    assert identities.some(["a", "b"]) == "a, b"
    assert identities.some(list("abcdefg")) == "a, b, c, d, e and 2 more"
