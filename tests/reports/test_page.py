import base64
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from sdd_jax.reports import method_words
from sdd_jax.reports.overlay import png
from sdd_jax.reports.page import render
from sdd_jax.saliency.methods import METHODS, TARGET_FREE

SUMMARY = {
    "num_identities": 40,
    "model": "tiny",
    "methods": ["sdd", "cam"],
    "checkpoint": "best-123",
    "versions": {"jax": "0.10.2", "flax": "0.12.8"},
    "fraction": 0.2,
}
KEYS = ("image", "cam", "sdd", "removed", "kept", "removed_mean", "kept_mean")
VOID = {"meta", "link", "img"}


def png_of(shade):
    return png(np.full((2, 2, 3), shade, np.uint8))


def outcome(probability, predicted="Ann", changed=False):
    return {
        "predicted": predicted,
        "probability": probability,
        "confidence_drop": 12.34,
        "prediction_changed": changed,
    }


def a_record(**changes):
    record = {
        "index": 7,
        "image": "ann/3.png",
        "label": "Ann",
        "predicted": "Ann",
        "probability": 0.973,
        "correct": True,
        "rivals": [
            {"name": "Bea", "probability": 0.02},
            {"name": "Cleo", "probability": 0.004},
        ],
        "scale": 4.25,
        "amplification": 0.3125,
        "methods": ["sdd", "cam"],
        "is_flat": {"sdd": False, "cam": False},
        "fraction": 0.2,
        "outcomes": {
            "black": {
                "deletion": outcome(0.12, "Bea", changed=True),
                "retention": outcome(0.6),
            },
            "mean": {"deletion": outcome(0.973), "retention": outcome(0.99)},
        },
        "files": {key: f"images/7_{key}.png" for key in KEYS},
        "images": {key: png_of(i) for i, key in enumerate(KEYS)},
        "rival_images": {"Bea": png_of(100)},
    }
    return record | changes


class Elements(HTMLParser):
    """Tags with attributes, words without markup, and whether tags are balanced."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.words, self.open = [], [], []
        self.feed(page)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    def named(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.mark.parametrize("method", ["sdd", "cam"])
def test_a_flat_map_is_told(method):
    said = "This map says nothing: all places in it count the same."
    flat = {"sdd": False, "cam": False, method: True}
    pages = [
        render("Page", [a_record(**changes)], SUMMARY)
        for changes in ({}, {"is_flat": flat})
    ]
    assert [page.count(said) for page in pages] == [0, 1]


def parsed(records, summary=SUMMARY, title="Faces"):
    elements = Elements(render(title, records, summary))
    assert elements.open == []
    return elements


def text(*records):
    """Return the words of the page, as if a space stood at every tag's place."""
    return re.sub(r" ([.:,])", r"\1", parsed(list(records)).text.replace("\xa0", " "))


def test_every_image_is_inside_the_page_and_has_a_text():
    images = parsed([a_record()]).named("img")
    files = [base64.b64decode(image["src"].partition(",")[2]) for image in images]
    assert set(a_record()["images"].values()) < set(files)
    assert png_of(100) in files
    assert len(images) == len(KEYS) + 2  # a rival's image and the scale of colours
    assert all(image["src"].startswith("data:image/png;base64,") for image in images)
    assert all(image["alt"].strip() for image in images)


def test_the_page_asks_for_nothing_and_runs_nothing():
    page = parsed([a_record(), a_record()])
    assert page.named("script") == []
    links = [tag.get("src", tag.get("href")) for _, tag in page.tags]
    assert all(link.startswith(("data:", "#")) for link in links if link)
    assert not any(name.startswith("on") for _, tag in page.tags for name in tag)
    html_source = render("Faces", [a_record()], SUMMARY)
    assert "url(" not in html_source and "@import" not in html_source
    policy = next(tag for tag in page.named("meta") if "http-equiv" in tag)
    assert policy["content"].startswith("default-src 'none'; img-src data:;")


def test_names_are_data_wherever_they_stand():
    evil = '<script>alert("1")</script><img src=x onerror="y">\'&amp;'
    record = a_record(
        image=evil,
        label=evil,
        predicted=evil,
        rivals=[{"name": evil + "2", "probability": 0.1}],
        rival_images={evil + "2": png_of(9)},
        files={"image": evil},
        outcomes={
            "black": {"deletion": outcome(0.1, evil), "retention": outcome(0.1, evil)}
        },
    )
    summary = SUMMARY | {"model": evil, "versions": {evil: evil}}
    page = parsed([record, record], summary, title=evil)
    assert page.named("script") == []
    assert not any("onerror" in tag for _, tag in page.tags)
    assert all(image["src"].startswith("data:") for image in page.named("img"))
    assert page.text.count(" ".join(evil.split())) > 10
    assert (
        evil in next(t for t in page.named("img") if "look-alikes" in t["alt"])["alt"]
    )


@pytest.mark.parametrize("name", ["محمد بن موسى", "李小龍", "Ж" * 200])
def test_names_of_any_script_keep_their_own_direction(name):
    right = a_record(predicted=name, label=name, image=name)
    rivals = [{"name": name, "probability": 0.1}]
    wrong = a_record(label=name, correct=False, rivals=rivals)
    unknown = a_record(label=name, correct=None)
    page = render("Faces", [right, wrong, unknown], SUMMARY)
    body = page.partition("<body>")[2]
    outside = re.sub(r"<bdi[^>]*>[^<]*</bdi>|<img[^>]*>", "", body)
    assert name in body
    assert name not in outside


def test_a_file_name_that_is_no_text_does_not_stop_the_page():
    page = render("Faces", [a_record(image="a\udcff.png")], SUMMARY)
    assert "a?.png" in page.encode("utf-8").decode("utf-8")


