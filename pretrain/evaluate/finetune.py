"""Fine-tuning: train a linear layer over a finished run's backbone, frozen or trained with it, and store its accuracy.

The loop of Barlow Twins' evaluation (Zbontar et al., ICML 2021, code); `protocols.py` has the settings of others.
Order and views are functions of (seed, epoch, sample), so one that was stopped at any step goes on to the same bits.
The last, smaller batch of an epoch is kept; several processes take equal parts of it, and the few images that are over
wait for another epoch.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..data.identity import Present, check_finished, check_run, compare
from ..networks.encoder import check_same_encoder, encoder_checksum, finished_backbone
from ..recipes.evaluation import SWEPT
from ..records.provenance import provenance
from ..records.record import Record
from ..runtime.distributed import any_says, first_says, processes, rank, world
from ..runtime.settings import numerics, own_settings
from ..specs.datasets import DATASETS
from ..specs.measurement import FineTuning
from ..training import checkpoint
from ..training.divergence import NonFiniteLoss, all_finite, diverged
from ..training.interruption import Interrupted, Stop, working
from ..training.session import Session, resolve_device
from .classifier import Classifier, examples, steps_per_epoch
from .labelled import Labelled, labelled


@own_settings()
def fine_tune(runs: Path, spec: FineTuning, data: Path, session: Session) -> Record:
    """Fine-tune a finished run and store the result inside its folder, or go on where that stopped; at once when done.

    A finished one is compared with the data below `data`, where they are there. Under torchrun or a SLURM job step
    every process of it calls this, and they share each batch. Raises ValueError on bad input, on other data than it or
    its run was begun with, or when someone else works on it, NonFiniteLoss, and Interrupted after a signal.
    """
    session = replace(session, device=resolve_device(session.device))
    record = Record(runs, spec)
    with processes(session.device):
        if first_says(record.status == "done"):
            check_finished(record, Present(data))
            return record
        backbone = finished_backbone(runs, spec.run)
        images = labelled(spec, data)
        contents = Present(data).of_labelled(spec)
        check_run(runs, spec, contents)
        steps_per_epoch(len(images.train), spec.batch_size)  # names a wrong size before the folder is made
        with working(record) as stop:
            if stop:
                checksum = encoder_checksum(Record(runs, spec.run))
                FineTuner(record, spec, backbone, images, session, stop, checksum, contents).fit()
    return record


def sweep(runs: Path, spec: FineTuning, data: Path, session: Session) -> Record:
    """Choose the layer's rate among SWEPT on validation images, say which, and fine-tune with it as `spec` says.

    The choice is by the accuracy after the last epoch, the lower rate of equals; a rate that diverges is none.
    """
    scores: dict[float, float] = {}
    with processes(resolve_device(session.device)):
        for rate in SWEPT:
            try:
                tried = fine_tune(runs, replace(spec, head_lr=rate, split="validation"), data, session)
            except NonFiniteLoss:
                continue
            scores[rate] = first_says(_top1(tried))
        if not scores:
            raise NonFiniteLoss(f"every head_lr of {', '.join(map(str, SWEPT))} diverged; is the backbone finite?")
        best = max(scores, key=lambda rate: scores[rate])
        if rank() == 0:
            tried_rates = ", ".join(f"{rate:g}: {score:.4f}" for rate, score in scores.items())
            print(f"head_lr {best:g} is chosen by validation top-1 ({tried_rates})", file=sys.stderr, flush=True)
        return fine_tune(runs, replace(spec, head_lr=best), data, session)


def _top1(record: Record) -> float:
    found = (record.results or {}).get("top1")
    if not isinstance(found, int | float) or isinstance(found, bool):
        raise ValueError(f"damaged record {record.path / 'results.json'}: top1 is {found!r}, not a number")
    return found


class FineTuner:
    """The state of one fine-tuning and the loop over it."""

    def __init__(
        self,
        record: Record,
        spec: FineTuning,
        backbone: nn.Module,
        images: Labelled,
        session: Session,
        stop: Stop,
        encoder: str = "",
        contents: Mapping[str, str] | None = None,
    ) -> None:
        self.contents = dict(contents or {})  # digests of the whole splits that `images` are drawn from
        self.encoder = encoder  # SHA-256 of the file that `backbone` is from, where its run noted it
        self.record, self.spec, self.images, self.session, self.stop = record, spec, images, session, stop
        self.device = torch.device(session.device)
        dtype = torch.float64 if spec.precision == "float64" else torch.float32
        layout = torch.channels_last if session.memory_format == "channels-last" else torch.contiguous_format
        classifier = Classifier(backbone, DATASETS[spec.run.dataset].classes, spec)
        self.classifier = classifier.to(self.device, dtype).to(memory_format=layout)  # type: ignore[call-overload]
        self.optimizer = self.classifier.optimizer()
        self.per_epoch = steps_per_epoch(len(images.train), spec.batch_size)
        self.total = spec.epochs * self.per_epoch
        self.step = self.begun = 0  # updates made, and those that an earlier process made
        self.seconds = 0.0  # over all processes that worked on this one after another
        self.loss = torch.zeros((), dtype=torch.float64, device=self.device)  # summed over the epoch's steps
        self.epochs: list[dict[str, float]] = []  # a row of figures each
        self.good = torch.zeros((), dtype=torch.int64, device=self.device)  # steps before the first that was not finite

    def fit(self) -> None:
        """Train to the end and finish the record."""
        self._load()
        self.clock = self.saved = time.monotonic()
        workers = self.session.loader_workers
        with numerics(self.spec.precision):
            steps = range(self.step, self.total)
            for views, labels in examples(self.images.train, self.spec, steps, self.device, workers):
                epoch = self.step // self.per_epoch
                self.loss += self.classifier.update(self.optimizer, epoch, views, labels)
                self.good += torch.isfinite(self.loss)
                self.step += 1
                ended = self.step % self.per_epoch == 0
                if ended:
                    self._end_epoch(workers)
                stopped = any_says(bool(self.stop.signal_name), "cpu")
                minutes = (time.monotonic() - self.saved) / 60
                if rank() == 0 and (stopped or ended or minutes >= self.session.checkpoint_minutes):
                    self._save()
                if stopped:
                    first_says(None)  # it is saved
                    raise Interrupted(self.stop.signal_name or "a signal to another process", self.record.path)
        if rank() == 0:
            self._finish()
        first_says(None)  # it is finished

    def _end_epoch(self, workers: int) -> None:
        """Note the epoch's loss and accuracies."""
        self._check_finite()
        loss = float(self.loss) / self.per_epoch
        row = {"loss": loss, **self.classifier.accuracy(self.images.test, self.device, workers)}
        self.epochs.append(row)
        self.loss.zero_()
        if rank() == 0 and not self.session.quiet:
            figures = ", ".join(f"{name} {value:.4f}" for name, value in row.items())
            now = f"epoch {len(self.epochs)} of {self.spec.epochs}: {figures}"
            print(f"{self.record.path.name}: {now}", file=sys.stderr, flush=True)

    def _check_finite(self) -> None:
        """Raise NonFiniteLoss unless the epoch's losses so far, and what they made of the weights, are finite."""
        finite = bool(torch.isfinite(self.loss))
        if finite and all_finite(self.classifier.learner.parameters()):
            return
        rates = f"head_lr {self.spec.head_lr:g}"
        if self.spec.backbone_lr:
            rates += f" and backbone_lr {self.spec.backbone_lr:g}"
        advice = f"lower rates than {rates} are the usual cure"
        if self.begun + int(self.good) == 0:
            advice = "already the first loss was, which no rate changes: look at the backbone and at the images"
        what = "weights" if finite else "loss"
        raise diverged(what, self.step, self.total, self.record.path / "checkpoints", advice)

    def _save(self) -> None:
        self._check_finite()
        self.seconds += time.monotonic() - self.clock
        self.clock = self.saved = time.monotonic()
        state = {
            "digest": self.spec.digest,
            "splits": self.contents,
            "encoder": self.encoder,
            "step": self.step,
            "learner": self.classifier.learner.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "loss": self.loss,
            "epochs": self.epochs,
            "seconds": self.seconds,
        }
        checkpoint.save(self.record.path / "checkpoints", self.step, state)

    def _load(self) -> None:
        """Go on from the newest sound checkpoint; without one, from the start."""
        folder = self.record.path / "checkpoints"
        state = checkpoint.load_on_all(folder)
        if state is None:
            return
        before = checkpoint.contents(state, folder, self.spec.digest)
        compare(self.record.path, self.spec.data_name, before, self.contents)
        check_same_encoder(self.record.path, state, self.encoder)
        with checkpoint.restoring(folder):
            self.step = checkpoint.whole_number(state["step"], self.total)
            self.classifier.learner.load_state_dict(state["learner"])
            checkpoint.restore_optimizer(self.optimizer, state["optimizer"])
            self.loss = state["loss"].to(self.device)
            self.epochs, self.seconds = list(state["epochs"]), float(state["seconds"])
            if len(self.epochs) != self.step // self.per_epoch:
                raise ValueError(f"{len(self.epochs)} epochs in {self.step} steps of {self.per_epoch} an epoch")
        self.begun = self.step

    def _finish(self) -> None:
        self.seconds += time.monotonic() - self.clock
        train, test, drawn = self.images
        last = self.epochs[-1]
        best = max(self.epochs, key=lambda row: row["top1"])  # the first of equals
        results: dict[str, Any] = {
            "top1": last["top1"],
            "top5": last["top5"],
            "best_top1": best["top1"],
            "best_top5": best["top5"],
            "best_epoch": self.epochs.index(best) + 1,
            "loss": last["loss"],
            "split": drawn,
            "train_images": len(train),
            "epochs": self.epochs,
        }
        origin = provenance(
            self.spec,
            seconds=self.seconds,
            device=str(self.device),
            data_digest=test.digest,
            extra={
                "splits": self.contents,
                "encoder_sha256": self.encoder,
                "train_digest": train.digest,
                "train_images": len(train),
                "test_images": len(test),
                "memory_format": self.session.memory_format,
                "processes": world(),
            },
        )
        self.record.finish(results, origin)
        shutil.rmtree(self.record.path / "checkpoints", ignore_errors=True)  # of no more use, and large
