"""The small-data probes of a trunk: linear and nearest neighbours on one pair of feature sets (W-MSE paper, section 5)."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from ..data import DATASETS, Images, load, subset, validation_split
from ..networks import build_backbone
from ..provenance import provenance
from ..record import Record
from ..run import Evaluation
from .features import extract
from .knn import knn_accuracy
from .linear import linear_probe


def evaluate(runs: Path, spec: Evaluation, root: Path, device: str) -> Record:
    """Probe the finished run of `spec`, whose data lie below `root`; at once when that was done before.

    Raises ValueError when the run is not finished or another process evaluates it.
    """
    record = Record(runs, spec)
    if record.status == "done":
        return record
    run = Record(runs, spec.run)
    if run.status != "done":
        raise ValueError(f"{run.path} is {run.status}, not finished; run `compmod pretrain {spec.run.method} …` first")
    with record.lock():
        record.start()
        start = time.monotonic()
        try:
            dataset = DATASETS[spec.run.dataset]
            backbone = build_backbone(spec.run.backbone, spec.run.views[0].size or dataset.view_size)
            backbone.load_state_dict(load_file(run.path / "encoder.safetensors"))
            train, test = splits(spec, root)
            results = probe(backbone, spec, train, test, device)
        except Exception as error:
            record.fail(f"{type(error).__name__}: {error}")
            raise
        origin = provenance(spec, seconds=time.monotonic() - start, device=device, data_digest=test.digest)
        record.finish(results, origin)
    return record


def splits(spec: Evaluation, root: Path) -> tuple[Images, Images]:
    """Labelled images to train the probes on, and images to score them on; validation never reads the test set."""
    run = spec.run
    train = load(run.dataset, "train", root, copy=run.copy)
    if run.train_images and run.train_images < len(train):
        train = subset(train, run.train_images, run.seed)
    if spec.split == "validation":
        return validation_split(train, run.seed)
    return train, load(run.dataset, "test", root, copy=run.copy)


def probe(
    backbone: nn.Module, spec: Evaluation, train: Images, test: Images, device: str | torch.device
) -> dict[str, float]:
    """Accuracies of both probes on the features before the projector: shares of the scored images, 0 to 1."""
    dataset = DATASETS[spec.run.dataset]
    features = [extract(backbone, images, dataset, device) for images in (train, test)]
    labels = [torch.from_numpy(images.labels).to(device) for images in (train, test)]
    linear = linear_probe(
        features[0], labels[0], features[1], labels[1], dataset.classes, epochs=spec.linear_epochs, seed=spec.run.seed
    )
    knn = knn_accuracy(features[0], labels[0], features[1], labels[1], spec.neighbours, dataset.classes)
    return {
        "linear/top1": linear.top1,
        "linear/top5": linear.top5,
        "linear/best_top1": linear.best_top1,
        "linear/best_epoch": linear.best_epoch,
        "knn/top1": knn,
    }
