"""`compmod evaluate` with the protocols of large data: what it stores and prints, and its mistakes in one line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from compmod.cli import main
from compmod.pretrain.recipes.evaluation import linear_protocol, semi_protocol
from compmod.pretrain.records.record import Record
from tiny_fine_tunings import RUN, finish


def _command(runs: Path, *options: str) -> list[str]:
    return ["evaluate", str(runs / RUN.folder), "--device", "cpu", "--workers", "0", *options]


def _fine_tunings(runs: Path) -> list[Record]:
    return [Record.open(folder) for folder in sorted((runs / RUN.folder).glob("fine-tuning-*"))]


@pytest.mark.parametrize("protocol, share", [("linear", 1.0), ("semi-10", 0.1)])
def test_a_protocol_is_done_and_its_numbers_printed(
    protocol: str, share: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finish(tmp_path)
    main(_command(tmp_path, "--protocol", protocol, "--epochs", "1"))
    said = capsys.readouterr()
    (record,) = _fine_tunings(tmp_path)
    assert record.spec.to_dict()["FineTuning"]["share"] == share
    assert record.results is not None
    assert f"top5               {record.results['top5']:.4g}\n" in said.out
    assert said.out.endswith(f"{record.path}\n")
    assert "epoch 1 of 1: loss" in said.err
    assert "{" not in said.out


def test_a_variant_names_whose_settings(tmp_path: Path) -> None:
    finish(tmp_path)
    main(_command(tmp_path, "--protocol", "semi-10", "--variant", "vicreg", "--epochs", "1"))
    (record,) = _fine_tunings(tmp_path)
    settings = record.spec.to_dict()["FineTuning"]
    assert (settings["backbone_lr"], settings["head_lr"]) == (0.01, 0.1)


def test_a_sweep_leaves_six_validations_and_one_test_and_says_what_it_chose(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finish(tmp_path)
    main(_command(tmp_path, "--protocol", "linear", "--sweep", "--epochs", "1"))
    settings = [record.spec.to_dict()["FineTuning"] for record in _fine_tunings(tmp_path)]
    assert sorted(found["head_lr"] for found in settings if found["split"] == "validation") == [0.1, 0.3, 1, 3, 10, 30]
    (chosen,) = [found["head_lr"] for found in settings if found["split"] == "test"]
    assert f"head_lr {chosen:g} is chosen by validation top-1" in capsys.readouterr().err


def test_the_same_command_again_prints_the_stored_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    finish(tmp_path)
    record = Record(tmp_path, linear_protocol(RUN))
    record.start()
    record.finish({"top1": 0.25, "epochs": []}, {})
    main(_command(tmp_path, "--protocol", "linear"))
    assert capsys.readouterr().out == f"top1               0.25\n{record.path}\n"


@pytest.mark.parametrize(
    "options, words",
    [
        (["--protocol", "semi-5"], "'semi-5'"),
        (["--protocol", "linear", "--variant", "dino"], "unknown linear protocol 'dino'; known: barlow_twins"),
        (["--protocol", "semi-1", "--variant", "moco"], "unknown semi-supervised protocol 'moco'; known: barlow"),
        (["--protocol", "semi-1", "--sweep"], "sweep is of --protocol linear"),
        (["--protocol", "linear", "--sweep", "--split", "validation"], "itself chooses on the validation split"),
        (["--variant", "moco"], "variant, sweep and epochs are of --protocol linear, semi-1 or semi-10"),
        (["--protocol", "linear", "--epochs", "-1"], "epochs must be from 0 to 100000, not -1"),
        (["--protocol", "linear", "--workers", "-2"], "workers must be from -1 to 1024, not -2"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_status_2(
    options: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finish(tmp_path)
    with pytest.raises(SystemExit) as leave:
        main(_command(tmp_path, *options))
    said = capsys.readouterr().err
    assert leave.value.code == 2
    assert said.count("\n") == 1
    assert words in said


def test_evaluating_a_fine_tuning_names_the_run_above_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = Record(tmp_path, semi_protocol(RUN, 0.1))
    record.start()
    with pytest.raises(SystemExit):
        main(["evaluate", os.fspath(record.path)])
    assert f"give the folder of the run, {record.path.parent}" in capsys.readouterr().err
