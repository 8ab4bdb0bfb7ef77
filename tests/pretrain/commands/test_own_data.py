"""Images of the user's own, from the command line: named in a file or by --data-folder, and used as known data are."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from compmod.cli import main
from compmod.pretrain.commands.own_data import VARIABLE, OwnFolder, own_folders, own_folders_file
from compmod.pretrain.data.own_folder import own_data
from compmod.pretrain.recipes.presets import preset
from compmod.pretrain.records.record import Record
from compmod.pretrain.specs.datasets import DATASETS
from compmod.pretrain.specs.run import Backbone, Run
from compmod.pretrain.specs.spec import Spec
from compmod.pretrain.trainer import train
from compmod.pretrain.training.session import Session
from compmod.tables.plan.cost import measured_rates
from compmod.tables.plan.plan import plan
from compmod.tables.render.render import render
from compmod.transfer.commands.export import export
from own_images import TINY, WORDS, change, draw
from tables_of_tiny_runs import tiny_table

QUIET = Session(device="cpu", online_every=0, linear_epochs=1, quiet=True, checkpoint_epochs=1, workers=0)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's images, in a working folder without a file that names them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv(VARIABLE, raising=False)
    return draw(tmp_path / "pets")


def pretrain_words(method: str, *more: str) -> list[str]:
    return ["pretrain", method, "--dataset", "folder", "--epochs", "1", *WORDS, *more]


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of a command that ends with status 2."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as leave:
        main(list(arguments))
    said = capsys.readouterr()
    assert (leave.value.code, said.out, said.err.count("\n")) == (2, "", 1)
    return said.err


def the_run() -> Path:
    (path,) = Path("runs").iterdir()
    return path


@pytest.mark.parametrize("size, method", [("16", "simclr+"), ("0", "byol")])
def test_a_folder_is_trained_on_and_measured_and_found_again_elsewhere(
    size: str, method: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(pretrain_words(method, "--data-folder", "pets", "--size", size))
    run = the_run()
    evaluate = ["evaluate", str(run), "--device", "cpu", "--workers", "0", "--data-folder"]
    moved = folder.rename(folder.with_name("moved"))
    for words in (["--linear-epochs", "1"], ["--protocol", "linear", "--epochs", "1"], ["--protocol", "semi-10"]):
        main([*evaluate, "moved", *words, *(["--epochs", "1"] if words[-1] == "semi-10" else [])])
    main(pretrain_words(method, "--data-folder", str(moved), "--size", size))
    assert the_run() == run
    change(moved)
    for words in (["--linear-epochs", "1"], ["--linear-epochs", "2"], ["--protocol", "linear", "--epochs", "2"]):
        assert "moved is of other data than the run: its images have" in refused(capsys, *evaluate, "moved", *words)
    shutil.rmtree(moved)
    record = Record.open(run)
    assert record.status == "done"
    assert isinstance(record.spec, Run)
    assert record.spec.data.train_images == 12
    main([*evaluate, "moved", "--linear-epochs", "1"])
    assert "no such folder" in refused(capsys, *evaluate, "moved", "--linear-epochs", "3")


def test_a_changed_folder_is_another_run_and_stops_the_unfinished_one(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = pretrain_words("simclr", "--data-folder", "pets", "--size", "16")
    main(words)
    finished = the_run()
    main([*words, "--epochs", "2"])
    unfinished = next(path for path in Path("runs").iterdir() if path != finished)
    (unfinished / "results.json").unlink()
    change(folder)
    capsys.readouterr()
    main(words)
    assert f"{finished} is this run on other images of folder; it stays as it is" in capsys.readouterr().err
    assert len(list(Path("runs").iterdir())) == 3
    line = refused(capsys, *words, "--epochs", "2")
    assert f"{unfinished} is of other data" in line
    assert "(--dataset OTHER)" in line


@pytest.mark.parametrize("size, method", [(16, "simclr+"), (0, "simclr")])
def test_a_stopped_run_goes_on_to_the_same_bits(size: int, method: str, folder: Path, tmp_path: Path) -> None:
    own = own_data(folder, size)
    run = replace(preset(method, "pets", own=own), epochs=2, batch_size=4, **TINY)  # type: ignore[arg-type]
    straight = train(run, tmp_path / "straight", folder, QUIET)
    shutil.copytree(straight.path, tmp_path / "stopped" / run.folder)
    stopped = Record(tmp_path / "stopped", run).path
    newest = max((stopped / "checkpoints").glob("step-*.pt"))
    for file in (stopped / "encoder.safetensors", stopped / "results.json", newest):
        file.unlink()
    train(run, tmp_path / "stopped", folder, QUIET)
    encoders = [(path / "encoder.safetensors").read_bytes() for path in (straight.path, stopped)]
    assert encoders[0] == encoders[1]
    (stopped / "results.json").unlink()
    change(folder)
    with pytest.raises(ValueError, match="is of other data than the run"):
        train(run, tmp_path / "stopped", folder, QUIET)


def test_it_is_planned_tabulated_and_exported_by_the_spec_alone(folder: Path, tmp_path: Path) -> None:
    own = own_data(folder, 16)
    run = replace(preset("simclr", "pets", own=own), epochs=1, batch_size=4)
    run = replace(run, backbone=Backbone(name="resnet18", stem="large"))
    shutil.copytree(folder, tmp_path / "kept")
    planned = plan([tiny_table([run])], tmp_path / "runs", measured_rates(tmp_path / "runs"))
    assert [step.run.data_label for step in planned.steps] == ["pets", "pets"]
    record = train(run, tmp_path / "runs", folder, QUIET)
    shutil.rmtree(folder)
    assert Spec.from_dict(json.loads((record.path / "spec.json").read_text())) == run
    assert "as on CIFAR-10" in preset.__globals__["recipes"]("simclr", "pets", own)[""].remark
    assert "SimCLR on pets" in render(tiny_table([run]), tmp_path / "runs")
    lines = export(record.path, "torchvision", tmp_path / "trunk.pth")
    assert str([round(255 * share, 3) for share in own.mean]) in lines


def test_images_without_labels_are_pretrained_on_and_not_measured(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw(tmp_path / "plain", classes=())
    words = ["--data-folder", "plain", "--size", "16"]
    main(pretrain_words("simclr", *words))
    only = "the images of folder have no labels (no class folders in train/): only pretraining is possible"
    assert only in refused(capsys, "evaluate", str(the_run()), "--data-folder", "plain", "--device", "cpu")
    assert "have no labels, which supervised" in refused(capsys, *pretrain_words("supervised", *words))


def test_the_command_data_tells_what_is_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("compmod-data.toml").write_text('[dataset.animals]\nfolder = "pets"\nmean = [0.5, 0.5, 0.5]\nsize = 8\n')
    main(["data", "animals"])
    said = capsys.readouterr().out
    assert f"ok     {folder}/train: 12 images in 2 classes of 6 to 6\n" in said
    for words in ("cat, dog", "8 x 8 pixels", "mean     0.5, 0.5, 0.5", own_data(folder, 8).contents):
        assert words in said
    main(["pretrain", "simclr", "--dataset", "animals", "--epochs", "1", *WORDS])
    run = Record.run_in(the_run().resolve())
    assert run.own == replace(own_data(folder, 8), mean=(0.5, 0.5, 0.5))
    main(["evaluate", str(the_run()), "--linear-epochs", "1", "--device", "cpu"])


def test_the_file_is_named_by_a_variable_or_lies_here_or_at_home(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert own_folders_file() == tmp_path / ".config/compmod/datasets.toml"
    assert own_folders() == {}
    Path("compmod-data.toml").write_text('[dataset.a]\nfolder = "pets"\ntest = "val"\n')
    assert own_folders() == {"a": OwnFolder(name="a", folder=str(folder), test="val")}
    monkeypatch.setenv(VARIABLE, "other.toml")
    assert own_folders_file() == Path("other.toml")


@pytest.mark.parametrize(
    "text, said",
    [
        ("[dataset.a]\nsize = 8", "data set 'a': folder is missing; expected the path of the images"),
        ("[dataset.a]\nfolder = 3", "data set 'a': folder must be a string, not 3"),
        ("[dataset.a]\nfolder = ''", "data set 'a': folder must be a path, not ''"),
        ("[dataset.a]\nfolder = '~nobody-here/x'", "data set 'a': Could not determine home directory"),
        ("[dataset.a]\nfolder = 'x'\nsize = 9999", "data set 'a': size must be at most 4096, not 9999"),
        ("[dataset.a]\nfolder = 'x'\nsize = true", "data set 'a': size must be a whole number, not True"),
        ("[dataset.a]\nfolder = 'x'\nmean = [1, 2]", "data set 'a': mean must be a tuple of 3 or None, not (1, 2)"),
        ("[dataset.a]\nfolder = 'x'\nstd = [0, 1, 1]", "data set 'a': std must be above 0 or None, not (0, 1, 1)"),
        ("[dataset.a]\nfolder = 'x'\nmean = [nan, 1, 1]", "data set 'a': mean must be a finite number"),
        ("[dataset.a]\nfolder = 'x'\ntest = '../y'", "data set 'a': test must be the name of a folder beside train"),
        ("[dataset.a]\nfolder = 'x'\nlabel = 'y'", "data set 'a': unknown setting 'label'; known: folder, size,"),
        ("[dataset.cifar10]\nfolder = 'x'", "data set 'cifar10': 'cifar10' is a known data set; give your own another"),
        ("[dataset.'a/b']\nfolder = 'x'", "data set 'a/b': a data set's name is at most 64 letters, digits, _ and -"),
        ('[dataset."\\u001b[31m"]\nfolder = "x"', "data set '\\\\x1b[31m': a data set's name is at most 64"),
        ("[cluster.a]", "unknown section 'cluster'; expected [dataset.NAME]"),
        ("dataset = 3", "expected sections [dataset.NAME]"),
        ("[dataset.a", "Expected ']'"),
        ("a = " + "[" * 100_000, "nested too deep"),
    ],
)
def test_a_mistake_in_the_file_is_one_line_that_names_the_file(
    text: str, said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("compmod-data.toml").write_text(text)
    assert refused(capsys, "data", "a").startswith(f"error: compmod-data.toml: {said}")


@pytest.mark.parametrize(
    "words, said",
    [
        (["data", "folder"], f"unknown data set 'folder'; known: {', '.join(DATASETS)}; images of your own: --data-"),
        (["data", "cifar10", "--data-folder", "pets"], "'cifar10' is a known data set: leave out data-folder"),
        (["data", "a b", "--data-folder", "pets"], "a data set's name is at most 64 letters"),
        (["data", "a", "--data-folder", "pets", "--copy", "b"], "a is data of your own and has no copies"),
        (["data", "a", "--data-folder", "none"], "none/train: found no such folder"),
        (pretrain_words("simclr", "--data-folder", "pets", "--size", "x"), "size must be a whole number of pixels"),
        (pretrain_words("simclr", "--data-folder", "pets", "--size", "9999"), "size must be at most 4096"),
        (pretrain_words("simclr", "--data-folder", "pets", "--copy", "b"), "folder is data of your own and has no"),
        (pretrain_words("simclrr", "--data-folder", "none"), "unknown method 'simclrr'"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(
    words: list[str], said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refused(capsys, *words)


@pytest.mark.parametrize(
    "changes",
    [
        {"dataset": "cifar10"},
        {"dataset": "../x"},
        {"dataset": "x" * 65},
        {"copy": "b"},
        {"own": {"contents": "g" * 64}},
        {"own": {"classes": -1}},
        {"own": {"std": (0.0, 0.1, 0.1)}},
        {"own": {"test": ".."}},
    ],
)
def test_a_hostile_spec_is_refused(changes: dict[str, Any], folder: Path) -> None:
    encoded = preset("simclr", "pets", own=own_data(folder, 16)).to_dict()
    for name, value in changes.items():
        if isinstance(value, dict):
            encoded["Run"][name]["OwnData"].update(value)
        else:
            encoded["Run"][name] = value
    with pytest.raises(ValueError, match=r"own|name|OwnData"):
        Spec.from_dict(encoded)
