"""Detection: Mask R-CNN fine-tuned on COCO and scored; killed at any moment, the same call continues it exactly.

Order, views and what is sampled from an image are functions of (seed, step, process), so a checkpoint needs the step,
the model and the optimiser.
"""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..pretrain.data.identity import check_run
from ..pretrain.files.whole_file import write_whole
from ..pretrain.loggers.loggers import Loggers
from ..pretrain.networks.encoder import encoder_checksum, finished_backbone
from ..pretrain.records.record import Record
from ..pretrain.runtime.distributed import any_says, average_, broadcast_, first_says, processes, rank, world
from ..pretrain.runtime.randomness import generator
from ..pretrain.runtime.settings import numerics, own_settings
from ..pretrain.training import checkpoint
from ..pretrain.training.averages import Averages
from ..pretrain.training.divergence import all_finite
from ..pretrain.training.interruption import Stop, working
from ..pretrain.training.loop import Outcome, TrainingLoop
from ..pretrain.training.session import Session, resolve_device
from .data.coco import Split, read_folder
from .data.digit_scenes import write_scenes
from .data.examples import training_batches
from .data.pictures import SHEET, sheet
from .detector.detectron2 import utils
from .detector.install import find
from .detector.mask_rcnn import build_detector
from .detector.precise_batch_norm import average_statistics
from .identity import RENAMED, check_finished_detection, folder_digests
from .scoring import average_precision, detect
from .spec import COCO, SCENES, Detection, Detector
from .weights.convert import Converted, to_detectron2
from .weights.read import pixels_of, read_weights

LOGGED_EVERY = 20  # steps a printed line averages over


def fine_tune_detector(runs: Path, spec: Detection, data: Path, session: Session) -> Record:
    """`transfer` of the run's own trunk on the images that the spec names below the data root."""
    return transfer(runs, spec, data / spec.images_folder, session)


@own_settings()
def transfer(runs: Path, spec: Detection, coco: Path, session: Session, weights: Path | None = None) -> Record:
    """Fine-tune Mask R-CNN on a finished run's trunk and score it, or go on where that stopped; at once when done.

    `coco` is the folder of the images, `weights` the file that the spec names by its content. A finished detection is
    compared with that folder, where it is there. Under torchrun or a SLURM job step every process calls this, and they
    share each batch. Raises ValueError on bad input, on other data than it was begun with, or when someone else works
    on it, NonFiniteLoss, and Interrupted after a signal.
    """
    session = replace(session, device=resolve_device(session.device))
    record = Record(runs, spec)
    with processes(session.device):
        if first_says(record.status == "done"):
            check_finished_detection(record, coco)
            return record
        if spec.detector.batch_size % world():
            raise ValueError(f"batch_size {spec.detector.batch_size} cannot be shared equally by {world()} processes")
        trunk = trunk_weights(runs, spec, weights)
        splits = read_folder(coco) if spec.data == COCO else None  # its faults are named before the folder is made
        if splits:
            check_run(runs, spec, folder_digests(splits), RENAMED)
        with working(record) as stop:
            if stop:
                checksum = "" if spec.weights else encoder_checksum(Record(runs, spec.run))
                DetectorTrainer(record, spec, trunk, splits or _scenes(record), session, stop, checksum).fit()
    return record


def trunk_weights(runs: Path, spec: Detection, weights: Path | None) -> Converted:
    """The weights of the trunk under Detectron2's names."""
    if not spec.weights:
        return to_detectron2(finished_backbone(runs, spec.run).state_dict())
    if weights is None:
        raise ValueError(f"{spec.folder} starts from a file of weights of SHA-256 {spec.weights}; give that file")
    if spec.detector.pixels != pixels_of(weights):
        raise ValueError(f"{weights} takes pixels {pixels_of(weights)!r}, not {spec.detector.pixels!r}")
    return to_detectron2(read_weights(weights))


def _scenes(record: Record) -> tuple[Split, Split]:
    folder = record.path / SCENES
    if rank() == 0:
        write_scenes(folder)
    first_says(None)  # they are there
    return read_folder(folder)


def learning_rate(detector: Detector, step: int) -> float:
    """Rate of a step counted from 0: a line up to the peak, then steps down."""
    rate = detector.lr * detector.drop_factor ** sum(step >= drop for drop in detector.drops)
    if step >= detector.warmup_iterations:
        return rate
    share = step / detector.warmup_iterations
    return rate * (detector.warmup_from * (1 - share) + share)


