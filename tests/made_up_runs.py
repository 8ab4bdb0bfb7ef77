"""Finished records with made-up but plausible numbers, so that whole tables can be rendered without training anything.

On the path of every test. Nothing here was measured: accuracies lie around the paper's printed ones, or around figures
as the digits give them.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from compmod.pretrain.record import Record
from compmod.pretrain.run import Run
from compmod.pretrain.source import fingerprint
from compmod.tables.table import Measurement, Table
from made_up_metrics import write_metrics

DIGITS = {"linear/top1": 0.48, "linear/top5": 0.86, "knn/top1": 0.55, "top1": 0.5, "top5": 0.87}
SPREAD = 0.002  # standard deviation over seeds


def make_up(tables: Iterable[Table], runs: Path, *, share: float = 1.0, logged: int = 10_000) -> None:
    """Finish a seeded `share` of the measurements of `tables` below `runs`, and the pretrainings under them.

    The first `logged` pretrainings have metrics too.
    """
    results: dict[Measurement, dict[str, float]] = {}
    for table in tables:
        for row in table.rows:
            for cell in row.cells:
                for spec in cell.specs:
                    chance = random.Random(f"{spec.digest} {cell.metric}")
                    paper = cell.paper.value / 100 if cell.paper else DIGITS.get(cell.metric, 0.5)
                    middle = paper if table.scale != "demo" else DIGITS.get(cell.metric, 0.5)
                    offset = random.Random(spec.run.method + spec.run.dataset).gauss(0, 0.004)
                    value = middle + offset + chance.gauss(0, SPREAD)
                    results.setdefault(spec, {})[cell.metric] = min(max(value, 0.0), 1.0)
    trained: set[str] = set()
    for spec, found in results.items():
        if random.Random(spec.digest).random() >= share:
            continue
        if spec.run.digest not in trained:
            trained.add(spec.run.digest)
            _finish(runs, spec.run, {"seconds": 60.0, "images_per_second": 1000.0})
            if len(trained) <= logged and spec.run.epochs:
                write_metrics(runs / spec.run.folder, plus=spec.run.plus, steps=120, epochs=spec.run.epochs)
        _finish(runs, spec, found)


def _finish(runs: Path, spec: Run | Measurement, results: dict[str, Any]) -> None:
    record = Record(runs, spec)
    record.start()
    provenance = {
        "seconds": 14_400.0 if isinstance(spec, Run) else 600.0,
        "git": {"commit": "0123456789abcdef0123456789abcdef01234567", "dirty": False},
        "hardware": {"gpu": "a made-up accelerator", "cpu": "a made-up processor", "threads": 2},
        "source": fingerprint(spec),
    }
    record.finish(results, provenance)
