"""Trackio: a local store below TRACKIO_DIR, a Space (TRACKIO_SPACE_ID) or a server (TRACKIO_SERVER_URL)."""

from __future__ import annotations

import os
from pathlib import Path

import trackio

from .sender import RowByRow
from .told import PROJECT, Told


class TrackioRun(RowByRow):
    """One run of Trackio."""

    def close(self, *, finished: bool) -> None:
        """Wait until all rows are stored; Trackio has no word for how a run ends."""
        self._run.finish()


def open_run(told: Told, folder: Path) -> TrackioRun:
    """The run of that name, without figures of the machine."""
    run = trackio.init(
        project=os.environ.get("TRACKIO_PROJECT") or PROJECT,
        name=told.name,
        group=told.group,
        config=told.config | told.tags,
        resume="allow",
        embed=False,
        auto_log_gpu=False,
        auto_log_cpu=False,
    )
    return TrackioRun(run)