def test_the_answer_is_told_with_its_probability_and_its_truth():
    words = text(a_record())
    assert "The network answers Ann" in words
    assert "right It is 97.3 % sure. This is Ann." in words
    assert "The truth is known, and the network was right." in words


def test_a_wrong_answer_is_called_wrong_and_the_truth_named():
    words = text(a_record(label="Bea", correct=False))
    assert "wrong It is 97.3 % sure. In truth this is Bea." in words


def test_an_unknown_person_is_said_to_be_beyond_the_network():
    words = text(a_record(label=None, correct=None))
    assert "Nobody said who this is." in words
    assert "can only answer with one of the 40 people it knows" in words
    assert "The truth is known" not in words


def test_a_label_outside_the_known_set_is_told_too():
    words = text(a_record(label="Zoe", correct=None))
    assert "The file says Zoe." in words
    assert "can only answer with one of the 40 people it knows" in words


def test_several_records_are_counted_and_listed():
    records = [
        a_record(),
        a_record(correct=False, label="Bea"),
        a_record(correct=None, label=None),
    ]
    page = parsed(records)
    assert "in 3 photographs. It was right in 1 of the 2 whose truth" in page.text
    targets = [link["href"].removeprefix("#") for link in page.named("a")]
    assert targets == [article["id"] for article in page.named("article")]
    assert len(set(targets)) == 3


def test_what_happens_under_the_masks_is_told_in_sentences():
    words = text(a_record())
    assert (
        "Without them, the probability of Ann falls from 97.3 % to 12.0 %. "
        "The network now answers Bea." in words
    )
    assert (
        "With nothing else to see, the probability of Ann falls from 97.3 % to 60.0 %. "
        "The network still answers Ann." in words
    )
    assert "the probability of Ann stays at 97.3 %." in words
    assert "the probability of Ann rises from 97.3 % to 99.0 %." in words


def test_each_mask_is_shown_with_its_own_image():
    page = parsed([a_record()])
    texts = {image["src"]: image["alt"] for image in page.named("img")}
    for key, end in {
        "removed": "removed. Covered in black.",
        "removed_mean": "removed. Covered in the average colour.",
        "kept": "kept. Covered in black.",
        "kept_mean": "kept. Covered in the average colour.",
    }.items():
        file = base64.b64encode(a_record()["images"][key]).decode()
        assert texts["data:image/png;base64," + file].endswith(end)


def test_rounding_never_claims_certainty():
    rivals = [{"name": "Bea", "probability": 0.0004}]
    words = text(a_record(probability=0.99996, rivals=rivals))
    assert "It is over 99.9 % sure." in words
    assert "Bea under 0.1 %" in words


def test_rivals_are_named_with_their_probabilities():
    assert "Bea 2.0 % Cleo 0.4 %" in text(a_record())


def test_every_method_has_its_words_and_no_two_the_same():
    assert method_words.WORDS.keys() == METHODS.keys()
    for words in method_words.WORDS.values():
        assert words.sentence.endswith(".") and words.sentence[0].isupper()
    for part in zip(*method_words.WORDS.values(), strict=True):
        assert len(set(part)) == len(METHODS)
    for name, words in method_words.WORDS.items():
        same = "the same for any other answer" in words.sentence
        better = "must do better than this" in words.sentence
        assert (same or better) == (name in TARGET_FREE)


def test_each_method_is_shown_with_one_sentence():
    names = ["eigen_cam", "sdd", "random_map"]
    images = {name: png_of(50 + i) for i, name in enumerate(names)}
    record = a_record(methods=names, is_flat=dict.fromkeys(names, False))
    record["images"] = record["images"] | images
    elements = parsed([record], SUMMARY | {"methods": names})
    words = " ".join(elements.text.split())
    sources = {image["src"] for image in elements.named("img")}
    for name in names:
        said = method_words.shown(name)
        assert words.count(f"{said['label']} ({said['name']})") == 1
        assert words.count(said["sentence"]) == 1
        shown = base64.b64encode(images[name]).decode()
        assert f"data:image/png;base64,{shown}" in sources
    assert "If the Eigen-CAM map tells the truth" in words
    assert "Methods eigen_cam, sdd, random_map" in words


def test_without_sdd_there_are_no_rivals_and_no_scale():
    record = a_record(
        methods=["cam"], rivals=[], rival_images={}, scale=None, amplification=None
    )
    words = parsed([record], SUMMARY | {"methods": ["cam"]}).text
    assert "Answer and look-alikes" not in words
    assert "Scale F" not in words and "Amplification" not in words
    assert "If the CAM map tells the truth" in words


def test_a_page_without_rivals_and_their_images_is_whole():
    page = parsed([a_record(rivals=[], rival_images={})])
    assert len(page.named("img")) == len(KEYS) + 1


def test_researchers_find_every_figure():
    words = text(a_record(fraction=0.125))
    for figure in ("Scale F 4.25", "Amplification α 0.3125", "Fraction 0.125"):
        assert figure in words
    for figure in ("Checkpoint best-123", "jax 0.10.2, flax 0.12.8", "Model tiny"):
        assert figure in words
    assert "deletion black Bea 0.12 12.3 %" in words
    assert "images/7_kept_mean.png" in words


def test_the_share_in_the_text_is_the_share_that_was_masked():
    words = text(a_record(fraction=0.125))
    assert "Take the strongest 12.5 % away" in words
    assert "Keep only the strongest 12.5 %" in words
    assert words.count("20 %") == 1  # in "How to read this page", from the summary


def test_a_page_of_no_images_is_whole():
    assert "in 0 photographs." in parsed([]).text
