"""The `compmod` command: what it prints, and that every mistake of a user's is one line and exit status 2."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from compmod import __version__
from compmod.cli import COMMANDS, _imported, main
from compmod.pretrain.commands.parsing import is_resumable
from compmod.pretrain.recipes.presets import preset
from compmod.pretrain.records.record import Record
from compmod.pretrain.specs.datasets import DATASETS
from compmod.pretrain.specs.measurement import Evaluation
from compmod.pretrain.specs.methods import METHODS

HEAVY = "{'torch', 'torchvision', 'matplotlib', 'sklearn', 'scipy', 'tensorboard'}"
ANSWER_S = 5.0  # a command that imports torch takes longer on a busy machine; the others a fraction of this


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join(part for part in sys.path if part), "CUDA_VISIBLE_DEVICES": ""}


def _command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "compmod", *arguments],
        cwd=folder,
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )


def _refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a command says on standard error when it leaves with status 2, checked to be one line."""
    with pytest.raises(SystemExit) as leave:
        main(arguments)
    said = capsys.readouterr()
    assert leave.value.code == 2
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert said.err.endswith("\n")
    assert "Traceback" not in said.err
    return said.err


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_names_every_command(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    main(arguments)
    said = capsys.readouterr()
    assert all(f"\n  {name} " in said.out for name in COMMANDS)
    assert said.err == ""


def test_the_version_names_the_commit_of_a_checkout(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for state, commit in (
        ({"commit": "0123456789abcdef", "dirty": False}, " (commit 0123456789ab)"),
        ({"commit": "0123456789abcdef", "dirty": True}, " (commit 0123456789ab, with changes)"),
        ({"commit": "unknown", "dirty": None}, ""),
    ):
        monkeypatch.setattr("compmod.cli.git_state", lambda state=state: state)
        main(["--version"])
        assert capsys.readouterr() == (f"compmod {__version__}{commit}\n", "")


@pytest.mark.parametrize("command", ["demo", "evaluate", "table", "data", "pretrain"])
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leave:
        main([command, "--help"])
    assert leave.value.code == 0
    assert f"usage: compmod {command}" in capsys.readouterr().out


def test_pretrains_help_shows_the_recipe_of_the_method_and_data_set_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["pretrain", "barlow_twins", "--dataset", "stl10", "--help"])
    words = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "The defaults shown are those of barlow_twins on stl10." in words
    assert "(default: 2000)" in words
    assert "(default: lars)" in words


def test_a_table_prints_markdown_and_nothing_on_stderr(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    main(["table", "1", "--runs", str(tmp_path)])
    said = capsys.readouterr()
    assert "| BarlowTwins+ " in said.out
    assert said.err == ""


def test_data_says_what_the_embedded_digits_are(capsys: pytest.CaptureFixture[str]) -> None:
    main(["data", "digits"])
    assert capsys.readouterr().out == (
        "ok     (scikit-learn): embedded; expected 5,752 train and 1,436 test images; checksum not a file\n"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["table", "1"],
        ["table", "--help"],
        ["pretrain", "--help"],
        ["evaluate", "--help"],
        ["data", "digits"],
        ["pretrain", "moca", "--dataset", "cifar10"],
    ],
    ids=" ".join,
)
def test_what_computes_nothing_imports_nothing_heavy_and_answers_soon(arguments: list[str], tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from compmod.cli import main\n"
        "try:\n"
        f"    main({arguments!r})\n"
        "except SystemExit:\n"
        "    pass\n"
        f"print('heavy:', sorted({HEAVY} & set(sys.modules)), file=sys.stderr)\n"
    )
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=_environment(), capture_output=True, text=True, timeout=60
    )
    assert done.stderr.splitlines()[-1] == "heavy: []", done.stderr
    assert time.monotonic() - start < ANSWER_S


