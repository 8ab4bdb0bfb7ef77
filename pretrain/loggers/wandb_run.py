"""Weights & Biases: online where there is a key, or offline by WANDB_MODE=offline, in files inside the run's folder."""

from __future__ import annotations

import os
from pathlib import Path

from .sender import RowByRow
from .told import PROJECT, Told

DEFAULTS = {  # of wandb's own variables: neither figures of the machine, nor code, packages, paths and output
    "WANDB_CONSOLE": "off",
    "WANDB_SILENT": "true",
    "WANDB_DISABLE_CODE": "true",
    "WANDB_DISABLE_GIT": "true",
    "WANDB_X_DISABLE_META": "true",
    "WANDB_X_DISABLE_STATS": "true",
    "WANDB_X_DISABLE_MACHINE_INFO": "true",
    "WANDB_X_SAVE_REQUIREMENTS": "false",
}


class WandbRun(RowByRow):
    """One run of wandb, which joins the rows of one step."""

    def close(self, *, finished: bool) -> None:
        """Wait until all rows are sent, or offline in the file."""
        self._run.finish(exit_code=0 if finished else 1)


def open_run(told: Told, folder: Path) -> WandbRun:
    """The run of that id."""
    for name, default in DEFAULTS.items():
        os.environ.setdefault(name, default)
    import wandb

    run = wandb.init(
        project=os.environ.get("WANDB_PROJECT") or PROJECT,
        dir=os.environ.get("WANDB_DIR") or folder,
        id=told.id,
        name=told.name,
        group=told.group,
        tags=list(told.tags.values()),
        config=told.config,
        resume="allow",
    )
    return WandbRun(run)
