"""Each benchmark as a command: one line where it must end, and no traceback."""

import ast
import importlib
import json
import shutil
import sys
from pathlib import Path

import pytest

from benchmarks import command, seeds, train_step
from sdd_jax.errors import InputError
from sdd_jax.faithfulness import METRICS, ORDERS

FOLDER = Path(__file__).parents[2] / "benchmarks"
# By what comes after "benchmarks.": some have a folder.
MODULES = {
    ".".join(path.relative_to(FOLDER).with_suffix("").parts): path.read_text()
    for path in FOLDER.rglob("*.py")
}
COMMANDS = sorted(name for name, text in MODULES.items() if '"__main__"' in text)


def error_of(capsys, name, *arguments):
    """Return the one line that a benchmark ends with."""
    status = importlib.import_module(f"benchmarks.{name}").main(list(arguments))
    printed = capsys.readouterr()
    assert status == 1
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    return printed.err


def usage_error_of(capsys, name, *arguments):
    """Return the last line of a benchmark whose command is wrong."""
    with pytest.raises(SystemExit) as caught:
        importlib.import_module(f"benchmarks.{name}").main(list(arguments))
    assert caught.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_benchmark_works_under_the_wrapper(name, capsys):
    tree = ast.parse(MODULES[name])
    [main] = [x for x in tree.body if getattr(x, "name", "") == "main"]
    last = tree.body[-1]
    assert isinstance(main, ast.FunctionDef) and isinstance(last, ast.If)
    assert ast.unparse(main.body[-1]).startswith("return command.run(")
    assert ast.unparse(last.body[-1]) == "sys.exit(main())"
    with pytest.raises(SystemExit) as caught:
        importlib.import_module(f"benchmarks.{name}").main(["--help"])
    assert caught.value.code == 0
    assert f"benchmarks.{name}" in capsys.readouterr().out or "worker" in name
    assert "unrecognized" in usage_error_of(capsys, name, "--colour=red", "a", "b")


def test_every_other_module_has_no_command():
    others = {name for name in MODULES if "__init__" not in name} - {*COMMANDS}
    assert others == {
        *("gpu.report", "gpu.rows", "gpu.yardsticks"),
        *("command", "counting", "drawn", "grad_cam_baseline", "guided_tables"),
        *("grad_cam_table", "torch_by_hand", "torch_dlib", "torch_network"),
        *("torch_training", "watch"),
    }


@pytest.mark.parametrize("name", ["compare", "precision"])
def test_without_a_trained_workdir_one_line_says_so(name, tmp_path, capsys):
    folder = tmp_path / "nothing"
    message = error_of(capsys, name, f"--workdir={folder}")
    assert f"{folder}" in message and "no checkpoint" in message
    folder.mkdir()
    assert "no checkpoint" in error_of(capsys, name, f"--workdir={folder}")
    (tmp_path / "file").touch()
    error_of(capsys, name, f"--workdir={tmp_path / 'file'}")


def test_a_comparison_wants_dlibs_network(trained, capsys):
    message = error_of(capsys, "compare", f"--workdir={trained}")
    assert "is not dlib's: expected a workdir of configs/orl.py, or --arch" in message


def test_an_unknown_config_is_named(capsys):
    message = error_of(capsys, "precision", "--config=nowhere")
    assert "unknown config 'nowhere': expected one of finetune, folder, lfw" in message


