"""Files: the names of the files in a record's folder, and those of its checkpoints."""

from __future__ import annotations

import re
from pathlib import Path

SPEC_FILE = "spec.json"
RESULTS_FILE = "results.json"  # makes the record done
PROVENANCE_FILE = "provenance.json"
FAILURE_FILE = "failed.json"
METRICS_FILE = "metrics.jsonl"  # of a pretraining
CHECKPOINTS_FOLDER = "checkpoints"
CHECKPOINT_GLOB = "step-*.pt"  # of the files in that folder


def checkpoint_name(step: int) -> str:
    """The name of the checkpoint after `step` updates."""
    return f"step-{step:09d}.pt"


def step_of(checkpoint: str) -> int | None:
    """Updates that a checkpoint holds, by the name of its file; None for a name that is not ours."""
    named = re.fullmatch(r"step-([0-9]{9,18})\.pt", checkpoint)
    return int(named[1]) if named else None


def newest_updates(checkpoints: Path) -> int:
    """Updates of the newest checkpoint in a folder, by its name, because reading it needs torch; 0 without one."""
    return max((step_of(path.name) or 0 for path in checkpoints.glob("step-*.pt")), default=0)
