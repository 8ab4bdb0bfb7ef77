"""How far and how fast unfinished work is, from files as writers leave them at any moment."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from compmod.pretrain.records.pace import LINES, TAIL_BYTES, Pace, pace
from compmod.pretrain.specs.measurement import Evaluation, FineTuning
from compmod.pretrain.specs.run import Run

RUN = Run(method="simclr", dataset="cifar10", epochs=100)
FINE_TUNING = FineTuning(run=RUN, epochs=10, batch_size=1000)  # 50 updates an epoch


def _line(epoch: float, rate: float | None = 1000.0, kind: str = "train") -> str:
    return json.dumps({"kind": kind, "step": 1, "epoch": epoch, "images_per_second": rate}) + "\n"


def _metrics(runs: Path, text: str) -> Path:
    folder = runs / RUN.folder
    folder.mkdir(exist_ok=True)
    (folder / "metrics.jsonl").write_text(text)
    return folder / "metrics.jsonl"


def _found(runs: Path) -> Pace:
    found = pace(runs, RUN)
    assert found is not None
    return found


def test_a_pretrainings_last_line_gives_epoch_rate_and_time_left(tmp_path: Path) -> None:
    _metrics(tmp_path, _line(1.0) + _line(25.0))
    found = _found(tmp_path)
    assert (found.epoch, found.epochs, found.share, found.images_per_second) == (25.0, 100, 0.25, 1000.0)
    assert found.seconds_left == pytest.approx(75 * RUN.images_per_epoch / 1000)


@pytest.mark.parametrize("torn", ['{"kind": "train", "epo', '{"kind": "train"}\n', "[1]\n", "\x00\x00\n", "\n"])
def test_a_line_half_written_is_passed_over(tmp_path: Path, torn: str) -> None:
    _metrics(tmp_path, _line(25.0) + torn)
    assert _found(tmp_path).epoch == 25.0


def test_lines_of_probes_between_are_no_progress(tmp_path: Path) -> None:
    _metrics(tmp_path, _line(25.0) + _line(26.0, kind="online"))
    assert _found(tmp_path).epoch == 25.0


def test_one_slow_line_does_not_change_the_rate(tmp_path: Path) -> None:
    _metrics(tmp_path, "".join(_line(epoch) for epoch in range(LINES)) + _line(25.0, rate=1.0))
    assert _found(tmp_path).images_per_second == 1000.0


def test_a_rate_that_was_not_finite_is_not_known(tmp_path: Path) -> None:
    _metrics(tmp_path, _line(25.0, rate=None))
    found = _found(tmp_path)
    assert (found.images_per_second, found.seconds_left) == (None, None)


def test_of_a_long_file_only_the_end_is_read(tmp_path: Path) -> None:
    path = _metrics(tmp_path, "no JSON " * TAIL_BYTES + "\n" + _line(25.0))
    assert _found(tmp_path).epoch == 25.0
    assert path.stat().st_size > 8 * TAIL_BYTES


def test_silence_is_the_time_since_the_last_line(tmp_path: Path) -> None:
    path = _metrics(tmp_path, _line(25.0))
    os.utime(path, (time.time() - 600, time.time() - 600))
    assert _found(tmp_path).silent_s == pytest.approx(600, abs=60)


def test_a_clock_that_is_ahead_makes_no_negative_silence(tmp_path: Path) -> None:
    path = _metrics(tmp_path, _line(25.0))
    os.utime(path, (time.time() + 600, time.time() + 600))
    assert _found(tmp_path).silent_s == 0.0


@pytest.mark.parametrize("text", ["", '{"kind": "tr'])
def test_metrics_without_a_whole_line_tell_nothing(tmp_path: Path, text: str) -> None:
    _metrics(tmp_path, text)
    assert pace(tmp_path, RUN) is None


def test_work_that_has_not_begun_has_no_pace(tmp_path: Path) -> None:
    assert [pace(tmp_path, spec) for spec in (RUN, FINE_TUNING, Evaluation(run=RUN))] == [None, None, None]


def test_a_fine_tuning_is_as_far_as_its_newest_checkpoint_and_as_fast_as_the_last_two(tmp_path: Path) -> None:
    folder = tmp_path / FINE_TUNING.folder / "checkpoints"
    folder.mkdir(parents=True)
    for name, age in (("step-000000050.pt", 90), ("step-000000100.pt", 30), (".step-000000150.pt.7", 0), ("x.pt", 0)):
        (folder / name).touch()
        os.utime(folder / name, (time.time() - age, time.time() - age))
    found = pace(tmp_path, FINE_TUNING)
    assert found is not None
    assert (found.epoch, found.epochs, found.images_per_second) == (2.0, 10, None)
    assert found.seconds_left == pytest.approx(8 * 60, rel=0.01)
