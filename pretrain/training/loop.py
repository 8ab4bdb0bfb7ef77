"""Loop: what pretraining, fine-tuning and detection share: steps, checkpoints, signals, time and the finished record.

A subclass says what one step does and what state it has. Order, views and random numbers are functions of (seed, step),
so a checkpoint holds the step and that state alone, and a training that was killed goes on to the same bits.
"""

from __future__ import annotations

import abc
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from ..data.identity import RENAMED, compare
from ..networks.encoder import check_same_encoder
from ..records.files import CHECKPOINTS_FOLDER
from ..records.provenance import provenance
from ..records.record import Record
from ..runtime.distributed import first_says, rank, world
from ..specs.measurement import Work
from . import checkpoint
from .divergence import NonFiniteLoss, diverged
from .interruption import Interrupted, SharedStop, Stop
from .session import Session

SpecType = TypeVar("SpecType", bound=Work)
BatchType = TypeVar("BatchType")


class Outcome(NamedTuple):
    """What a finished training writes into its record."""

    results: dict[str, Any]
    data_digest: str  # of the images that the numbers are of
    provenance: dict[str, Any]  # entries beside those that every training has


class TrainingLoop(abc.ABC, Generic[SpecType, BatchType]):
    """The state that every training has, and the loop over its steps."""

    renamed = RENAMED  # how other data get a name of their own, for an error
    keeps_checkpoints = False  # after the end, when they are of no more use, and large

    def __init__(
        self,
        record: Record,
        spec: SpecType,
        total: int,
        session: Session,
        stop: Stop,
        contents: Mapping[str, str],
        encoder: str = "",
    ) -> None:
        self.record, self.spec, self.total = record, spec, total
        self.session, self.stop = session, stop
        self.contents = dict(contents)  # digests of the whole splits that were read
        self.encoder = encoder  # SHA-256 of the file that the trunk is from, where its run noted it
        self.checkpoints = record.path / CHECKPOINTS_FOLDER
        self.device = torch.device(session.device)
        self.shared_stop = SharedStop(stop, self.device)
        self.step = self.begun = 0  # updates made, and those that an earlier process made
        self.seconds = 0.0  # over all processes that worked on this one after another
        self.good = torch.zeros((), dtype=torch.int64, device=self.device)  # steps before the first that was not finite
        self.clock = self.saved = time.monotonic()

    def fit(self) -> None:
        """Train to the end and finish the record. Raises NonFiniteLoss, and Interrupted after a signal."""
        self._load()
        self.clock = self.saved = time.monotonic()
        with self._running():
            for batch in self._batches(range(self.step, self.total)):
                self._train_step(batch)
                self._save_or_stop(due=self._after_step())
            self._after_training()
        if rank() == 0:
            self._finish()
        first_says(None)  # it is finished

    def diverged(self, what: str = "loss") -> NonFiniteLoss:
        """The error to raise when `what` is not finite."""
        return diverged(what, self.step, self.total, self.checkpoints, self._advice())

    @abc.abstractmethod
    def _running(self) -> AbstractContextManager[Any]:
        """The settings to train under; entered once the state is loaded."""

    @abc.abstractmethod
    def _batches(self, steps: range) -> Iterator[BatchType]:
        """This process's share of the batch of every one of these steps."""

    @abc.abstractmethod
    def _update(self, batch: BatchType, passengers: Sequence[Tensor] = ()) -> None:
        """One update of the parameters; `self.step` is the number of those before it.

        `passengers` are scalars to overwrite by their means over processes, in the gradients' messages.
        """

    @abc.abstractmethod
    def _after_step(self) -> bool:
        """Log, and end an epoch; whether a checkpoint is due now, whatever the time."""

    @abc.abstractmethod
    def _check_finite(self) -> None:
        """Raise NonFiniteLoss unless the loss and the weights are finite."""

    @abc.abstractmethod
    def _advice(self) -> str:
        """What to change after a divergence."""

    @abc.abstractmethod
    def _state(self) -> dict[str, Any]:
        """What a checkpoint holds beside what every training has: tensors and plain values."""

    @abc.abstractmethod
    def _restore(self, state: dict[str, Any]) -> None:
        """Take over what `_state` gave. Raises any error on what does not fit."""

    @abc.abstractmethod
    def _outcome(self) -> Outcome:
        """What to write into the record, once training has ended; the first process alone calls it."""

    def _after_training(self) -> None:  # most trainings have nothing to do here
        """What follows the last step, before the record is finished; every process calls it."""

    def _train_step(self, batch: BatchType) -> None:
        self._update(batch, self.shared_stop.passengers())
        self.step += 1

    @property
    def _good_steps(self) -> int:
        """Steps with a finite loss from the very start, where `good` counts those of this process."""
        return self.begun + int(self.good)

    def _save_or_stop(self, *, due: bool) -> None:
        stopped = self.shared_stop.asked(last=self.step == self.total)
        minutes = (time.monotonic() - self.saved) / 60
        fault = ""
        if rank() == 0 and (stopped or due or minutes >= self.session.checkpoint_minutes):
            try:
                self._save()
            except NonFiniteLoss as error:
                if world() == 1:
                    raise
                fault = str(error)  # the others are at the next step: all raise together, at their next check
        if stopped:
            if fault := first_says(fault):
                raise NonFiniteLoss(fault)
            raise self._interrupted()

    def _interrupted(self) -> Interrupted:
        return Interrupted(self.stop.signal_name or "a signal to another process", self.record.path)

    def _save(self) -> None:
        self._check_finite()
        self._count_seconds()
        self.saved = self.clock
        common = {
            "digest": self.spec.digest,
            "splits": self.contents,
            "encoder": self.encoder,
            "step": self.step,
            "seconds": self.seconds,
        }
        checkpoint.save(self.checkpoints, self.step, common | self._state())

    def _load(self) -> dict[str, Any] | None:
        """Go on from the newest sound checkpoint, and return its state; without one, start from the beginning."""
        state = checkpoint.load_on_all(self.checkpoints)
        if state is None:
            return None
        before = checkpoint.contents(state, self.checkpoints, self.spec.digest)
        compare(self.record.path, self.spec.data_name, before, self.contents, self.renamed)
        check_same_encoder(self.record.path, state, self.encoder)
        with checkpoint.restoring(self.checkpoints):
            self.step = checkpoint.whole_number(state["step"], self.total)
            self.seconds = float(state["seconds"])
            self._restore(state)
        self.begun = self.step
        return state

    def _count_seconds(self) -> None:
        """Add the time since this was last called."""
        now = time.monotonic()
        self.seconds += now - self.clock
        self.clock = now

    def _finish(self) -> None:
        self._count_seconds()
        results, data_digest, entries = self._outcome()
        made_of = provenance(
            self.spec,
            seconds=self.seconds,
            device=str(self.device),
            data_digest=data_digest,
            extra={"splits": self.contents, **entries, "processes": world()},
        )
        self.record.finish(results, made_of)
        if not self.keeps_checkpoints:
            shutil.rmtree(self.checkpoints, ignore_errors=True)