def test_python_m_compmod_is_the_command(tmp_path: Path) -> None:
    done = _command(tmp_path, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: compmod COMMAND")


def test_python_m_of_a_table_explains_itself(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "compmod.tables.table1", "--help"],
        cwd=tmp_path,
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "usage: python -m compmod.tables.table1" in done.stdout


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "compmod", "table", "1"],
        cwd=tmp_path,
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(60) == 0


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["pretain"], ["unknown command 'pretain'", *COMMANDS]),
        (["--verson"], ["unknown command '--verson'", *COMMANDS]),
        (["table"], ["N"]),
        (["table", "99"], ["unknown table 99; known: 1"]),
        (["table", "one"], ["unknown table 'one'", "1, 2, 3, 4, 5, 6, 7, "]),
        (["table", "1", "--scale", "tiny"], ["'tiny'", "--scale", "paper", "short", "demo"]),
        (["table", "1", "--seeds", "0"], ["seeds must be from 1 to 1000, not 0"]),
        (["table", "1", "--sedes", "2"], ["--sedes", "--seeds"]),
        (["table", "1", "--format", "pdf"], ["'pdf'", "md", "csv"]),
        (["evaluate"], ["RUN_DIR"]),
        (["data"], ["NAME"]),
        (["data", "svhn"], ["unknown data set 'svhn'", *DATASETS]),
        (["demo", "--run", "here"], ["--run"]),
        (["pretrain"], ["needs a METHOD", *METHODS]),
        (["pretrain", "--dataset", "cifar10"], ["needs a METHOD", *METHODS]),
        (["pretrain", "moca", "--dataset", "cifar10"], ["unknown method 'moca'", *METHODS]),
        (["pretrain", "simclr"], ["needs --dataset NAME", *DATASETS]),
        (["pretrain", "simclr", "--dataset"], ["needs --dataset NAME", *DATASETS]),
        (["pretrain", "simclr", "--dataset", "svhn"], ["unknown data set 'svhn'", *DATASETS]),
        (["pretrain", "simclr", "--dataset", "digits", "--method", "byol"], ["first word", "compmod pretrain byol"]),
        (["pretrain", "simclr", "--dataset", "cifar10", "--bogus", "3"], ["--bogus", "--help"]),
        (["pretrain", "simclr", "--dataset", "cifar10", "--epoch", "3"], ["--epoch", "--epochs"]),
        (["pretrain", "simclr", "--dataset", "cifar10", "another"], ["another", "--help"]),
        (["pretrain", "simclr", "--dataset", "cifar10", "--epochs", "ten"], ["--epochs", "'ten'"]),
        (
            ["pretrain", "simclr", "--dataset", "cifar10", "--epochs", "-1"],
            ["error: Run.epochs must be at least 0, not -1"],
        ),
        (["pretrain", "simclr", "--dataset", "cifar10", "--scale", "tiny"], ["'tiny'", "paper", "short", "demo"]),
        (["pretrain", "simclr", "--dataset", "cifar10", "--scale", "demo"], ["scale demo", "'cifar10'", "paper"]),
        (
            ["pretrain", "simclr", "--dataset", "cifar10", "--optimizer.lr", "-1"],
            ["error: Optimizer.lr must be above 0"],
        ),
        (["pretrain", "simclr", "--dataset", "digits", "--backbone.name", "pixels"], ["use --epochs 0"]),
        (["pretrain", "simclr", "--dataset", "cifar10", "--device", "tpu"], ["'tpu'", "auto", "cpu", "cuda"]),
        (["pretrain", "simclr", "--dataset", "cifar10", "--compmod.lambda1", "0.1"], ["'+'", "'simclr+'"]),
        (["pretrain", "simclr", "--dataset", "cifar10", "--log-every", "0"], ["log_every must be at least 1, not 0"]),
        (["pretrain", "simclr", "--dataset", "digits", "--checkpoint-minutes", "0"], ["checkpoint_minutes", "above 0"]),
        (
            ["pretrain", "simclr", "--dataset", "cifar10", "--backbone.name", "resnet101"],
            ["'resnet101'", "resnet18", "resnet50", "pixels"],
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_status_2(
    arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    said = _refused(arguments, capsys)
    assert [word for word in words if word not in said] == [], said


def test_an_unknown_option_is_answered_with_the_names_alone_of_those_like_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert _refused(["pretrain", "simclr", "--dataset", "digits", "--run.epochs", "4"], capsys) == (
        "error: unknown option --run.epochs; did you mean --epochs? "
        "known: those of compmod pretrain METHOD --dataset NAME --help\n"
    )


def test_a_value_of_neither_type_is_answered_without_the_names_of_ours(capsys: pytest.CaptureFixture[str]) -> None:
    said = _refused(["pretrain", "simclr+", "--dataset", "digits", "--compmod.alpha", "x"], capsys)
    assert "--compmod.alpha FLOAT|{uniform}" in said
    assert "typing" not in said


def test_evaluating_a_folder_without_a_spec_says_what_was_expected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"no spec.json in {tmp_path}; expected the folder of a run" in _refused(["evaluate", str(tmp_path)], capsys)


def test_evaluating_an_evaluation_names_the_run_above_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = Record(tmp_path, Evaluation(run=preset("simclr", "digits")))
    record.start()
    assert f"give the folder of the run, {record.path.parent}" in _refused(["evaluate", str(record.path)], capsys)


def test_evaluating_a_renamed_folder_says_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = Record(tmp_path, preset("simclr", "digits"))
    record.start()
    renamed = record.path.rename(tmp_path / "mine")
    assert f"its spec names it {record.spec.folder}" in _refused(["evaluate", str(renamed)], capsys)


def test_evaluating_an_unfinished_run_says_how_to_finish_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = Record(tmp_path, preset("simclr", "digits"))
    record.start()
    said = _refused(["evaluate", str(record.path)], capsys)
    assert "is unfinished, not done" in said
    assert "compmod pretrain simclr --dataset digits" in said


def test_missing_data_says_where_it_was_looked_for_and_what_helps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--data", str(tmp_path), "--runs", str(tmp_path / "runs")]
    said = _refused(["pretrain", "simclr", "--dataset", "cifar10", *arguments], capsys)
    assert f"{tmp_path}/cifar-10-batches-py" in said
    assert f"'compmod data cifar10 --data {tmp_path}' downloads CIFAR-10" in said


def test_a_mistake_found_before_training_leaves_no_run_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    _refused(["pretrain", "simclr", "--dataset", "cifar10", "--data", str(tmp_path), "--runs", str(runs)], capsys)
    assert not runs.exists()


def test_missing_data_that_may_not_be_fetched_is_listed_and_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as leave:
        main(["data", "stl10", "--data", str(tmp_path), "--no-download"])
    said = capsys.readouterr()
    assert leave.value.code == 2
    assert said.out == f"absent {tmp_path}/stl10_binary: no such folder; expected the official STL-10 files\n"
    assert said.err == f"error: stl10 is not complete: {tmp_path}/stl10_binary\n"


def test_data_that_cannot_be_downloaded_says_in_one_line_what_to_put_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = _refused(["data", "imagenet", "--data", str(tmp_path)], capsys)
    assert f"lay it out as train/nXXXXXXXX/*.JPEG and val/nXXXXXXXX/*.JPEG in {tmp_path}/imagenet" in said


def test_data_takes_several_names_and_knows_all_before_it_begins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["data", "digits", "stl10", "--data", str(tmp_path), "--no-download"])
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["ok", "absent"]
    assert "unknown data set 'svhn'" in _refused(["data", "digits", "svhn"], capsys)
    assert "copy are of one NAME, not of cifar10, stl10" in _refused(
        ["data", "cifar10", "stl10", "--copy", "x"], capsys
    )


@pytest.mark.parametrize(
    "option, known",
    [(["temprature", "0.2"], ["'temprature'", "temperature, output_norm"]), (["temperature"], ["--options"])],
)
def test_a_wrong_option_of_a_method_is_refused_with_the_known_ones(
    option: list[str], known: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = ["--runs", str(tmp_path)]
    said = _refused(["pretrain", "simclr", "--dataset", "digits", *runs, "--options", *option], capsys)
    assert [word for word in known if word not in said] == [], said


def test_cuda_on_a_machine_without_it_is_one_line_and_status_2(tmp_path: Path) -> None:
    done = _command(tmp_path, "pretrain", "simclr", "--dataset", "digits", "--device", "cuda")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: device 'cuda' was asked for and this machine has no usable CUDA device; valid: auto, cpu\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "command", [["pretrain", "simclr", "--dataset", "digits"], ["demo"], ["table", "1", "--scale", "demo", "--run"]]
)
def test_a_file_in_place_of_the_runs_folder_is_one_line_and_status_2(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "runs"
    file.touch()
    assert str(file) in _refused([*command, "--runs", str(file)], capsys)


@pytest.mark.parametrize(
    "dataset", [["--dataset", "cifar10"], ["--dataset=cifar10"], ["--dataset", "stl10", "--dataset", "cifar10"]]
)
def test_the_recipe_is_that_of_the_data_set_however_it_is_written(
    dataset: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["pretrain", "simclr", *dataset, "--help"])
    words = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "those of simclr on cifar10." in words
    assert "(default: 0.003)" in words


def test_the_commands_that_train_or_measure_are_those_that_resume() -> None:
    functions = {name: _imported(name) for name in COMMANDS}
    resumable = {name for name, function in functions.items() if is_resumable(function)}
    assert resumable == {"demo", "pretrain", "evaluate", "transfer", "table"}
