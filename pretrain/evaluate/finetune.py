"""Fine-tuning: train a linear layer over a finished run's backbone, frozen or trained with it, and store its accuracy.

The loop of Barlow Twins' evaluation (Zbontar et al., ICML 2021, code); `recipes/evaluation.py` has other settings.
Order and views are functions of (seed, epoch, sample), so one that was stopped at any step goes on to the same bits.
The last, smaller batch of an epoch is kept; several processes take equal parts of it, and the few images that are over
wait for another epoch.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..data.identity import Present, check_finished, check_run
from ..loggers.loggers import Loggers
from ..networks.encoder import encoder_checksum, finished_backbone
from ..recipes.evaluation import SWEPT
from ..records.record import Record
from ..runtime.distributed import first_says, processes, rank
from ..runtime.settings import numerics, own_settings
from ..specs.measurement import FineTuning
from ..training import checkpoint
from ..training.divergence import NonFiniteLoss, all_finite
from ..training.interruption import Stop, working
from ..training.loop import Outcome, TrainingLoop
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
    top1 = (record.results or {}).get("top1")
    if not isinstance(top1, int | float) or isinstance(top1, bool):
        raise ValueError(f"damaged record {record.path / 'results.json'}: top1 is {top1!r}, not a number")
    return top1


class FineTuner(TrainingLoop[FineTuning, tuple[Tensor, Tensor]]):
    """One fine-tuning."""

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
        self.per_epoch = steps_per_epoch(len(images.train), spec.batch_size)
        super().__init__(record, spec, spec.epochs * self.per_epoch, session, stop, contents or {}, encoder)
        self.images = images
        dtype = torch.float64 if spec.precision == "float64" else torch.float32
        self.memory_format = session.layout(self.device.type, spec.precision, spec.run.backbone.width)
        layout = torch.channels_last if self.memory_format == "channels-last" else torch.contiguous_format
        classifier = Classifier(backbone, spec.run.data.classes, spec)
        self.classifier = classifier.to(self.device, dtype).to(memory_format=layout)
        self.optimizer = self.classifier.optimizer()
        self.loss = torch.zeros((), dtype=torch.float64, device=self.device)  # summed over the epoch's steps
        self.epochs: list[dict[str, float]] = []  # the figures of every epoch

    @contextmanager
    def _running(self) -> Iterator[None]:
        with Loggers(self.session.logger, self.record, self.step) as self.loggers, numerics(self.spec.precision):
            for number, row in enumerate(self.epochs, start=1):
                self.loggers.log_again(self.spec.kind, number * self.per_epoch, row)
            yield

    def _batches(self, steps: range) -> Iterator[tuple[Tensor, Tensor]]:
        return examples(self.images.train, self.spec, steps, self.device, self.session.loader_workers)

    def _update(self, batch: tuple[Tensor, Tensor], passengers: Sequence[Tensor] = ()) -> None:
        views, labels = batch
        self.loss += self.classifier.update(self.optimizer, self.step // self.per_epoch, views, labels, passengers)
        self.good += torch.isfinite(self.loss)

    def _after_step(self) -> bool:
        ended = self.step % self.per_epoch == 0
        if ended:
            self._end_epoch()
        return ended

    def _end_epoch(self) -> None:
        """Note the epoch's loss and accuracies."""
        self._check_finite()
        loss = float(self.loss) / self.per_epoch
        row = {"loss": loss, **self.classifier.accuracy(self.images.test, self.device, self.session.loader_workers)}
        self.epochs.append(row)
        self.loggers.log(self.spec.kind, self.step, row)
        self.loss.zero_()
        if rank() == 0 and not self.session.quiet:
            figures = ", ".join(f"{name} {value:.4f}" for name, value in row.items())
            now = f"epoch {len(self.epochs)} of {self.spec.epochs}: {figures}"
            print(f"{self.record.path.name}: {now}", file=sys.stderr, flush=True)

    def _check_finite(self) -> None:
        """Raise NonFiniteLoss unless the epoch's losses so far, and what they made of the weights, are finite."""
        if not torch.isfinite(self.loss):
            raise self.diverged()
        if not all_finite(self.classifier.learner.parameters()):
            raise self.diverged("weights")

    def _advice(self) -> str:
        if self._good_steps == 0:
            return "already the first loss was, which no rate changes: look at the backbone and at the images"
        rates = f"head_lr {self.spec.head_lr:g}"
        if self.spec.backbone_lr:
            rates += f" and backbone_lr {self.spec.backbone_lr:g}"
        return f"lower rates than {rates} are the usual cure"

    def _state(self) -> dict[str, Any]:
        return {
            "learner": self.classifier.learner.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "loss": self.loss,
            "epochs": self.epochs,
        }

    def _restore(self, state: dict[str, Any]) -> None:
        self.classifier.learner.load_state_dict(state["learner"])
        checkpoint.restore_optimizer(self.optimizer, state["optimizer"])
        self.loss, self.epochs = state["loss"].to(self.device), list(state["epochs"])
        if len(self.epochs) != self.step // self.per_epoch:
            raise ValueError(f"{len(self.epochs)} epochs in {self.step} steps of {self.per_epoch} an epoch")

    def _outcome(self) -> Outcome:
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
            **self.spec.run.stated(),
        }
        made_by = {
            "encoder_sha256": self.encoder,
            "train_digest": train.digest,
            "train_images": len(train),
            "test_images": len(test),
            "memory_format": self.memory_format,
        }
        return Outcome(results, test.digest, made_by)
