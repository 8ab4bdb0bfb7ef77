"""Trainer: one pretraining, from spec to encoder; killed at any moment, the same call continues it exactly.

Order and views follow from (seed, epoch, sample): a checkpoint needs step, networks, optimisers and sums to log alone.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as serialise
from torch import Tensor

from .data.identity import Present, check_finished, compare, pretraining_digests
from .data.imagenet import Files
from .data.images import Images, subset
from .data.load import read
from .evaluate.probe import probe, probe_due
from .evaluate.splits import forget_images, split_digests
from .files.whole_file import write_whole
from .methods.build import build_method
from .networks.encoder import ENCODER
from .optim import build_optimizer, learning_rate, set_rate
from .records.files import METRICS_FILE
from .records.record import Record
from .runtime.copies import Flag
from .runtime.distributed import broadcast_, first_says, processes, rank, world
from .runtime.settings import numerics, own_settings
from .specs.measurement import Evaluation
from .specs.run import Run
from .training import checkpoint
from .training.averages import Averages
from .training.collapse import collapsed, spread
from .training.divergence import all_finite, pretraining_advice
from .training.interruption import Stop, working
from .training.loop import Outcome, TrainingLoop
from .training.monitor import Monitor, cut_back
from .training.objective import Objective, build_objective
from .training.session import Session, resolve_device
from .views.batch import Batch
from .views.batches import feed

CHECKED_EVERY = 10  # steps between looks at whether every loss was finite, on a GPU as it was at the look before


@own_settings()
def train(spec: Run, runs: Path, data: Path, session: Session) -> Record:
    """Pretrain `spec` in its folder below `runs`, or go on where it stopped; at once when it is done.

    A finished run is compared with the data below `data`, where they are there; where they are not, it stays readable.
    Under torchrun or a SLURM job step every process of it calls this, and they share each batch. Raises ValueError on
    bad input, on other data than it was begun with, or when someone else works on the run, NonFiniteLoss, and
    Interrupted after a signal.
    """
    session = replace(session, device=resolve_device(session.device))
    with processes(session.device):
        return _train(Record(runs, spec), spec, data, session)


def _train(record: Record, spec: Run, data: Path, session: Session) -> Record:
    if first_says(record.status == "done"):
        check_finished(record, Present(data))
        return record
    if spec.kind != "pretraining":
        raise ValueError(f"{record.path} is of weights that others trained, and is not to be trained again")
    build_method(spec, _view_size(spec))  # names a wrong option before any data is read
    if spec.batch_size % world():
        raise ValueError(f"batch_size {spec.batch_size} cannot be shared equally by {world()} processes")
    images, contents = _images(spec, data)
    if len(images) < spec.batch_size:
        raise ValueError(f"batch_size {spec.batch_size} is more than the {len(images)} images of {spec.data_label}")
    with working(record) as stop:
        if stop:
            trainer = Trainer(record, spec, images, data, session, stop, contents)
            try:
                trainer.fit()
            except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]  # there, and of numbers out of range
                raise trainer.diverged() from error
    return record


def _images(spec: Run, data: Path) -> tuple[Images | Files, dict[str, str]]:
    """What a run trains on, and the digests of all that this is drawn from."""
    forget_images(spec)
    images = read(spec.data, "pretrain", data, copy=spec.copy)
    contents = pretraining_digests(images)
    if spec.train_images:
        images = subset(images, spec.train_images, spec.seed)
    return images, contents


class Trainer(TrainingLoop[Run, Batch]):
    """One pretraining."""

    keeps_checkpoints = True

    def __init__(
        self,
        record: Record,
        run: Run,
        images: Images | Files,
        data: Path,
        session: Session,
        stop: Stop,
        contents: Mapping[str, str] | None = None,
    ) -> None:
        self.steps_per_epoch = len(images) // run.batch_size  # the ragged last batch of each epoch is dropped
        super().__init__(record, run, run.epochs * self.steps_per_epoch, session, stop, contents or {})
        self.run, self.images, self.data = run, images, data
        self.dtype = torch.float64 if run.precision == "float64" else torch.float32
        self.memory_format = session.layout(self.device.type, run.precision, run.backbone.width)
        self.layout = torch.channels_last if self.memory_format == "channels-last" else torch.contiguous_format
        self.objective = self._build()
        self.optimizers = [build_optimizer(self.objective.psi, run.optimizer, run.peak_lr)]
        self.objective.optimizer = self.optimizers[0]
        if self.objective.xi:
            self.optimizers.append(build_optimizer(self.objective.xi, run.optimizer, run.peak_lr))
        self.averages = Averages()  # of what is logged
        self.finite = Flag(self.device)  # whether every loss was
        self.online: list[dict[str, float]] = []
        self.collapsed = ""  # what was wrong when an epoch ended with collapsed embeddings

    @contextmanager
    def _running(self) -> Iterator[None]:
        with (
            Monitor(
                self.record,
                self.run,
                self.step,
                self.total,
                quiet=self.session.quiet,
                loggers=self.session.logger,
            ) as self.monitor,
            numerics(self.run.precision),
        ):
            yield

    def _batches(self, steps: range) -> Iterator[Batch]:
        return feed(self.images, self.run, steps, self.device, self.session.loader_workers)

    def _build(self) -> Objective:
        """The networks on the device, the same in every process."""

        def autocast() -> AbstractContextManager[Any]:
            if self.run.precision != "bfloat16":
                return nullcontext()
            return torch.autocast(self.device.type, dtype=torch.bfloat16)

        objective = build_objective(self.run, _view_size(self.run), len(self.images), autocast).to(self.device)
        objective.method.to(memory_format=self.layout)
        objective.to(self.dtype)
        objective.compute_as(self.session)
        broadcast_(list(objective.state_dict().values()))  # machines may round the same drawing differently
        return objective

    def _update(self, batch: Batch, passengers: Sequence[Tensor] = ()) -> None:
        if self.objective.incomplete:
            before = range(self.step - 1, self.step)
            for last in feed(self.images, self.run, before, self.device, self.session.loader_workers):
                self.objective.complete_pending(self._laid_out(last))
        lr = learning_rate(self.run, self.step, self.steps_per_epoch)
        for optimizer in self.optimizers:
            set_rate(optimizer, lr, self.run.peak_lr)
        self.objective.train()
        logged = self.objective.backward(self._laid_out(batch), lr=lr, passengers=passengers)
        for optimizer in self.optimizers:
            optimizer.step()
        self.objective.after_step(self.step // self.steps_per_epoch / self.run.epochs)
        self.finite.value &= torch.isfinite(logged["loss"])
        self.good += self.finite.value
        self.averages.add(logged)

    def _laid_out(self, batch: Batch) -> Batch:
        return replace(batch, views=tuple(v.to(self.dtype, memory_format=self.layout) for v in batch.views))

    def _after_step(self) -> bool:
        self.monitor.advance(self.run.batch_size)
        if (self.device.type == "cpu" or self.step % CHECKED_EVERY == 0) and not self.finite.seen():
            raise self.diverged()
        if self.step % self.session.log_every == 0 or self.step == self.total:
            self._log()
        epoch, position = divmod(self.step, self.steps_per_epoch)
        if position:
            return False
        self._check_finite()
        self._look_for_collapse(epoch)
        if probe_due(self.run, epoch, self.session.online_every):
            self._probe(epoch)
        return bool(every := self.session.checkpoint_epochs) and epoch % every == 0

    def _after_training(self) -> None:
        self._check_loss()

    def _check_loss(self) -> None:
        if not self.finite.value:
            raise self.diverged()

    def _check_finite(self) -> None:
        """A finite loss may have made weights that are not."""
        self._check_loss()
        if not all_finite(self.objective.parameters()):
            raise self.diverged("weights")

    def _advice(self) -> str:
        return pretraining_advice(self.run, self._good_steps, self.objective.method.remedy)

    def _log(self) -> None:
        lr = learning_rate(self.run, self.step - 1, self.steps_per_epoch)
        self.monitor.log("train", self.step, self.step / self.steps_per_epoch, {"lr": lr}, self.averages.take())

    def _look_for_collapse(self, epoch: int) -> None:
        """Log how spread out the last batch's embeddings were; warn once when they have collapsed."""
        assert self.objective.done is not None, "an epoch has steps"
        figures = spread(self.objective.done[0])
        self.monitor.log("spread", self.step, float(epoch), figures)
        fault = collapsed(figures)
        if fault and not self.collapsed and rank() == 0:
            print(f"warning: {self.record.path.name} has collapsed in epoch {epoch}: {fault}", file=sys.stderr)
        self.collapsed = fault

    def _probe(self, epoch: int) -> None:
        """Probe the trunk as it is; training's own clock stands still meanwhile."""
        paused = time.monotonic()
        spec = Evaluation(run=self.run, linear_epochs=self.session.linear_epochs)
        accuracies = probe(self.objective.method.encoder, spec, self.data, self.session.device)
        self._add_contents(split_digests(spec, self.data))
        self.online.append({"epoch": float(epoch), **accuracies})
        self.monitor.log("online", self.step, float(epoch), accuracies)
        self.monitor.pause(time.monotonic() - paused)
        self.clock += time.monotonic() - paused

    def _add_contents(self, others: dict[str, str]) -> None:
        """Note the digests of more splits. Raises ValueError where this run has seen other images of one."""
        compare(self.record.path, self.run.data_name, self.contents, others)
        self.contents |= others

    def _state(self) -> dict[str, Any]:
        return {
            "objective": self.objective.state_dict(),
            "pending": self.objective.pending_state(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            **self.averages.state(),
            "online": self.online,
            "collapsed": self.collapsed,
            "metrics_bytes": self.monitor.flush(),
        }

    def _restore(self, state: dict[str, Any]) -> None:
        self.contents = checkpoint.contents(state, self.checkpoints, self.run.digest) | self.contents
        self.objective.load_state_dict(state["objective"])
        self.objective.restore_pending(state.get("pending"))
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            checkpoint.restore_optimizer(optimizer, saved)
        self.averages.restore(state, self.device)
        self.online, self.collapsed = list(state["online"]), state["collapsed"]
        checkpoint.whole_number(state["metrics_bytes"])

    def _load(self) -> dict[str, Any] | None:
        """The same of metrics.jsonl: without what was logged after the checkpoint."""
        state = super()._load()
        metrics = self.record.path / METRICS_FILE
        if rank() == 0:
            if state is None:
                metrics.unlink(missing_ok=True)
            else:
                cut_back(metrics, state["metrics_bytes"], self.step)
        first_says(None)  # the file is ready
        return state

    def _outcome(self) -> Outcome:
        weights = {name: t.contiguous().cpu() for name, t in self.objective.method.encoder.state_dict().items()}
        # safetensors writes several entries of metadata in random order: with one, equal encoders are equal files
        content = serialise(weights, metadata={"digest": self.run.digest})
        write_whole(self.record.path / ENCODER, content)
        results: dict[str, Any] = {
            "epochs": self.run.epochs,
            "steps": self.step,
            "images": len(self.images),
            "data": self.run.data_label,
            "seconds": self.seconds,
            "images_per_second": self.step * self.run.batch_size / self.seconds if self.step else None,
            "last": self.monitor.last,
            "online": self.online,
            "online_linear_epochs": self.session.linear_epochs,
            "collapsed": self.collapsed,
        }
        made_by: dict[str, Any] = {"memory_format": self.memory_format, "compiled": self.session.compile}
        made_by["encoder_sha256"] = hashlib.sha256(content).hexdigest()
        return Outcome(results, self.images.digest, made_by)


def _view_size(run: Run) -> int:
    return run.views[0].size or run.data.view_size
