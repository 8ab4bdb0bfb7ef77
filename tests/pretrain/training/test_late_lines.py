"""Lines of metrics.jsonl whose numbers are still on their way from a GPU: written late, in order, and all of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from compmod.pretrain.records.files import METRICS_FILE
from compmod.pretrain.records.record import Record
from compmod.pretrain.runtime.copies import Flag
from compmod.pretrain.training.averages import Averages, Means
from compmod.pretrain.training.monitor import Monitor
from small_runs import small

CPU = torch.device("cpu")


class _Late(Means):
    """Means that arrive when the test says so."""

    here = False

    def arrived(self) -> bool:
        return self.here


def _late(loss: float) -> _Late:
    return _Late({"loss": torch.tensor(2 * loss)}, 2)


@pytest.fixture
def record(tmp_path: Path) -> Record:
    made = Record(tmp_path, small("simclr"))
    made.start()
    return made


def _steps(record: Record) -> list[tuple[str, int]]:
    lines = (record.path / METRICS_FILE).read_text().splitlines()
    return [(line["kind"], line["step"]) for line in map(json.loads, lines)]


def test_a_line_waits_for_its_numbers_and_for_the_lines_before_it(record: Record) -> None:
    first, second = _late(1.0), _late(2.0)
    with Monitor(record, small("simclr"), 0, 10, quiet=True) as monitor:
        monitor.log("train", 2, 0.2, {"lr": 0.1}, first)
        monitor.log("train", 4, 0.4, {"lr": 0.1}, second)
        monitor.log("spread", 4, 0.4, {"embedding_std": 1.0})
        second.here = True
        monitor.advance(12)
        assert _steps(record) == []
        first.here = True
        monitor.advance(12)
        assert _steps(record) == [("train", 2), ("train", 4), ("spread", 4)]
        assert monitor.last == {"loss": 2.0, "lr": 0.1}


def test_a_checkpoint_counts_the_bytes_of_all_lines_before_it(record: Record) -> None:
    with Monitor(record, small("simclr"), 0, 10, quiet=True) as monitor:
        monitor.log("train", 2, 0.2, {"lr": 0.1}, _late(1.0))
        assert monitor.flush() == (record.path / METRICS_FILE).stat().st_size > 0
        assert _steps(record) == [("train", 2)]


def test_at_the_end_nothing_is_left_unwritten(record: Record) -> None:
    with Monitor(record, small("simclr"), 0, 10, quiet=True) as monitor:
        monitor.log("train", 2, 0.2, {"lr": 0.1}, _late(1.0))
    assert _steps(record) == [("train", 2)]


def test_means_are_those_of_the_steps_since_the_last_ones() -> None:
    averages = Averages()
    for value in (1.0, 2.0):
        averages.add({"loss": torch.tensor(value)})
    means = averages.take()
    averages.add({"loss": torch.tensor(7.0)})
    assert (means.values(), averages.take().values()) == ({"loss": 1.5}, {"loss": 7.0})


def test_on_the_cpu_a_flag_is_seen_at_once() -> None:
    flag = Flag(CPU)
    assert flag.seen()
    flag.value &= False
    assert not flag.seen()
