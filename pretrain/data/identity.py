"""Data identity: the content digests of the images behind a record, compared with those of the images there now.

A name is no identity: other images may later have the same folder name. Provenance holds, under `splits`, a SHA-256 of
every whole split that the work read, before any subset or validation split is drawn from it. Imports no torch.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..records.files import RESULTS_FILE
from ..records.record import Record
from ..specs.datasets import Dataset, Split, known
from ..specs.measurement import Evaluation, FineTuning, Measurement, Work
from ..specs.run import Run
from .load import read
from .locate import is_there

if TYPE_CHECKING:
    from .imagenet import Files
    from .images import Images

MOVES_NO_NUMBER = "compares digests, and computes none of a number"

SHOWN = 12  # hexadecimal digits of a digest that a sentence gives
RENAMED = "--copy OTHER"  # the option that gives other data another name


class Present:
    """The digests of the splits below a data root, each read once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._digests: dict[tuple[Dataset, str, Split], str] = {}
        self._folders: dict[Path, Mapping[str, str]] = {}

    def digest(self, dataset: str | Dataset, copy: str, split: Split) -> str:
        """SHA-256 of a whole split; "" where the data are absent. Raises ValueError where they are faulty."""
        entry = known(dataset)
        if split == "pretrain" and not entry.unlabelled_images:
            split = "train"  # the same images
        key = (entry, copy, split)
        if key not in self._digests:
            there = is_there(entry, self.root, copy)
            self._digests[key] = read(entry, split, self.root, copy=copy).digest if there else ""
        return self._digests[key]

    def of_labelled(self, spec: Evaluation | FineTuning) -> dict[str, str]:
        """The digests of the labelled splits that a measurement draws from."""
        run = spec.run
        splits: tuple[Split, ...] = ("train", "test") if spec.split == "test" else ("train",)
        return {split: self.digest(run.data, run.copy, split) for split in splits}

    def of_folder(self, folder: Path, read: Callable[[], Mapping[str, str]]) -> Mapping[str, str]:
        """The digests of a folder that `read` reads, by split."""
        if folder not in self._folders:
            self._folders[folder] = read()
        return self._folders[folder]


def pretraining_digests(images: Images | Files) -> dict[str, str]:
    """What a pretraining notes of its images, given whole: their digest and that of the labelled ones, if any."""
    labelled = images.labels >= 0
    if not labelled.any():
        return {"pretrain": images.digest}
    train = images.digest if labelled.all() else images.take(labelled.nonzero()[0]).digest
    return {"pretrain": images.digest, "train": train}


def recorded(spec: Work, provenance: Mapping[str, Any]) -> dict[str, str]:
    """The digest of every whole split that a record tells of, by split; older records tell less, or nothing."""
    digests = provenance.get("splits")
    if not isinstance(digests, dict):
        digests = _of_an_older_record(spec, provenance)
    return {split: digest for split, digest in digests.items() if isinstance(digest, str) and digest}


def compare(folder: Path, name: str, before: Mapping[str, str], now: Mapping[str, str], renamed: str = RENAMED) -> None:
    """Raise ValueError where a split has another digest than the record in `folder` tells; blank is unknown."""
    for split in before:
        old, new = before[split], now.get(split)
        if old and new and old != new:
            raise ValueError(
                f"{folder} is of other data: the {split} images of {name} had the digest {old[:SHOWN]} and now have "
                f"{new[:SHOWN]}; put the old images back, give the other data a name of their own ({renamed}), use "
                f"another --runs folder, or delete {folder}"
            )


def recorded_in(record: Record) -> dict[str, str]:
    """`recorded` of a finished record; a damaged provenance is reported and tells nothing."""
    try:
        return recorded(record.spec, record.provenance or {})
    except ValueError as error:
        print(f"warning: {error}; its data cannot be compared", file=sys.stderr)
        return {}


def check_finished(record: Record, present: Present) -> None:
    """Raise ValueError where the data there now are not those of a finished pretraining, probe or fine-tuning.

    Where they are absent, the result stays readable: nothing contradicts it. Embedded data come with the code.
    """
    run = record.spec.run
    if not run.data.folder:
        return
    before = recorded_in(record)
    now = {split: present.digest(run.data, run.copy, split) for split in before if split in _SPLITS}  # type: ignore[arg-type]
    compare(record.path, run.data_name, before, now)


def check_run(runs: Path, measured: Measurement, now: Mapping[str, str], renamed: str = RENAMED) -> None:
    """Raise ValueError where data to measure a finished run on are not those of the run and its measurements.

    `now` holds the digests of the splits of `measured.data_name`.
    """
    folder = Record(runs, measured.run).path
    for file in [folder / RESULTS_FILE, *sorted(folder.glob(f"*/{RESULTS_FILE}"))]:
        try:
            other = Record.open(file.parent)
            before = recorded(other.spec, other.provenance or {})
        except ValueError:  # damaged, so it tells nothing
            continue
        if other.spec.data_name == measured.data_name:
            compare(other.path, measured.data_name, before, now, renamed)


def check_no_other_images(run: Run, runs: Path) -> None:
    """Raise ValueError where the same run is unfinished on other images of the user's own: none is begun anew unasked.

    A finished one is reported on standard error, and stays beside this one.
    """
    for folder in sorted(runs.glob(f"{run.method}-{run.dataset}-*")):
        try:
            record = Record.open(folder)
        except ValueError:  # damaged, so it tells nothing
            continue
        other = record.spec
        if not isinstance(other, Run) or not other.own or not run.own or replace(other, own=run.own) != run:
            continue
        before, now = {"pretrain": other.own.contents}, {"pretrain": run.own.contents}
        if record.status != "done":
            compare(folder, run.data_name, before, now, "--dataset OTHER")
        elif before != now:
            print(f"{folder} is this run on other images of {run.data_name}; it stays as it is", file=sys.stderr)


_SPLITS = ("pretrain", "train", "test")


def _of_an_older_record(spec: Work, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """The digests of what was used, where that was a whole split; those of large images were made otherwise."""
    run = spec.run
    if run.data.large or spec.kind == "detection":
        return {}
    used = provenance.get("data_digest")
    if isinstance(spec, Run):
        if run.train_images:
            return {}
        return {"pretrain": used} | ({} if run.data.unlabelled_images else {"train": used})
    if spec.split != "test":
        return {}
    drawn = run.train_images or spec.share < 1
    return {"test": used} | ({} if drawn else {"train": provenance.get("train_digest")})
