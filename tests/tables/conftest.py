"""Records with made-up results, so that tables can be rendered without training anything."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from compmod.pretrain.record import Record
from compmod.pretrain.run import Evaluation

Finish = Callable[..., Record]


@pytest.fixture
def finish(tmp_path: Path) -> Finish:
    """Write a finished evaluation below tmp_path/runs; accuracies are shares from 0 to 1."""

    def write(spec: Evaluation, linear: float = 0.5, knn: float = 0.4) -> Record:
        run = Record(tmp_path / "runs", spec.run)
        record = Record(tmp_path / "runs", spec)
        for each, seconds in ((run, 12.0), (record, 3.0)):
            provenance = {
                "seconds": seconds,
                "git": {"commit": "0123456789abcdef", "dirty": True},
                "hardware": {"cpu": "a processor", "threads": 2},
            }
            each.start()
            each.finish({"linear/top1": linear, "knn/top1": knn}, provenance)
        return record

    return write
