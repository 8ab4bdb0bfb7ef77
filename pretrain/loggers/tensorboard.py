"""TensorBoard: curves in the record's own folder `tensorboard`, written by this process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


class TensorBoard:
    """Event files. What an earlier process logged after `step`, and this one logs again, TensorBoard does not show."""

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)  # purges this step, too

    def log(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        """One row; its kind is part of its names."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def log_again(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        """It is on disk since the checkpoint."""

    def flush(self) -> None:
        """Write all rows to disk."""
        self._writer.flush()

    def close(self, *, finished: bool) -> None:
        """Write all rows to disk, and end."""
        self._writer.close()
