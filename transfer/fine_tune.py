"""Engine: Mask R-CNN fine-tuned on COCO, told in order; killed at any moment, the same call carries on exactly.

Order, views and what is sampled from an image are functions of (seed, step, process), so a checkpoint needs the step,
the model and the optimiser.
"""

from __future__ import annotations

import importlib.metadata
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..pretrain.data.identity import check_run, compare
from ..pretrain.evaluate.probe import finished_backbone
from ..pretrain.files.whole_file import write_whole
from ..pretrain.networks.encoder import check_same_encoder, encoder_checksum
from ..pretrain.records.provenance import provenance
from ..pretrain.records.record import Record
from ..pretrain.runtime.distributed import any_says, average_, broadcast_, first_says, processes, rank, world
from ..pretrain.runtime.randomness import generator
from ..pretrain.runtime.settings import numerics, own_settings
from ..pretrain.training import checkpoint
from ..pretrain.training.divergence import NonFiniteLoss, all_finite, diverged
from ..pretrain.training.interruption import Interrupted, Stop, working
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
                Engine(record, spec, trunk, splits or _scenes(record), session, stop, checksum).fit()
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


def found_version() -> str:
    """Which Detectron2 this is."""
    there = find()
    assert there is not None, "it is imported"
    return f"{there.version} ({there.kind})"


