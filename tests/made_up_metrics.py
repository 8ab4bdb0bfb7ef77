"""Metrics as a run logs them, with made-up values, so that curves can be drawn without training anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def write_metrics(folder: Path, *, plus: bool = False, steps: int = 60, epochs: float = 6.0) -> None:
    """A metrics.jsonl in `folder`: a loss that falls from 5 to 2 and a 5-nn accuracy that rises to a half."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "metrics.jsonl", "w") as handle:
        for step in range(steps):
            done = (step + 1) / steps
            line: dict[str, Any] = {"kind": "train", "step": step, "epoch": epochs * done, "loss": 5 - 3 * done}
            if plus:
                line["loss_ssl"] = line["loss"] - 1
            print(json.dumps(line), file=handle)
            if (step + 1) % (steps // 3) == 0:
                print(json.dumps({"kind": "online", "epoch": epochs * done, "knn/top1": done / 2}), file=handle)
