"""Wrong command lines of every command: each is one line that names the mistake, status 2, and nothing is made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from compmod.cli import COMMANDS, main
from compmod.pretrain.records.record import Record
from compmod.pretrain.specs.measurement import Evaluation
from compmod.tables.commands.table import script
from one_cell_tables import tiny_run

RUN, UNFINISHED, MEASURED = "done/RUN", "done/UNFINISHED", "done/MEASURED"  # stand for folders below
DIGITS = ["pretrain", "simclr", "--dataset", "digits"]
PLUS = ["pretrain", "simclr+", "--dataset", "digits"]
TRANSFER = ["transfer", RUN]
EXPORT = ["export", RUN, "--to", "detectron2", "-o"]
WITH_SEEDS = (
    ["table", "1"], ["table", "1", "--run", "--scale", "demo"], ["plan"], ["claims"], ["report", "-o", "new"],
    ["submit", "--cluster", "local", "--scale", "demo"], ["status"], ["cancel", "1"], ["retry"],
)  # fmt: skip
WITH_RUNS = ([*DIGITS], ["demo"], *WITH_SEEDS, ["logs", "abcd1234"])
WITH_DATA = (
    [*DIGITS], ["evaluate", RUN], ["data", "cifar10"], ["table", "1", "--run", "--scale", "demo"], ["retry"],
    ["submit", "--cluster", "local", "--scale", "demo"],
)  # fmt: skip

# arguments, and a word that the error must have
WRONG: list[tuple[list[str], str]] = [
    ([""], "empty"),
    (["Pretrain"], "'Pretrain'"),
    (["--runs", "x"], "'--runs'"),
    (["table\n"], "table"),
    (["completion", "powershell"], "powershell"),
    # a method, a data set, a preset
    (["pretrain", "simclr++", "--dataset", "digits"], "'simclr++'"),
    (["pretrain", "SimCLR", "--dataset", "digits"], "'SimCLR'"),
    (["pretrain", "", "--dataset", "digits"], "empty"),
    (["pretrain", "supervised+", "--dataset", "digits"], "supervised"),
    (["pretrain", "simclr", "--dataset", ""], "empty"),
    (["pretrain", "simclr", "--dataset", "cifar10/.."], "'cifar10/..'"),
    ([*DIGITS, "--preset", "nope"], "'nope'"),
    (["pretrain", "simclr", "--dataset", "cifar10", "--copy", "a/b"], "'a/b'"),
    (["pretrain", "simclr", "--dataset", "cifar10", "--copy", ".."], "'..'"),
    (["pretrain", "simclr", "--dataset", "cifar10", "--copy", "."], "'.'"),
    (["pretrain", "simclr", "--dataset", "cifar10", "--copy", "nope"], "nope"),
    ([*DIGITS, "--copy", "x"], "'x'"),
    # numbers of a run
    ([*DIGITS, "--norm-groups", "7"], "norm_groups"),
    ([*DIGITS, "--norm_groups", "7"], "norm_groups"),
    ([*DIGITS, "--norm-groups", "0"], "norm_groups"),
    ([*DIGITS, "--optimizer.lr", "1e308", "--optimizer.lr-batch", "1"], "lr"),
    ([*DIGITS, "--optimizer.lr", "1e308"], "lr"),
    ([*DIGITS, "--optimizer.lr", "nan"], "lr"),
    ([*DIGITS, "--optimizer.lr", "inf"], "lr"),
    ([*DIGITS, "--optimizer.lr", "0"], "lr"),
    ([*DIGITS, "--views.0.size", "99999"], "size"),
    ([*DIGITS, "--views.0.size", "-1"], "size"),
    ([*DIGITS, "--views.0.jitter", "1.5"], "jitter"),
    ([*DIGITS, "--views.0.crop-min", "0.9", "--views.0.crop-max", "0.1"], "crop_min"),
    ([*DIGITS, "--views.9.size", "32"], "--views.9.size"),
    ([*DIGITS, "--batch-size", "1"], "batch_size"),
    ([*DIGITS, "--batch-size", "1000000"], "batch_size"),
    ([*DIGITS, "--batch-size", "1e2"], "1e2"),
    ([*DIGITS, "--train-images", "5"], "train_images"),
    ([*DIGITS, "--train-images", "99999"], "99,999"),
    ([*DIGITS, "--seed", "-1"], "seed"),
    ([*DIGITS, "--seed", "9" * 30], "seed"),
    ([*DIGITS, "--seed", "9" * 5000], "characters"),
    ([*DIGITS, "--seed", "²"], "²"),
    ([*DIGITS, "--epochs", "9" * 20], "epochs"),
    ([*DIGITS, "--epochs", "1.5"], "1.5"),
    ([*DIGITS, "--backbone.width", "0"], "width"),
    ([*DIGITS, "--backbone.width", "9999999"], "width"),
    ([*DIGITS, "--projector.hidden", "999999999"], "hidden"),
    ([*DIGITS, "--projector.layers", "0"], "layers"),
    ([*PLUS, "--compmod.order", "3"], "order"),
    ([*PLUS, "--compmod.lambda1", "-1"], "lambda1"),
    ([*PLUS, "--compmod.alpha", "2"], "alpha"),
    ([*DIGITS, "--options", "temperature", "x"], "temperature"),
    ([*DIGITS, "--options", "nope", "1"], "'nope'"),
    # numbers of a session
    ([*DIGITS, "--checkpoint-minutes", "nan"], "checkpoint_minutes"),
    ([*DIGITS, "--checkpoint-minutes", "inf"], "checkpoint_minutes"),
    ([*DIGITS, "--checkpoint-minutes", "-1"], "checkpoint_minutes"),
    ([*DIGITS, "--checkpoint-epochs", "-1"], "checkpoint_epochs"),
    ([*DIGITS, "--online-every", "-1"], "online_every"),
    ([*DIGITS, "--linear-epochs", "0"], "linear_epochs"),
    ([*DIGITS, "--linear-epochs", "9" * 20], "linear_epochs"),
    ([*DIGITS, "--log-every", "-5"], "log_every"),
    ([*DIGITS, "--workers", "-2"], "workers"),
    ([*DIGITS, "--workers", "100000"], "workers"),
    ([*DIGITS, "--device", "cuda:0"], "cuda:0"),
    ([*DIGITS, "--device", "cuda"], "cuda"),
    ([*DIGITS, "--memory-format", "nchw"], "nchw"),
    ([*DIGITS, "extra", "--epochs", "1"], "extra"),
    ([*DIGITS, "--epochs"], "--epochs"),
    # evaluate
    (["evaluate", ""], "empty"),
    (["evaluate", "."], "spec.json"),
    (["evaluate", "/"], "spec.json"),
    (["evaluate", "nope"], "nope"),
    (["evaluate", "file"], "file"),
    (["evaluate", "file/x"], "file/x"),
    (["evaluate", "x" * 300], "x" * 300),
    (["evaluate", "a\0b"], "a\\x00b"),
    (["evaluate", "a\udcffb"], "\\udcff"),
    (["evaluate", UNFINISHED], "unfinished"),
    (["evaluate", MEASURED], "measurement"),
    (["evaluate", RUN, "--linear-epochs", "0"], "linear_epochs"),
    (["evaluate", RUN, "--linear-epochs", "9" * 20], "linear_epochs"),
    (["evaluate", RUN, "--epochs", "3"], "epochs"),
    (["evaluate", RUN, "--protocol", "linear", "--epochs", "-3"], "epochs"),
    (["evaluate", RUN, "--protocol", "semi-2"], "semi-2"),
    (["evaluate", RUN, "--variant", "x"], "variant"),
    (["evaluate", RUN, "--protocol", "linear", "--variant", "x"], "'x'"),
    (["evaluate", RUN, "--protocol", "semi-1", "--sweep"], "sweep"),
    (["evaluate", RUN, "--split", "train"], "train"),
    (["evaluate", RUN, "--workers", "-2"], "workers"),
    (["evaluate", RUN, "--device", "cuda"], "cuda"),
    (["evaluate", RUN, RUN], RUN.partition("/")[0]),
    # transfer
    (["transfer", "nope"], "nope"),
    (["transfer", "file"], "file"),
    (["transfer", "."], "spec.json"),
    (["transfer", UNFINISHED], "unfinished"),
    ([*TRANSFER, "--gpus", "0"], "gpus"),
    ([*TRANSFER, "--gpus", "4", "--device", "cuda"], "cuda"),
    ([*TRANSFER, "--gpus", "3", "--batch-size", "16", "--device", "cpu"], "3"),
    ([*TRANSFER, "--gpus", "999999"], "gpus"),
    ([*TRANSFER, "--batch-size", "-1"], "batch_size"),
    ([*TRANSFER, "--batch-size", "9" * 20], "batch_size"),
    ([*TRANSFER, "--workers", "-2"], "workers"),
    ([*TRANSFER, "--checkpoint-minutes", "nan"], "checkpoint_minutes"),
    ([*TRANSFER, "--seed", "-1"], "seed"),
    ([*TRANSFER, "--seed", "1"], "seed"),
    ([*TRANSFER, "--stem", "large"], "stem"),
    ([*TRANSFER, "--coco", "nope"], "nope"),
    ([*TRANSFER, "--coco", "file"], "file"),
    ([*TRANSFER, "--coco", "/"], "/"),
    ([*TRANSFER, "--schedule", "3x"], "3x"),
    ([*TRANSFER, "--architecture", "c5"], "c5"),
    ([*TRANSFER, "--device", "cuda"], "cuda"),
    # table
    (["table", "0"], "0"),
    (["table", "-1"], "-1"),
    (["table", "8"], "8"),
    (["table", "1.0"], "1.0"),
    (["table", "²"], "²"),
    (["table", "9" * 40], "999"),
    (["table", "1", "2"], "2"),
    (["table", "1", "--workers", "-1"], "workers"),
    (["table", "1", "--workers", "99999"], "workers"),
    (["table", "1", "--scale", "demo", "--run", "--device", "cuda"], "cuda"),
    (["table", "1", "--format", "MD"], "MD"),
    # plan, submit, status, cancel, retry, logs
    (["plan", "8"], "8"),
    (["plan", "x"], "x"),
    (["plan", "--hardware", "Abacus"], "Abacus"),
    (["submit", "--cluster", "nope"], "'nope'"),
    (["submit", "--cluster", "../x"], "'../x'"),
    (["submit"], "--cluster"),
    (["submit", "8", "--cluster", "local"], "8"),
    (["submit", "--cluster", "local", "--nodes", "-1"], "nodes"),
    (["submit", "--cluster", "local", "--nodes", "9" * 9], "nodes"),
    (["submit", "--cluster", "local", "--gpus", "-2"], "gpus"),
    (["submit", "--cluster", "local", "--too-large", "maybe"], "maybe"),
    (["plan", "--gpus", "0"], "gpus"),
    (["submit", "--cluster", "local", "--scale", "demo", "--hardware", "Abacus"], "Abacus"),
    (["retry", "--cluster", "nope"], "'nope'"),
    (["retry", "--nodes", "-1"], "nodes"),
    (["retry", "--gpus", "-2"], "gpus"),
    (["retry", "8"], "8"),
    (["retry", "²"], "²"),
    (["retry", "zzzzzzzz"], "zzzzzzzz"),
    (["cancel"], "cancel"),
    (["cancel", "8"], "8"),
    (["cancel", "x"], "'x'"),
    (["cancel", "²"], "²"),
    (["cancel", "zzzzzzzz"], "zzzzzzzz"),
    (["status", "8"], "8"),
    (["status", "--watch", "--json"], "json"),
    (["logs"], "DIGEST"),
    (["logs", "."], "'.'"),
    (["logs", "zzzzzzzz"], "zzzzzzzz"),
    (["logs", "zzzzzzzz", "--lines", "-1"], "lines"),
    (["cluster", "new"], "NAME"),
    (["cluster", "new", "a b"], "'a b'"),
    (["cluster", "new", "local"], "'local'"),
    (["cluster", "new", "a]b"], "'a]b'"),
    (["cluster", "check", "nope"], "'nope'"),
    (["cluster", "remove", "x"], "remove"),
    (["cluster", "list", "x"], "x"),
    # data and methods
    (["data", ""], "empty"),
    (["data", "digits", "--copy", "x"], "'x'"),
    (["data", "cifar10", "--copy", "a/b"], "'a/b'"),
    (["data", "cifar10", "--copy", ".."], "'..'"),
    (["data", "cifar10", "--copy", "nope"], "nope"),
    (["data", "cifar10", "--no-download"], "cifar10"),
    (["methods", "simclr+"], "'simclr+'"),
    (["methods", "nope"], "'nope'"),
    (["methods", "--format", "csv"], "csv"),
    # report and export
    (["report"], "--output"),
    (["report", "-o", "file"], "file"),
    (["report", "-o", "file/x"], "file"),
    (["report", "-o", "/"], "/"),
    (["report", "-o", ""], "empty"),
    (["report", "-o", RUN], "RUN"),
    (["report", "-o", "new", "--scale", "tiny"], "tiny"),
    (["report", "-o", "new", "--format", "md"], "--format"),
    ([*EXPORT, "x.pt"], "x.pt"),
    ([*EXPORT, "nope/x.pth"], "nope"),
    ([*EXPORT, "file/x.pth"], "file"),
    ([*EXPORT, "folder.pth"], "folder.pth"),
    ([*EXPORT, f"{RUN}/x.pth"], "x.pth"),
    (["export", UNFINISHED, "--to", "detectron2", "-o", "x.pth"], "unfinished"),
    (["export", MEASURED, "--to", "detectron2", "-o", "x.pth"], "no run"),
    (["export", RUN, "--to", "keras", "-o", "x.pth"], "keras"),
    (["export", RUN, "--to", "timm", "-o", "x.pth"], "timm"),
    (["export", "nope", "--to", "timm", "-o", "x.pth"], "nope"),
    (["doctor", "x"], "x"),
    (["demo", "x"], "x"),
    # what many commands have
    *(([*command, "--seeds", seeds], "seeds") for command in WITH_SEEDS for seeds in ("0", "-1", "1001", "9" * 12)),
    *(([*command, "--seeds", "two"], "two") for command in WITH_SEEDS),
    *(([*command, "--copies", "cifar10=a/b"], "a/b") for command in WITH_SEEDS),
    *(([*command, "--copies", "cifar10=.."], "..") for command in WITH_SEEDS),
    *(([*command, "--copies", "cifar10"], "cifar10") for command in WITH_SEEDS),
    *(([*command, "--copies", "svhn=x"], "svhn") for command in WITH_SEEDS),
    *(([*command, "--copies", "digits=x"], "digits") for command in WITH_SEEDS),
    *(([*command, "--runs", ""], "empty") for command in WITH_RUNS),
    *(([*command, "--runs", "file"], "file") for command in WITH_RUNS),
    *(([*command, "--runs", "file/below"], "file") for command in WITH_RUNS),
    *(([*command, "--runs", "dangling/below"], "dangling") for command in WITH_RUNS),
    *(([*command, "--runs", "x" * 300], "x" * 300) for command in WITH_RUNS),
    *(([*command, "--runs", "a\nb"], "a\\nb") for command in WITH_RUNS),
    *(([*command, "--data", "file"], "file") for command in WITH_DATA),
    *(([*command, "--data", "\udcff"], "\\udcff") for command in WITH_DATA),
]  # fmt: skip


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a finished run, an unfinished one, a measurement, a file and a link to nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COMPMOD_CLUSTERS", str(tmp_path / "clusters.toml"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for name, done in (("RUN", True), ("UNFINISHED", False)):
        record = Record(tmp_path / "done", tiny_run(seed=int(done)))
        record.start()
        if done:
            record.finish({}, {})
        (tmp_path / "done" / name).symlink_to(record.path)
    measured = Record(tmp_path / "done", Evaluation(run=tiny_run(seed=1)))
    measured.start()
    (tmp_path / "done" / "MEASURED").symlink_to(measured.path)
    (tmp_path / "file").touch()
    (tmp_path / "folder.pth").mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    return tmp_path


def _seen(folder: Path) -> dict[str, int]:
    """Every path below, with the time of its last change."""
    return {str(path): os.lstat(path).st_mtime_ns for path in [folder, *folder.rglob("*")]}


def _name(value: object) -> str:
    return ascii(" ".join(value))[1:70] if isinstance(value, list) else ""


@pytest.mark.parametrize("arguments", [["table", "8"], ["table", "1", "--bogus"], [*DIGITS, "--epochs", "x"]])
def test_of_several_processes_the_first_alone_says_what_is_wrong(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for rank, said in (("0", 1), ("1", 0)):
        for name, value in (("RANK", rank), ("WORLD_SIZE", "2"), ("LOCAL_RANK", rank)):
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as leave:
            main(arguments)
        assert leave.value.code == 2
        assert capsys.readouterr().err.count("\n") == said


@pytest.mark.parametrize("words", [["--seeds", "0"], ["--bogus"], ["--runs", ""], ["--runs", "file"]])
def test_a_tables_own_script_takes_words_as_the_command_does(
    words: list[str], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as leave:
        script(1, words)
    said = capsys.readouterr().err
    assert leave.value.code == 2
    assert said.startswith("error: ")
    assert said.count("\n") == 1


def test_every_command_is_given_wrong_words() -> None:
    assert {arguments[0] for arguments, _ in WRONG} >= set(COMMANDS)


@pytest.mark.parametrize("arguments, word", WRONG, ids=_name)
def test_wrong_words_are_one_line_and_make_nothing(
    arguments: list[str], word: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = _seen(place)
    with pytest.raises(SystemExit) as leave:
        main(arguments)
    said = capsys.readouterr().err
    assert leave.value.code == 2, said
    assert said.startswith("error: "), said
    assert said.count("\n") == 1, said
    assert said.endswith("\n"), said
    assert word in said, said
    assert "[Errno" not in said, said
    assert _seen(place) == before, said
