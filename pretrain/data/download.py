"""Download: fetch the official archive of a data set and unpack it below the data folder."""

from __future__ import annotations

import sys
from pathlib import Path

from ..files.fetch import fetch
from ..specs.datasets import known
from .locate import LAYOUT, class_folders_of

MOVES_NO_NUMBER = "fetches the data's files, and the data's digest stands beside every number"


def download(dataset: str, root: Path) -> None:
    """Fetch the official archive of a data set, compare its checksum, and unpack it below `root`.

    Embedded data need no archive. Raises ValueError when a download fails, or, with what to put where, when there is
    none.
    """
    entry = known(dataset)
    if entry.reader == "digits":
        return
    if not entry.url and not entry.wordnet:
        raise ValueError(
            f"no archive of {entry.label} is known: get its images and lay them out as {class_folders_of(entry)} "
            f"in {root / entry.folder}"
        )
    if not entry.url:
        raise ValueError(
            f"{entry.label} is not for others to hand out: get ILSVRC 2012 from https://image-net.org/download-images "
            f"and lay it out as {LAYOUT} in {root / (entry.within or entry.folder)}"
        )
    archive = root / entry.url.rpartition("/")[2]
    try:
        fetch(entry.url, archive, entry.archive_md5)
    except (OSError, ValueError) as error:  # no network, or another file under that address
        raise ValueError(
            f"could not download {entry.url}: {error}; fetch it elsewhere and unpack it in {root}"
        ) from error
    from torchvision.datasets.utils import extract_archive

    print(f"unpacking {archive} to {root / entry.folder}", file=sys.stderr, flush=True)
    extract_archive(str(archive), str(root))
