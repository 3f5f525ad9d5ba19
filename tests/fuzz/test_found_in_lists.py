"""What fuzzing found in lists, records and command lines, by the smallest inputs."""

import json
import random

import command_targets
import list_targets
import numpy as np
import pytest
from oracle import judge

from sdd_jax import cli, files
from sdd_jax.errors import InputError
from sdd_jax.images.alignment import aligned_folder
from sdd_jax.images.sources import facescrub_lists, lfw
from sdd_jax.images.sources.listing import files_in
from sdd_jax.images.splitting import splits
from sdd_jax.runs import store
from sdd_jax.screen import one_line

DEEP = "[" * 100_000
LONG = "9" * 5000  # digits: more than Python takes for a number


def test_brackets_without_end_are_damage_and_no_recursion():
    for text in (DEEP, f'{{"a": {DEEP}', DEEP.encode()):
        with pytest.raises(ValueError, match="too deep to be read"):
            files.parsed(text)


@pytest.mark.parametrize(
    "target", [t for t in list_targets.TARGETS if t.name.endswith(("files", "records"))]
)
def test_every_record_may_hold_brackets_without_end(target, tmp_path):
    inputs = [DEEP.encode(), *(seed + DEEP.encode() for seed in target.seeds())]
    inputs += [b'{"path": %s' % DEEP.encode(), b"m" + DEEP.encode()]
    for contents in inputs:
        assert judge(lambda c=contents: target.read(c, tmp_path)) is None


@pytest.mark.parametrize("header", [LONG, f"10 {LONG}", f"{LONG} {LONG}"])
def test_a_number_of_pairs_may_be_too_long_for_a_number(tmp_path, header):
    path = tmp_path / "pairs.txt"
    path.write_text(f"{header}\nAnn\t1\t2\n")
    with pytest.raises(InputError, match="line 1: .* expected the numbers of folds"):
        lfw.pairs(path)
    path.write_text(f"1\nAnn\t1\t{LONG}\nAnn\t1\tBen\t1\n")
    with pytest.raises(InputError, match="line 2: .* expected name i j"):
        lfw.pairs(path)


def test_a_box_of_a_list_is_in_pixels_of_some_image(tmp_path):
    (tmp_path / "1.txt").write_text(f"Ann\t1\t1\turl\t0,0,{'9' * 400},9\t\n")
    with pytest.raises(InputError, match="line 1: expected name, image_id"):
        facescrub_lists.lists_in(tmp_path, files_in(tmp_path))


@pytest.mark.parametrize("sha256", [["a"] * 64, {str(i): 0 for i in range(64)}])
def test_a_fingerprint_is_a_text(tmp_path, sha256):
    row = {"split": "train", "identity": "a", "file": "a/1.png", "sha256": sha256}
    (tmp_path / "split.jsonl").write_text(files.line_of(row))
    with pytest.raises(InputError, match="is damaged"):
        splits._read_rows(tmp_path / "split.jsonl")


@pytest.mark.parametrize(
    "changes",
    [{"landmarks": None}, {"landmarks": [[10**31, 2]] * 4}, {"output": 3}, {"path": 3}],
)
def test_a_record_of_aligned_faces_has_what_was_written(tmp_path, changes):
    [good, _] = list_targets._alignment_seeds()
    row = json.loads(good.split(b"\n")[0]) | changes
    path = tmp_path / "alignment.jsonl"
    path.write_text(files.line_of(row))
    with pytest.raises(InputError, match="damaged in line 1"):
        aligned_folder.recorded(path, landmarks=True)


@pytest.mark.parametrize(
    "contents",
    [
        b"0[]\n",
        b"0\xff\n",
        b'0{"name": "ann", "num_images": "2"}\n{"name": "ben", "num_images": 1}\n',
        b"1{}\n",
        b"2\x93NUMPY\x01\0\x46\0{'descr': '<f4', 'fortran_order': False, 'shape': (\n",
        b"2\x93NUMPY\x01\0\x46\0{'descr': '<f4', 'fortran_order': False, 'shape': "
        b"(9999999999999,)}",
        b'm{"version": 1}',
        b"m[]",
        b"m" + DEEP.encode(),
    ],
)
def test_a_gallery_of_somebody_elses_making_is_refused(tmp_path, contents):
    assert judge(lambda: list_targets.read_gallery(contents, tmp_path)) is None


@pytest.mark.parametrize("place", [60, 70, 80, 90])
def test_a_kept_result_with_a_flipped_bit_counts_as_not_there(tmp_path, capsys, place):
    store.save(tmp_path, "key", {"a": np.arange(50.0)})
    [path] = tmp_path.iterdir()
    contents = bytearray(path.read_bytes())
    contents[place] ^= 4
    path.write_bytes(contents)
    assert store.load(tmp_path, "key") is None
    assert "is damaged (" in capsys.readouterr().out


@pytest.mark.parametrize(
    "line",
    [
        "--noconfig.train-remat",
        "--" + "[" * 3000,
        f"--num_devices={LONG}",
        f"--config.seed={LONG}",
        "--config.data.source=" + "(" * 3000,
    ],
)
def test_no_argument_is_a_trace(tmp_path, line):
    read = command_targets.read_command
    assert judge(lambda: read(line.encode(), tmp_path)) is None


@pytest.mark.filterwarnings("ignore:.*load_module:DeprecationWarning")
def test_a_flag_of_a_thousand_letters_is_not_compared_with_all_there_are(tmp_path):
    with pytest.raises(InputError, match="none has more than 200 characters"):
        command_targets.read_command(b"--" + b"ab" * 450, tmp_path)


def test_a_line_of_an_error_stays_one_that_can_be_read(capsys):
    def work():
        raise InputError(f"found {'x' * 10**6}; expected less, cut it")

    assert cli.run(work, stopped="", way_out="") == 1
    said = capsys.readouterr().err
    assert len(said) < 5000 and said.endswith("x; expected less, cut it\n")
    text = "".join(random.Random(0).choices("ab\n", k=3000))
    assert one_line(text) == text.replace("\n", "\\n")
