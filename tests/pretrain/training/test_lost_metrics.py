"""metrics.jsonl that was lost, emptied or damaged while its run was stopped: one line says so, and training goes on."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from compmod.pretrain.records.record import Record
from compmod.pretrain.specs.run import Run
from compmod.pretrain.trainer import train
from compmod.pretrain.training.monitor import Monitor, cut_back
from compmod.pretrain.training.session import Session
from small_runs import small

SESSION = Session(device="cpu", online_every=0, linear_epochs=1, quiet=True, log_every=2, checkpoint_epochs=1)
STEPS = (2, 4, 6)  # that are logged before the checkpoint of step 6


def _lines(*steps: int) -> bytes:
    return b"".join(json.dumps({"kind": "train", "step": step, "loss": 1.0}).encode() + b"\n" for step in steps)


def _absent(path: Path) -> None:
    path.unlink()


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _nothing(path: Path) -> None:
    pass


def _content(content: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content) and None


WHOLE = _lines(*STEPS)
DAMAGES: list[tuple[Callable[[Path], None], tuple[int, ...], bool]] = [  # damage, the steps kept, whether it warns
    (_nothing, STEPS, False),
    (_content(_lines(*STEPS, 8, 10)), STEPS, False),
    (_content(WHOLE + b'{"kind": "tr'), STEPS, False),  # cut after the checkpoint
    (_content(WHOLE + bytes(100)), STEPS, False),
    (_absent, (), True),
    (_empty, (), True),
    (_content(_lines(2, 4)), (2, 4), True),
    (_content(WHOLE[:-3]), (2, 4), True),
    (_content(bytes(len(WHOLE))), (), True),
    (_content(_lines(2) + bytes(len(WHOLE))), (2,), True),
    (_content(_lines(2) + b"\xff\n" + _lines(6)), (2, 6), True),
    (_content(_lines(2) + b"[]\n" + _lines(6)), (2, 6), True),
    (_content(b'{"step": true}\n' + _lines(4, 6)), (4, 6), True),
    (_content(_lines(2, 10, 12, 14)), (2,), True),  # later lines in place of lost ones
    (_content(_lines(*STEPS).replace(b"1.0", b"1.00000")), STEPS, True),  # longer lines: no end where it was
]


@pytest.mark.parametrize("damage, kept, warns", DAMAGES)
def test_sound_lines_up_to_the_checkpoint_are_kept_and_one_line_tells_of_the_others(
    damage: Callable[[Path], None],
    kept: tuple[int, ...],
    warns: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(WHOLE)
    damage(path)
    cut_back(path, len(WHOLE), 6)
    assert tuple(json.loads(line)["step"] for line in path.read_bytes().splitlines()) == kept
    said = capsys.readouterr().err
    assert said.count("\n") == warns
    assert (str(path) in said) == warns


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(ValueError, match=r"metrics\.jsonl: Is a directory"):
        cut_back(tmp_path / "metrics.jsonl", 10, 6)


@pytest.fixture(scope="module")
def run() -> Run:
    return small("simclr", epochs=3, train_images=48)


@pytest.fixture(scope="module")
def straight(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Record:
    runs = tmp_path_factory.mktemp("straight")
    return train(run, runs, runs, SESSION)


@pytest.mark.parametrize("damage", [_absent, _empty, _content(bytes(50)), _content(b"{\n" * 500)])
def test_a_run_goes_on_to_the_same_end_without_its_metrics(
    damage: Callable[[Path], Any], straight: Record, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(straight.path, tmp_path / run.folder)
    record = Record(tmp_path, run)
    encoder = record.path / "encoder.safetensors"
    for file in (encoder, record.path / "results.json", max((record.path / "checkpoints").glob("step-*.pt"))):
        file.unlink()  # as if it was stopped after the second epoch
    damage(record.path / "metrics.jsonl")
    assert train(run, tmp_path, tmp_path, SESSION).status == "done"
    assert capsys.readouterr().err.count("is not what it was at step 8") == 1
    assert encoder.read_bytes() == (straight.path / "encoder.safetensors").read_bytes()
    lines = (record.path / "metrics.jsonl").read_text().splitlines()
    assert {json.loads(line)["step"] for line in lines} == {10, 12}


def test_a_number_that_is_none_among_those_logged_last_does_not_keep_a_run_from_its_end(
    run: Run, tmp_path: Path
) -> None:
    record = Record(tmp_path, run)
    record.start()
    with Monitor(record, run, 0, 10, quiet=True) as monitor:
        monitor.log("train", 2, 0.2, {"loss": 1.0, "loss_comp": float("nan"), "spread": float("inf")})
    assert monitor.last == {"loss": 1.0, "loss_comp": None, "spread": None}
    record.finish({"last": monitor.last}, {})


def test_a_command_line_that_is_not_utf8_does_not_keep_a_run_from_its_end(run: Run, tmp_path: Path) -> None:
    record = Record(tmp_path, replace(run, seed=1))
    record.start()
    record.finish({}, {"command": "compmod --data " + os.fsdecode(b"\xff/data")})
    assert record.status == "done"
    assert (record.provenance or {})["command"] == "compmod --data ?/data"
    record.fail(os.fsdecode(b"\xff is missing"))
    assert json.loads((record.path / "failed.json").read_text()) == {"error": "? is missing"}
