"""Probe: the linear and nearest-neighbour accuracy of a backbone, and the evaluation of a finished run.

Protocol of the W-MSE code (Ermolov et al., ICML 2021): both probes read the same features, taken once.
"""

from __future__ import annotations

import contextlib
import math
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from ..data.identity import Present, check_finished, check_run
from ..networks.encoder import encoder_checksum, finished_backbone
from ..records.provenance import provenance
from ..records.record import Record
from ..runtime.distributed import first_says, processes, rank, total, world
from ..runtime.settings import own_settings
from ..specs.measurement import Evaluation
from ..specs.run import Run
from ..training.session import Session, resolve_device
from .features import TOGETHER, extract
from .knn import knn_hits
from .linear import linear_probe
from .shared_work import fails_together
from .splits import forget_images, split_digests, splits


@own_settings()
def probe(
    backbone: nn.Module, spec: Evaluation, root: Path, device: torch.device | str, workers: int = 0
) -> dict[str, float]:
    """Accuracies of both probes, shares of the test images from 0 to 1, and the epoch (from 1) of the best linear one.

    `root` holds the data sets; `workers` processes decode images that are on disk. The backbone ends on `device`,
    otherwise as it was; the global random state is neither read nor changed. Every process of a run calls it and gets
    the accuracies that one process gives: they share the features, then the first one trains the linear probe while
    the others look for neighbours. Raises ValueError on all of them where one cannot read the images, or has others.
    """
    dataset = spec.run.data
    with fails_together():
        train, test = splits(spec, root)
        contents = split_digests(spec, root)
    of_first = first_says(contents)
    with fails_together():
        if contents != of_first:
            raise ValueError(f"the images of {spec.run.data_label} below {root} are not those of process 0")
    train_ND = extract(backbone, train, dataset, device, workers=workers)
    before = math.ceil(len(train) / TOGETHER)  # batches
    test_MD = extract(backbone, test, dataset, device, workers=workers, turn=before)
    train_labels, test_labels = (torch.from_numpy(images.labels).to(train_ND.device) for images in (train, test))
    accuracies: dict[str, float] = {}
    hits = 0
    with fails_together():
        if rank() == 0:
            linear = linear_probe(
                train_ND,
                train_labels,
                test_MD,
                test_labels,
                dataset.classes,
                epochs=spec.linear_epochs,
                seed=spec.run.seed,
            )
            accuracies = {
                "linear/top1": linear.top1,
                "linear/top5": linear.top5,
                "linear/best_top1": linear.best_top1,
                "linear/best_epoch": linear.best_epoch,
            }
        if rank() or world() == 1:
            searching = max(1, world() - 1)  # processes
            rows = slice(max(0, rank() - 1), None, searching)
            compared_MD, compared_labels = test_MD[rows], test_labels[rows]
            hits = knn_hits(train_ND, train_labels, compared_MD, compared_labels, spec.neighbours, dataset.classes)
    all_hits = int(total(torch.tensor(hits)))
    accuracies = first_says(accuracies)
    return accuracies | {"knn/top1": all_hits / len(test)}


@own_settings()
def evaluate(runs: Path, spec: Evaluation, data: Path, session: Session) -> Record:
    """Probe the encoder of a finished run and store the result inside that run's folder; at once when that is done.

    A finished evaluation is compared with the data below `data`, where they are there. Under torchrun or a SLURM job
    step every process of it calls this, and they share the work. Raises ValueError when those are other data than its
    own or the run's, when the run is not finished, its encoder is damaged, or another command evaluates it.
    """
    session = replace(session, device=resolve_device(session.device))
    with processes(session.device):
        return _evaluate(runs, spec, data, session)


def _evaluate(runs: Path, spec: Evaluation, data: Path, session: Session) -> Record:
    record = Record(runs, spec)
    if first_says(record.status == "done"):
        check_finished(record, Present(data))
        return record
    with fails_together():
        backbone = finished_backbone(runs, spec.run)
        forget_images(spec.run)
        contents = split_digests(spec, data)
        check_run(runs, spec, contents)
    with contextlib.ExitStack() as stack:
        with fails_together():
            if rank() == 0:
                stack.enter_context(record.lock())
        if first_says(record.results is not None):  # another command finished it since
            return record
        if rank() == 0:
            record.start()
        started = time.monotonic()
        try:
            results = probe(backbone, spec, data, session.device, session.loader_workers)
            train, test = splits(spec, data)
        except Exception as error:
            if rank() == 0:
                record.fail(f"{type(error).__name__}: {error}")
            raise
        if rank() == 0:
            made_of = provenance(
                spec,
                seconds=time.monotonic() - started,
                device=session.device,
                data_digest=test.digest,
                extra={
                    "splits": contents,
                    "encoder_sha256": encoder_checksum(Record(runs, spec.run)),
                    "train_digest": train.digest,
                    "train_images": len(train),
                    "test_images": len(test),
                    "processes": world(),
                },
            )
            record.finish(results | spec.run.stated(), made_of)
        first_says(None)  # it is finished
    return record


def probe_due(run: Run, epoch: int, every: int) -> bool:
    """Whether to probe after this epoch, where that is done every so many epochs, and 0 says only after the last."""
    if not run.data.classes:  # a user's own images without labels
        return False
    if run.data.large:  # a pass over its images takes as long as training on them
        return False
    remaining = run.epochs - epoch
    every = min(every, -(-run.epochs // 3))  # a short run is looked at thrice, no oftener: a probe takes a pass
    if every and remaining < 0.05 * run.epochs:
        every = max(1, every // 4)
    return remaining == 0 or (every > 0 and epoch % every == 0)