def build_optimizer(model: nn.Module, detector: Detector) -> torch.optim.SGD:
    """SGD with momentum; weight decay on everything but normalisation layers."""
    norms: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            (norms if isinstance(module, nn.modules.batchnorm._NormBase) else others).append(parameter)
    groups: list[dict[str, Any]] = [{"params": others}, {"params": norms, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr=detector.lr, momentum=detector.momentum, weight_decay=detector.weight_decay)


def detectron2_version() -> str:
    """Version of the Detectron2 in use, and what kind of installation it is."""
    installation = find()
    assert installation is not None, "it is imported"
    return f"{installation.version} ({installation.kind})"


class DetectorTrainer(TrainingLoop[Detection, list[dict[str, Any]]]):
    """One fine-tuning of a detector, and its scoring."""

    renamed = RENAMED

    def __init__(
        self,
        record: Record,
        spec: Detection,
        trunk: Converted,
        splits: tuple[Split, Split],
        session: Session,
        stop: Stop,
        encoder: str = "",
    ) -> None:
        super().__init__(record, spec, spec.detector.iterations, session, stop, folder_digests(splits), encoder)
        self.train, self.val = splits
        self.detector = spec.detector
        self.workers = 0 if spec.data == SCENES else session.loader_workers
        norm = "BN" if world() == 1 else "naiveSyncBN"
        self.model = build_detector(spec, len(self.train.categories), trunk, norm).to(self.device)
        broadcast_(list(self.model.state_dict().values()))
        self.optimizer = build_optimizer(self.model, self.detector)
        self.averages = Averages()  # of the losses
        self.losses: dict[str, float] = {}  # of the last line
        self.curve: list[tuple[int, dict[str, float]]] = []  # the losses of all lines, with their steps
        self.detections: list[dict[str, Any]] = []  # on the validation images, after training

    @contextmanager
    def _running(self) -> Iterator[None]:
        with (
            Loggers(self.session.logger, self.record, self.step) as self.loggers,
            numerics(self.detector.precision),
            torch.random.fork_rng(),
            utils.events.EventStorage(),
        ):
            for step, losses in self.curve:
                self.loggers.log_again(self.spec.kind, step, losses)
            yield

    def _batches(self, steps: range) -> Iterator[list[dict[str, Any]]]:
        return training_batches(self.train, self.detector, self.spec.run.seed, steps, self.workers)

    def _update(self, batch: list[dict[str, Any]], passengers: Sequence[Tensor] = ()) -> None:
        purpose = f"detector step {self.step} process {rank()}"
        torch.manual_seed(generator(self.spec.run.seed, purpose).initial_seed())
        self.model.train()
        self.optimizer.zero_grad(set_to_none=False)
        try:
            losses: dict[str, Tensor] = self.model(batch)
            loss = torch.stack(list(losses.values())).sum()
            loss.backward()
        except FloatingPointError:  # Detectron2's, of boxes that are not finite; other processes wait for this one
            losses, loss = {}, torch.full((), torch.nan, device=self.device)
        self._average_gradients(passengers)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.detector, self.step)
        self.optimizer.step()
        self.averages.add(losses | {"loss": loss})

    def _after_step(self) -> bool:
        last = self.step == self.total
        if self.step % LOGGED_EVERY == 0 or last:
            self._log()
        return last

    def _after_training(self) -> None:
        self._average_statistics()
        self.detections = detect(self.model, self.val, self.detector, self.workers, self._look_for_a_signal)

    def _average_gradients(self, passengers: Sequence[Tensor]) -> None:
        if world() == 1:
            return
        for parameter in self.model.parameters():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        average_([*passengers, *(parameter.grad for parameter in self.model.parameters())])

    def _log(self) -> None:
        if any_says(not self._finite(), "cpu"):  # each process has a loss of its own
            raise self.diverged()
        self.losses = self.averages.take().values()
        self.curve.append((self.step, self.losses))
        self.loggers.log(self.spec.kind, self.step, self.losses)
        if rank() == 0 and not self.session.quiet:
            losses = ", ".join(f"{name.removeprefix('loss_')} {value:.3f}" for name, value in self.losses.items())
            now = f"step {self.step} of {self.total}: {losses}"
            print(f"{self.record.path.name}: {now}", file=sys.stderr, flush=True)

    def _finite(self) -> bool:
        loss = self.averages.sums.get("loss")
        return (loss is None or bool(torch.isfinite(loss))) and bool(all_finite(self.model.parameters()))

    def _check_finite(self) -> None:
        if not self._finite():
            raise self.diverged()

    def _advice(self) -> str:
        return f"a lower detector.lr than {self.detector.lr:g} or a longer warm-up is the usual cure"

    def _look_for_a_signal(self) -> None:
        """Between two images that are scored: the checkpoint of the last step is there already."""
        if world() == 1 and self.stop.signal_name:
            raise self._interrupted()

    def _average_statistics(self) -> None:
        """Precise batch norm: statistics of the final weights over further batches of the training's own order."""
        batches = self._batches(range(self.total, self.total + self.detector.precise_bn))
        torch.manual_seed(generator(self.spec.run.seed, f"detector statistics process {rank()}").initial_seed())
        average_statistics(self.model, batches)

    def _state(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            **self.averages.state(),
            "losses": self.losses,
            "curve": self.curve,
        }

    def _restore(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        checkpoint.restore_optimizer(self.optimizer, state["optimizer"])
        self.averages.restore(state, self.device)
        self.losses = dict(state["losses"])
        self.curve = list(state.get("curve", []))  # checkpoints of before had none

    def _outcome(self) -> Outcome:
        results: dict[str, Any] = {
            **average_precision(self.val, self.detections),
            "iterations": self.step,
            "train_images": len(self.train.images),
            "test_images": len(self.val.images),
            "detections": len(self.detections),
            "data": self.spec.data_label,
            "loss": self.losses.get("loss"),
        }
        self.record.write_json("detections.json", {"detections": self.detections})
        write_whole(self.record.path / SHEET, sheet(self.val, self.detections))
        made_by = {
            "encoder_sha256": self.encoder,
            "train_digest": self.train.digest,
            "detectron2": detectron2_version(),
            "pycocotools": importlib.metadata.version("pycocotools"),
        }
        return Outcome(results, self.val.digest, made_by)
