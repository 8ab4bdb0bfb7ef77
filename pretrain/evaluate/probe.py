"""Probe: the linear and nearest-neighbour accuracy of a backbone, and the evaluation of a finished run.

Protocol of the W-MSE code (Ermolov et al., ICML 2021): both probes read the same features, taken once.
"""

from __future__ import annotations

import functools
import shlex
import time
from pathlib import Path

import torch
from torch import nn

from ..data.identity import Present, check_finished, check_run
from ..data.imagenet import Files
from ..data.images import Images, subset, validation_split
from ..data.load import read
from ..networks.build import build_backbone
from ..networks.encoder import ENCODER, encoder_checksum, read_encoder
from ..records.provenance import provenance
from ..records.record import Record
from ..runtime.settings import own_settings
from ..specs.datasets import DATASETS
from ..specs.measurement import Evaluation
from ..specs.run import Run
from ..training.session import Session, resolve_device
from .features import extract
from .knn import knn_accuracy
from .linear import linear_probe


@own_settings()
def probe(
    backbone: nn.Module, spec: Evaluation, root: Path, device: torch.device | str, workers: int = 0
) -> dict[str, float]:
    """Accuracies of both probes, shares of the test images from 0 to 1, and the epoch (from 1) of the best linear one.

    `root` holds the data sets; `workers` processes decode images that are on disk. The backbone ends on `device`,
    otherwise as it was; the global random state is neither read nor changed.
    """
    dataset = DATASETS[spec.run.dataset]
    train, test = splits(spec, root)
    train_ND, test_MD = (extract(backbone, images, dataset, device, workers=workers) for images in (train, test))
    train_labels, test_labels = (torch.from_numpy(images.labels).to(train_ND.device) for images in (train, test))
    linear = linear_probe(
        train_ND,
        train_labels,
        test_MD,
        test_labels,
        dataset.classes,
        epochs=spec.linear_epochs,
        seed=spec.run.seed,
    )
    knn = knn_accuracy(train_ND, train_labels, test_MD, test_labels, spec.neighbours, dataset.classes)
    return {
        "linear/top1": linear.top1,
        "linear/top5": linear.top5,
        "linear/best_top1": linear.best_top1,
        "linear/best_epoch": linear.best_epoch,
        "knn/top1": knn,
    }


@own_settings()
def evaluate(runs: Path, spec: Evaluation, data: Path, session: Session) -> Record:
    """Probe the encoder of a finished run and store the result inside that run's folder; at once when that is done.

    A finished evaluation is compared with the data below `data`, where they are there. Raises ValueError when those are
    other data than its own or the run's, when the run is not finished, its encoder is damaged, or another process
    evaluates it.
    """
    record = Record(runs, spec)
    if record.status == "done":
        check_finished(record, Present(data))
        return record
    backbone = finished_backbone(runs, spec.run)
    forget_images(spec.run)
    device, contents = resolve_device(session.device), split_digests(spec, data)
    check_run(runs, spec, contents)
    with record.lock():
        if record.results is not None:  # another process finished it since
            return record
        record.start()
        started = time.monotonic()
        try:
            results = probe(backbone, spec, data, device, session.loader_workers)
            train, test = splits(spec, data)
        except Exception as error:
            record.fail(f"{type(error).__name__}: {error}")
            raise
        origin = provenance(
            spec,
            seconds=time.monotonic() - started,
            device=device,
            data_digest=test.digest,
            extra={
                "splits": contents,
                "encoder_sha256": encoder_checksum(Record(runs, spec.run)),
                "train_digest": train.digest,
                "train_images": len(train),
                "test_images": len(test),
            },
        )
        record.finish(results, origin)
    return record


def splits(spec: Evaluation, root: Path) -> tuple[Images | Files, Images | Files]:
    """Labelled images to train the probes on, and images to score them on; validation never reads the test set."""
    return _read_spec(spec, root)[:2]


def forget_images(run: Run) -> None:
    """Read the images anew when next asked for: others may lie there since this process last read them."""
    if DATASETS[run.dataset].folder:
        _read.cache_clear()


def split_digests(spec: Evaluation, root: Path) -> dict[str, str]:
    """The digests of the whole splits that `splits` draws from."""
    return dict(_read_spec(spec, root)[2])


def _read_spec(spec: Evaluation, root: Path) -> tuple[Images | Files, Images | Files, dict[str, str]]:
    run = spec.run
    return _read(run.dataset, run.copy, run.train_images, run.seed, spec.split, Path(root))


@functools.lru_cache(maxsize=1)  # a pretraining probes itself every few epochs, and reading a copy can take minutes
def _read(
    dataset: str, copy: str, train_images: int, seed: int, split: str, root: Path
) -> tuple[Images | Files, Images | Files, dict[str, str]]:
    whole = read(dataset, "train", root, copy=copy)
    contents, train = {"train": whole.digest}, _drawn(whole, train_images, seed)
    if split == "validation":
        return *validation_split(train, seed), contents
    test = read(dataset, "test", root, copy=copy)
    return train, test, contents | {"test": test.digest}


def labelled_images(dataset: str, copy: str, train_images: int, seed: int, root: Path) -> Images | Files:
    """The labelled images of those that a run trains on."""
    return _drawn(read(dataset, "train", root, copy=copy), train_images, seed)


def _drawn(train: Images | Files, train_images: int, seed: int) -> Images | Files:
    if 0 < train_images < len(train):  # STL-10 has fewer labelled images than a run may draw from all of them
        return subset(train, train_images, seed)
    return train


@own_settings()
def finished_backbone(runs: Path, run: Run) -> nn.Module:
    """The backbone of a finished run with its trained weights. Raises ValueError when it is unfinished or damaged."""
    record = Record(runs, run)
    status = record.status
    if status != "done":
        words = [
            "compmod",
            "pretrain",
            run.method,
            "--dataset",
            run.dataset,
            "--seed",
            str(run.seed),
            "--runs",
            str(runs),
        ]
        command = shlex.join(words)
        raise ValueError(
            f"the run {record.path} is {status}, not done; finish it first: {command}, and the other settings it has"
        )
    dataset = DATASETS[run.dataset]
    backbone = build_backbone(run.backbone, run.views[0].size or dataset.view_size, dataset)
    weights = read_encoder(record)
    try:
        backbone.load_state_dict(weights)
    except RuntimeError as error:
        file, reason = record.path / ENCODER, " ".join(str(error).split())
        raise ValueError(f"cannot read {file}: {reason}; expected the weights of a {run.backbone.name}") from error
    return backbone