class Engine:
    """The state of one fine-tuning and the loop over it."""

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
        self.encoder = encoder  # SHA-256 of the file that the trunk is from, where its run noted it
        self.contents = folder_digests(splits)
        self.record, self.spec, self.session, self.stop = record, spec, session, stop
        self.train, self.val = splits
        self.detector = spec.detector
        self.device = torch.device(session.device)
        self.workers = 0 if spec.data == SCENES else session.loader_workers
        norm = "BN" if world() == 1 else "naiveSyncBN"
        self.model = build_detector(spec, len(self.train.categories), trunk, norm).to(self.device)
        broadcast_(list(self.model.state_dict().values()))
        self.optimizer = build_optimizer(self.model, self.detector)
        self.step = 0
        self.seconds = 0.0  # over all processes that worked on this one after another
        self.sums: dict[str, Tensor] = {}  # of the losses since the last line
        self.summed = 0
        self.losses: dict[str, float] = {}  # of the last line

    def fit(self) -> None:
        """Train to the end, score, and finish the record."""
        self._load()
        self.clock = self.saved = time.monotonic()
        with numerics(self.detector.precision), torch.random.fork_rng(), utils.events.EventStorage():
            steps = range(self.step, self.detector.iterations)
            for examples in training_batches(self.train, self.detector, self.spec.run.seed, steps, self.workers):
                self._train_step(examples)
                last = self.step == self.detector.iterations
                if self.step % LOGGED_EVERY == 0 or last:
                    self._log()
                self._save_or_stop(due=last)
            self._average_statistics()
            found = detect(self.model, self.val, self.detector, self.workers, self._look_for_a_signal)
        if rank() == 0:
            self._finish(found)
        first_says(None)  # it is finished

    def _train_step(self, examples: list[dict[str, Any]]) -> None:
        purpose = f"detector step {self.step} process {rank()}"
        torch.manual_seed(generator(self.spec.run.seed, purpose).initial_seed())
        self.model.train()
        self.optimizer.zero_grad(set_to_none=False)
        try:
            losses: dict[str, Tensor] = self.model(examples)
            loss = torch.stack(list(losses.values())).sum()
            loss.backward()
        except FloatingPointError:  # Detectron2's, of boxes that are not finite; other processes wait for this one
            losses, loss = {}, torch.full((), torch.nan, device=self.device)
        self._average_gradients()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.detector, self.step)
        self.optimizer.step()
        for name, value in (losses | {"loss": loss}).items():
            value = value.detach()
            self.sums[name] = self.sums[name] + value if name in self.sums else value
        self.summed += 1
        self.step += 1

    def _average_gradients(self) -> None:
        if world() == 1:
            return
        for parameter in self.model.parameters():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        average_([parameter.grad for parameter in self.model.parameters()])

    def _log(self) -> None:
        if any_says(not self._finite(), "cpu"):  # each process has a loss of its own
            raise self._diverged()
        self.losses = {name: float(value) / self.summed for name, value in self.sums.items()}
        self.sums, self.summed = {}, 0
        if rank() == 0 and not self.session.quiet:
            losses = ", ".join(f"{name.removeprefix('loss_')} {value:.3f}" for name, value in self.losses.items())
            now = f"step {self.step} of {self.detector.iterations}: {losses}"
            print(f"{self.record.path.name}: {now}", file=sys.stderr, flush=True)

    def _finite(self) -> bool:
        return bool(torch.isfinite(self.sums["loss"]) if self.summed else True) and bool(
            all_finite(self.model.parameters())
        )

    def _diverged(self) -> NonFiniteLoss:
        advice = f"a lower detector.lr than {self.detector.lr:g} or a longer warm-up is the usual cure"
        folder = self.record.path / "checkpoints"
        return diverged("loss", self.step, self.detector.iterations, folder, advice)

    def _save_or_stop(self, *, due: bool) -> None:
        stopped = any_says(bool(self.stop.signal_name), "cpu")
        minutes = (time.monotonic() - self.saved) / 60
        if rank() == 0 and (stopped or due or minutes >= self.session.checkpoint_minutes):
            self._save()
        if stopped:
            first_says(None)  # it is saved
            self._interrupt()

    def _interrupt(self) -> None:
        raise Interrupted(self.stop.signal_name or "a signal to another process", self.record.path)

    def _look_for_a_signal(self) -> None:
        """Between two images that are scored: the checkpoint of the last step is there already."""
        if world() == 1 and self.stop.signal_name:
            self._interrupt()

    def _average_statistics(self) -> None:
        """Precise batch norm: statistics of the final weights over further batches of the training's own order."""
        first, count = self.detector.iterations, self.detector.precise_bn
        further = range(first, first + count)
        batches = training_batches(self.train, self.detector, self.spec.run.seed, further, self.workers)
        torch.manual_seed(generator(self.spec.run.seed, f"detector statistics process {rank()}").initial_seed())
        average_statistics(self.model, batches)

    def _save(self) -> None:
        if not self._finite():
            raise self._diverged()
        self.seconds += time.monotonic() - self.clock
        self.clock = self.saved = time.monotonic()
        state = {
            "digest": self.spec.digest,
            "splits": self.contents,
            "encoder": self.encoder,
            "step": self.step,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "sums": self.sums,
            "summed": self.summed,
            "losses": self.losses,
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
        compare(self.record.path, self.spec.data_name, before, self.contents, RENAMED)
        check_same_encoder(self.record.path, state, self.encoder)
        with checkpoint.restoring(folder):
            self.step = checkpoint.whole_number(state["step"], self.detector.iterations)
            self.model.load_state_dict(state["model"])
            checkpoint.restore_optimizer(self.optimizer, state["optimizer"])
            self.sums = {name: value.to(self.device) for name, value in state["sums"].items()}
            self.summed = checkpoint.whole_number(state["summed"])
            self.losses, self.seconds = dict(state["losses"]), float(state["seconds"])

    def _finish(self, found: list[dict[str, Any]]) -> None:
        self.seconds += time.monotonic() - self.clock
        results: dict[str, Any] = {
            **average_precision(self.val, found),
            "iterations": self.step,
            "train_images": len(self.train.images),
            "test_images": len(self.val.images),
            "detections": len(found),
            "data": self.spec.data_label,
            "loss": self.losses.get("loss"),
        }
        self.record.write_json("detections.json", {"detections": found})
        write_whole(self.record.path / SHEET, sheet(self.val, found))
        origin = provenance(
            self.spec,
            seconds=self.seconds,
            device=str(self.device),
            data_digest=self.val.digest,
            extra={
                "splits": self.contents,
                "encoder_sha256": self.encoder,
                "train_digest": self.train.digest,
                "processes": world(),
                "detectron2": found_version(),
                "pycocotools": importlib.metadata.version("pycocotools"),
            },
        )
        self.record.finish(results, origin)
        shutil.rmtree(self.record.path / "checkpoints", ignore_errors=True)  # of no more use, and large
