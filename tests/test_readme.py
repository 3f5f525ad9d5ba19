"""What the README says, done."""

import functools
import operator
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import main
import weights_conversion
from configs import finetune, orl, verify
from sdd_jax import saliency
from sdd_jax.images.sources import facescrub
from sdd_jax.runs import ablate, train

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
# Its long part is in docs/.
GUIDE = README + "".join(page.read_text() for page in sorted(ROOT.glob("docs/*.md")))


@pytest.fixture(scope="module")
def trained_folder(tmp_path_factory):
    """Return a folder in which the embedded default was trained, a little."""
    folder = tmp_path_factory.mktemp("readme")
    config = orl.get_config()
    config.train.update(parts="head", steps=20, validate_every=20)
    train.run(config.to_dict(), folder / "runs" / "orl")
    return folder


@pytest.mark.slow
def test_the_library_lines_print_what_the_readme_says(trained_folder):
    page = (ROOT / "docs" / "use.md").read_text()
    [code] = re.findall(r"```python\n(.*?)```", page, re.S)
    [said] = re.findall(r"prints\n\n```\n(.*?)\n```", page, re.S)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=trained_folder,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    # The four names are a well-trained network's; the rest is the same for any.
    names = re.compile(r"^\[.*?\] ")
    assert names.sub("", done.stdout.strip()) == names.sub("", said)


@pytest.mark.slow
def test_the_lines_beside_pytorch_grad_cams_do_what_the_page_says(
    trained_folder, monkeypatch
):
    monkeypatch.chdir(trained_folder)
    page = (ROOT / "docs" / "from_pytorch_grad_cam.md").read_text()
    [start] = re.findall(r"```python\n(.*?)```", page, re.S)
    lines = re.findall(r"^\| .* \| `.*` \| `(.*)` \|$", page, re.M)
    assert len(lines) == 10
    names: dict[str, Any] = {}
    exec(start + "\n".join(lines), names)
    assert names["x"].shape == (4, 150, 150, 3) and names["x"].dtype == np.uint8
    assert names["maps"].shape == (4, 150, 150)
    assert names["between"].ndim == 4 and len(names["between"]) == 4
    assert names["shown"].shape == (150, 150, 3)
    assert (names["salient"].sum((1, 2)) == 4500).all()
    assert names["after"].shape == names["predicted"].shape == (1, 4, 4)
    assert ((names["after"] >= 0) & (names["after"] <= 1)).all()
    # What the page says of a linear head: Grad-CAM is CAM divided by the cells.
    model, clean = names["model"], names["clean"]
    last = model.stages[-1].name
    found = saliency.stage_gradients(model, clean, stages=[last])
    weights = found.gradients[last].mean((1, 2), keepdims=True)
    grad_cam = (weights * found.activations[last]).sum(-1)
    maps = model.class_maps(clean.feature_maps, clean.targets[:, None])[:, 0]
    np.testing.assert_allclose(
        grad_cam * maps[0].size, maps, rtol=1e-4, atol=1e-4 * np.abs(maps).max()
    )


def test_the_page_of_choices_names_its_command_and_all_that_it_changes():
    page = (ROOT / "docs" / "choices.md").read_text()
    [mode] = re.findall(r"python main.py --config=configs/orl.py .*--mode=(\w+)", page)
    assert main.RUNS[mode] is ablate.run
    for name in (*orl.get_config().ablate.parameters, "fraction"):
        assert f"`{name}`" in page or f"`{name}=" in page


def test_every_flag_in_the_readme_exists():
    configs = orl.get_config(), finetune.get_config(), verify.get_config()
    flags = set(re.findall(r"--config\.([a-z_.]+)=", GUIDE))
    assert flags
    for flag in flags:
        *sections, name = flag.split(".")
        assert any(
            name in functools.reduce(operator.getitem, sections, config)
            for config in configs
        )


def test_every_make_target_in_the_readme_exists():
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"(?:`|    )make ([a-z-]+)", GUIDE)):
        assert f"\n{target}:" in makefile


def test_make_help_lists_every_target():
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^([a-z-]+):", makefile, re.M)
    [phony] = re.findall(r"^\.PHONY: (.*)$", makefile, re.M)
    assert set(phony.split()) == set(targets)
    said = subprocess.run(
        ["make", "help"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    assert re.findall(r"^make ([a-z-]+) +\S.*\.$", said, re.M) == targets


def test_the_map_names_every_folder_and_only_what_exists():
    table = README.split("## The map")[1].split("## ")[0]
    named = re.findall(
        r"`((?:sdd_jax|configs|weights_conversion|benchmarks)/[a-z_/]*)`", table
    )
    for path in named:
        assert (ROOT / path).is_dir()
    packages = {path.parent.name for path in (ROOT / "sdd_jax").glob("*/__init__.py")}
    assert packages == {Path(path).name for path in named if path.count("/") == 2}


def test_every_config_is_on_the_map():
    table = README.split("## The map")[1].split("## ")[0]
    for path in (ROOT / "configs").glob("[a-z]*.py"):
        assert f"`{path.name}`" in table


def test_every_saliency_method_is_in_the_default_evaluation():
    assert tuple(orl.get_config().eval.methods) == saliency.DEFAULT_METHODS


@pytest.mark.slow
def test_the_files_of_the_dry_run_are_what_the_commands_take(tmp_path):
    folder = tmp_path / "dry"
    command = [sys.executable, ROOT / "tests" / "dry_run.py", folder, "--files-only"]
    options = ["--arch=ir_18", "--identities=3", "--images=2"]
    subprocess.run([*command, *options], check=True, timeout=300)
    converted = weights_conversion.convert(folder / "published.ckpt")
    assert converted.card["architecture"] == "ir_18"
    assert len(facescrub.images(folder / "facescrub").images) == 6
