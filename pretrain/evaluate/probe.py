"""Probe: the linear and nearest-neighbour accuracy of a backbone, and the evaluation of a finished run.

Protocol of the W-MSE code (Ermolov et al., ICML 2021): both probes read the same features, taken once.
"""

from __future__ import annotations

import time
from pathlib import Path

import torch
from torch import nn

from ..data.identity import Present, check_finished, check_run
from ..networks.encoder import encoder_checksum, finished_backbone
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
from .splits import forget_images, split_digests, splits


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
        made_of = provenance(
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
        record.finish(results, made_of)
    return record


def probe_due(run: Run, epoch: int, every: int) -> bool:
    """Whether to probe after this epoch, where that is done every so many epochs, and 0 says only after the last."""
    if DATASETS[run.dataset].large:  # a pass over its images takes as long as training on them
        return False
    remaining = run.epochs - epoch
    every = min(every, max(1, run.epochs // 3))  # a short run is looked at thrice
    if every and remaining < 0.05 * run.epochs:
        every = max(1, every // 4)
    return remaining == 0 or (every > 0 and epoch % every == 0)
