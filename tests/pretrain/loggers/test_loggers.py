"""Loggers: their names, what a foreign package is told, and TensorBoard after a kill."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from compmod.cli import COMMANDS
from compmod.pretrain.commands.parsing import parsed
from compmod.pretrain.evaluate.finetune import fine_tune
from compmod.pretrain.loggers.names import DEFAULT, chosen
from compmod.pretrain.loggers.sender import Notes, Row
from compmod.pretrain.loggers.told import told
from compmod.pretrain.records.record import Record
from compmod.pretrain.training.monitor import Monitor
from paths import ROOT
from small_runs import small
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_fine_tunings import LINEAR, QUIET, finish

RUN = small("simclr", seed=3)


def _tensorboard(folder: Path) -> dict[str, list[int]]:
    """Steps by name, as TensorBoard shows them."""
    board = EventAccumulator(str(folder / "tensorboard"))
    board.Reload()
    return {name: [event.step for event in board.Scalars(name)] for name in board.Tags()["scalars"]}


@pytest.mark.parametrize("words", [[], ["none", "tensorboard"], ["tensorbord"]])
def test_a_wrong_choice_lists_the_right_ones(words: list[str]) -> None:
    with pytest.raises(ValueError, match=r"tensorboard, trackio, wandb, mlflow"):
        chosen(words)


def test_a_folder_of_a_packages_name_does_not_make_it_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wandb").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    with pytest.raises(ValueError, match="pip install wandb"):
        chosen(["wandb"])


def test_a_package_is_told_names_from_the_spec_and_the_spec() -> None:
    of = told(RUN, "0123-ab")
    assert (of.name, of.group) == ("simclr-digits-seed3-0123-ab", "simclr-digits")
    assert of.tags == {"method": "simclr", "dataset": "digits", "kind": "pretraining"}
    assert (of.config["seed"], of.config["optimizer.lr"], of.config["views.1.size"]) == (
        3,
        RUN.optimizer.lr,
        RUN.views[1].size,
    )
    assert all(f"options.{name}" in of.config for name, _ in RUN.options)
    assert told(LINEAR, "45").config["run.backbone.width"] == 2


def test_a_step_that_was_noted_is_not_sent_again_and_another_folder_is_another_run(tmp_path: Path) -> None:
    first, other = Notes(tmp_path / "a", "0123"), Notes(tmp_path / "b", "0123")
    assert first.new([Row(1, {"x": 1.0}), Row(2, {"x": 2.0})])
    again = Notes(tmp_path / "a", "0123")
    assert again.new([Row(2, {"x": 2.0, "y": 3.0}), Row(3, {"x": 4.0})]) == [Row(2, {"y": 3.0}), Row(3, {"x": 4.0})]
    assert again.id == first.id != other.id
    (tmp_path / "a").write_text('{"id": "x", "sent": {"x": "y"}}')
    with pytest.raises(ValueError, match="remove the file"):
        Notes(tmp_path / "a", "0123")


def test_wandb_gets_the_same_run_again_and_nothing_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from compmod.pretrain.loggers import wandb_run

    calls: list[Any] = []
    opened = SimpleNamespace(
        log=lambda values, step: calls.append((step, values)), finish=lambda exit_code: calls.append(exit_code)
    )
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=lambda **given: calls.append(given) or opened))
    for name in wandb_run.DEFAULTS:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    run = wandb_run.open_run(told(RUN, "0123-ab"), tmp_path)
    run.log([Row(2, {"train/loss": 1.0})])
    run.close(finished=True)
    assert {name: calls[0][name] for name in ("id", "resume", "project")} == {
        "id": "0123-ab",
        "resume": "allow",
        "project": "mine",
    }
    assert calls[1:] == [(2, {"train/loss": 1.0}), 0]


def test_tensorboard_shows_every_step_once_after_a_kill(tmp_path: Path) -> None:
    record = Record(tmp_path, RUN)
    record.start()
    killed = Monitor(record, RUN, 0, 10, quiet=True).__enter__()
    killed.log("train", 2, 0.2, {"loss": 1.0, "images_per_second": 1.0})
    killed.log("train", 4, 0.4, {"loss": 2.0, "images_per_second": 1.0})
    killed.flush()  # for a checkpoint
    assert _tensorboard(record.path)["train/loss"] == [2, 4]
    killed.log("train", 6, 0.6, {"loss": 3.0})
    killed.loggers.flush()
    with Monitor(record, RUN, 4, 10, quiet=True) as monitor:
        monitor.log("train", 6, 0.6, {"loss": 3.0})
    assert _tensorboard(record.path)["train/loss"] == [2, 4, 6]
    killed.__exit__(None, None, None)


def test_no_logger_leaves_metrics_alone(tmp_path: Path) -> None:
    record = Record(tmp_path, RUN)
    record.start()
    with Monitor(record, RUN, 0, 10, quiet=True, loggers=("none",)) as monitor:
        monitor.log("train", 2, 0.2, {"loss": 1.0})
    assert (record.path / "metrics.jsonl").read_text().count("\n") == 1
    assert not (record.path / "tensorboard").exists()


def test_a_fine_tuning_logs_its_epochs(tmp_path: Path) -> None:
    finish(tmp_path)
    record = fine_tune(tmp_path, LINEAR, tmp_path, QUIET)
    assert QUIET.logger == DEFAULT
    assert _tensorboard(record.path) == {f"linear/{name}": [3, 6, 9] for name in ("loss", "top1", "top5")}


def test_the_commands_of_the_page_are_right() -> None:
    lines = (ROOT / "docs" / "loggers.md").read_text(encoding="utf-8").splitlines()
    commands = [line.split()[1:] for line in lines if line.startswith("compmod ")]
    assert [name for name, *_ in commands] == ["pretrain", "table", "submit"]
    for name, *words in commands:
        module, _, function = COMMANDS[name].partition(":")
        command = getattr(importlib.import_module(f"compmod.{module}"), function)
        assert callable(parsed(command, words, name))
