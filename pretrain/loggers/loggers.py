"""Loggers: the interface of a logger, and all the loggers of one training together; the first process alone logs."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from types import TracebackType
from typing import Protocol, Self

from ..records.record import Record
from ..runtime.distributed import rank
from .foreign import Foreign
from .names import FOREIGN
from .tensorboard import TensorBoard


class Logger(Protocol):
    """Where rows go."""

    def log(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        """One row; of a kind, steps grow."""

    def log_again(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        """A row that an earlier process on the same training logged, in case it did not arrive."""

    def flush(self) -> None:
        """A checkpoint is made: what was logged before it will not be logged by a later process."""

    def close(self, *, finished: bool) -> None:
        """Nothing more is logged; `finished`: the training has reached its end."""


class Loggers:
    """Every logger that a training has, open from the step where it goes on; use as a context."""

    def __init__(self, names: Collection[str], record: Record, step: int) -> None:
        self._loggers: list[Logger] = []
        self.may_lack_rows = False  # of earlier processes
        if rank():
            return
        if "tensorboard" in names:
            self._loggers.append(TensorBoard(record.path, step))
        for name in FOREIGN:
            if name in names:
                try:
                    self._loggers.append(Foreign(name, record))
                    self.may_lack_rows = True
                except OSError as error:
                    print(f"warning: nothing is logged to {name}: {error}", file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(finished=kind is None)

    def log(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        """One row to every logger, its values by names such as train/loss."""
        for logger in self._loggers:
            logger.log(kind, step, _named(kind, values))

    def log_again(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        """A row of an earlier process to every logger."""
        for logger in self._loggers:
            logger.log_again(kind, step, _named(kind, values))

    def flush(self) -> None:
        """Before a checkpoint."""
        for logger in self._loggers:
            logger.flush()

    def close(self, *, finished: bool) -> None:
        """Close every logger; waits for none of the foreign ones."""
        for logger in self._loggers:
            logger.close(finished=finished)


def _named(kind: str, values: Mapping[str, float]) -> dict[str, float]:
    return {name if "/" in name else f"{kind}/{name}": value for name, value in values.items()}
