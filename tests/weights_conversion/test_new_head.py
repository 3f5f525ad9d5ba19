import jax
import jax.numpy as jnp
import numpy as np
import pytest
from published_files import write

import weights_conversion
from sdd_jax import checkpoints, models
from sdd_jax.errors import InputError
from sdd_jax.runs.pretrained import start_from
from weights_conversion.__main__ import main
from weights_conversion.new_head import num_classes_of, with_pooled_head


@pytest.fixture(scope="module")
def source(published, tmp_path_factory):
    return write(tmp_path_factory.mktemp("source") / "x.ckpt", published, "model.")


@pytest.fixture(scope="module")
def output(source, tmp_path_factory):
    output = tmp_path_factory.mktemp("converted") / "out"
    assert main(["--head=pooled:530", "--seed=3", str(source), str(output)]) == 0
    return output


@pytest.mark.slow
def test_the_checkpoint_classifies_and_keeps_the_backbone(source, output):
    model = models.load(output)
    assert model.head.num_classes == 530
    published = weights_conversion.convert(source).variables
    found = models.variables(model)
    jax.tree.map(
        np.testing.assert_array_equal, found["backbone"], published["backbone"]
    )
    logits = model.logits(jnp.ones((1, 7, 7, 32)))
    np.testing.assert_array_equal(logits, np.zeros((1, 530)))  # it knows nobody


@pytest.mark.slow
def test_the_card_says_what_was_put_in_and_left_out(source, tmp_path, capsys):
    arguments = ["--head=pooled:5", str(source), str(tmp_path / "out")]
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    card = dict(line.split(maxsplit=1) for line in lines)
    assert card["head"] == "pooled, 5 classes, fresh: it starts at zero"
    # Scale, bias, mean and variance; matrix and bias; mean and variance.
    assert card["left_out"] == "8 arrays of the published head, head.kernel, head.t"
    assert card["kept"] == "nothing"
    published = weights_conversion.convert(source).card
    assert int(card["num_used"]) == published["num_used"] - 8
    leaves = jax.tree.leaves(models.variables(models.load(tmp_path / "out")))
    assert card["num_arrays"] == str(len(leaves))
    assert card["num_parameters"] == str(sum(leaf.size for leaf in leaves))
    stored = checkpoints.description(tmp_path / "out", 0)
    assert "training_head" not in stored
    assert stored["model"]["head"] == {"name": "pooled", "num_classes": 5}


@pytest.mark.slow
def test_training_starts_from_every_form_of_the_weights_alike(source, output, tmp_path):
    weights_conversion.save(weights_conversion.convert(source), tmp_path / "embeds")
    assert "training_head" in checkpoints.description(tmp_path / "embeds", 0)
    options = {"backbone": {"name": "ir_resnet", "arch": "ir_tiny"}}
    (description, expected), *others = (
        start_from(options | {"pretrained": str(path)}, 7, seed=0)
        for path in (source, tmp_path / "embeds", output)
    )
    for found_description, found in others:
        assert found_description == description
        jax.tree.map(
            np.testing.assert_array_equal,
            models.variables(found),
            models.variables(expected),
        )


def test_what_was_converted_is_left_as_it_is(source):
    converted = weights_conversion.convert(source)
    before = checkpoints.sha256(converted.variables)
    with_pooled_head(converted, 3)
    assert checkpoints.sha256(converted.variables) == before
    assert converted.description["head"] == {"name": "flat_embedding"}
    assert "head" not in converted.card
    assert converted.training_head


@pytest.mark.slow
def test_it_goes_back_to_pytorch_as_backbone_and_classifier(output, tmp_path, capsys):
    assert main(["--to=torch", str(output), str(tmp_path / "x.ckpt")]) == 0
    assert "no output_layer: load with strict=False" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["pooled:2", "pooled:530", "pooled:9999999"])
def test_a_number_of_people_is_read(text):
    assert num_classes_of(text) == int(text.removeprefix("pooled:"))


@pytest.mark.parametrize(
    "text",
    ["pooled", "pooled:", "pooled:x", "pooled:1", "pooled:0", "pooled:-5", "flat:5"]
    + ["pooled:5 ", "pooled:²", "pooled:5.0", "pooled:10000000", ""],
)
def test_another_form_is_one_line_and_no_checkpoint(text, source, tmp_path, capsys):
    with pytest.raises(InputError):
        num_classes_of(text)
    assert main([f"--head={text}", str(source), str(tmp_path / "out")]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == (
        f"error: --head is {text!r}: expected pooled:NUMBER with the number of people, "
        f"2 to 9,999,999, such as pooled:530\n"
    )
    assert not (tmp_path / "out").exists()


def test_a_seed_without_a_head_is_refused(source, tmp_path, capsys):
    assert main(["--seed=1", str(source), str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err == (
        "error: --seed draws a fresh head: give --head=pooled:NUMBER too\n"
    )
    assert not (tmp_path / "out").exists()