def test_without_pytorch_one_line_says_where_to_get_it(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    message = error_of(capsys, "torch_baseline", "--compile")
    assert "this needs torch, which cannot be imported" in message
    assert message.endswith(": pip install torch==2.13.0\n")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    message = error_of(capsys, "train_step", "--sides", "PyTorch")
    assert "there is no PyTorch to measure: pip install torch==2.13.0" in message


def test_without_pytorch_the_other_side_is_measured(capsys, monkeypatch):
    measured = []

    def measure(options):
        measured.append(options.sides)
        return {}

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(train_step, "measure", measure)
    assert train_step.main([]) == 0
    assert measured == [["JAX"]]
    printed = capsys.readouterr().out
    assert printed.startswith("left out, no PyTorch: pip install torch==2.13.0")
    assert json.loads(printed.splitlines()[-1])["sides"] == ["JAX"]


def test_a_worker_that_ends_is_one_line(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(train_step.sys, "executable", shutil.which("false"))
    message = error_of(capsys, "train_step", "--sides", "JAX")
    assert "draws images and weights ended with status 1" in message
    worker = train_step.Worker("JAX, head only", tmp_path)
    with pytest.raises(InputError, match="'JAX, head only' ended with status 1"):
        worker.ask("ready")
    worker.stop()


def test_a_worker_of_other_files_is_one_line(capsys, tmp_path):
    assert "options.json" in error_of(
        capsys, "train_step_worker", "files", f"{tmp_path}"
    )


def test_processes_that_all_fail_are_one_line(capsys, monkeypatch):
    identities = importlib.import_module("benchmarks.identities")
    monkeypatch.setattr(identities.sys, "executable", shutil.which("false"))
    assert "no row could be measured" in error_of(capsys, "identities")
    assert "no row could be measured" in error_of(capsys, "gallery")
    plot = "--plot=/nowhere/at/all.png"
    message = error_of(capsys, "growth", "--images=3")
    assert "benchmarks.explain_eval ended with status 1" in message
    monkeypatch.setattr(Path, "mkdir", _refuse)
    assert "cannot read or write /nowhere/at" in error_of(capsys, "growth", plot)


@pytest.mark.parametrize("name", ["plot", "plot.xyz", "folder.png"])
def test_a_plot_that_cannot_be_drawn_is_told_at_once(name, tmp_path, capsys):
    (tmp_path / "folder.png").mkdir()
    message = error_of(capsys, "growth", f"--plot={tmp_path / name}")
    assert "which is no file that can be drawn: expected a name that ends" in message


def _refuse(path, **options):
    raise PermissionError(13, "Permission denied", str(path))


@pytest.mark.parametrize(
    ("name", "argument", "found"),
    [
        ("compare", "--images=0", "'0', expected a whole number, at least 1"),
        ("compare", "--arch=ir_999", "invalid choice: 'ir_999'"),
        ("compare", "--baseline=some", "invalid choice: 'some'"),
        ("explain_eval", "--images=0", "'0', expected a whole number, at least 1"),
        ("explain_eval", "--identities=4", "expected a whole number, at least 5"),
        ("explain_eval", "--arch=ir_999", "invalid choice: 'ir_999'"),
        ("explain_eval", "--repeats=-1", "'-1', expected a whole number"),
        ("growth", "--images=3,,4", "found '', expected a whole number"),
        ("growth", "--dtype=float8", "invalid choice: 'float8'"),
        ("gallery", "--references=1e6", "found '1e6', expected a whole number"),
        ("gallery", "--num_top=0", "'0', expected a whole number, at least 1"),
        ("identities", "--identities=1e6", "found '1e6', expected a whole number"),
        ("identities", "--arch=ir_999", "invalid choice: 'ir_999'"),
        ("train_identities", "--loss=cosface", "invalid choice: 'cosface'"),
        ("kernels.convolutions", "--images=x", "'x', expected a whole number"),
        ("kernels.convolutions", "--sizes=7,8", "'7,8', expected some of 56, 28, 14"),
        ("input_pipeline", "--threads=0", "'0', expected a whole number, at least 1"),
        ("input_pipeline", "--images=0", "'0', expected a whole number, at least 1"),
        ("input_pipeline", "--needed=nan", "found 'nan', expected a whole number"),
        ("precision", "--images=0", "'0', expected a whole number, at least 1"),
        ("sface", "--images=0", "'0', expected a whole number, at least 1"),
        ("seeds", "--seeds=-1", "expected a whole number, at least 0"),
        ("torch_baseline", "--batch_size=0", "expected a whole number, at least 1"),
        ("train_step", "--trained=all", "invalid choice: 'all'"),
        ("train_step", "--sides=Jax", "invalid choice: 'Jax'"),
        ("aot_tpu", "--batch_size=0", "expected a whole number, at least 1"),
        ("on_gpu", "--rehearse=2", "--rehearse: ignored explicit argument '2'"),
        ("gpu.explain_eval", "--batch_sizes=64,0", "'0', expected a whole number"),
        ("gpu.kernels", "--dtype=float8", "invalid choice: 'float8'"),
        ("gpu.pytorch", "--device=tpu", "invalid choice: 'tpu'"),
        ("gpu.training", "--steps=0", "expected a whole number, at least 1"),
    ],
)
def test_a_wrong_option_is_told(name, argument, found, capsys):
    assert found in usage_error_of(capsys, name, argument)


def test_compile_needs_a_compiler(monkeypatch):
    monkeypatch.setenv("CXX", "")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(
        InputError, match="--compile needs a C.. compiler, and there is"
    ):
        command.require_compiler()
    monkeypatch.setattr(shutil, "which", lambda name: name if name == "c++" else None)
    command.require_compiler()


def test_seeds_prints_the_means_of_what_each_seed_gave(capsys, monkeypatch, tmp_path):
    ran = []

    def evaluate(config, workdir):
        seed = config["seed"]
        assert config["eval"]["seed"] == seed and config["train"]["parts"] == "head"
        ran.append((workdir, seed))
        cell = {name: {"value": 10.0 * seed, "low": 0.0} for name in METRICS}
        methods = {"sdd": {"black": dict.fromkeys(ORDERS, cell)}}
        return {"accuracy": {"value": 90.0 + seed, "low": 0.0}, "methods": methods}

    trained = []
    monkeypatch.setattr(seeds.train, "run", lambda *given: trained.append(given[1]))
    monkeypatch.setattr(seeds.evaluate, "run", evaluate)
    arguments = ["--seeds", "1", "4", f"--workdir={tmp_path}", "--parts=head"]
    assert seeds.main(arguments) == 0
    assert trained == [tmp_path / "1", tmp_path / "4"]
    assert ran == [(tmp_path / "1", 1), (tmp_path / "4", 4)]
    lines = capsys.readouterr().out.splitlines()
    mean = json.loads(lines[-1])
    assert mean["accuracy"] == 92.5
    for scheme in ORDERS:
        assert mean["methods"]["sdd"]["black"][scheme] == dict.fromkeys(METRICS, 25.0)
    assert [line for line in lines if "10.0 / 10.0" in line and "25.0 / 25.0" in line]
