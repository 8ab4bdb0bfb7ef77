"""Locate: the folder below the data folder that a data set, or a copy of it, is read from."""

from __future__ import annotations

import hashlib
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..specs.datasets import Dataset, Reader

MOVES_NO_NUMBER = "finds the data's files, and the data's digest stands beside every number"

ARCHIVES = (".tar.gz", ".zip")
CACHE = ".compmod-cache"
LAYOUT = "train/nXXXXXXXX/*.JPEG and val/nXXXXXXXX/*.JPEG"  # of ImageNet, one folder a class


def class_folders_of(entry: Dataset) -> str:
    """How a data set without an archive is laid out, in words."""
    test = entry.test_folder if entry.large or entry.own else "test"
    return LAYOUT if entry.wordnet else f"train/CLASS/*.png and {test}/CLASS/*.png"


def layout(entry: Dataset, folder: Path) -> Reader:
    """The reader of a folder that `locate` gives: the data set's own of its official files, else of class folders."""
    return entry.reader if entry.large or entry.own or folder.name == entry.folder else "image_folder"


def cache_folder(entry: Dataset, root: Path, copy: str) -> Path:
    """Where what was read of a data set is kept, three levels below a folder that can be written if there is one.

    That is the data root; of a folder of the user's own, which is often for reading alone, else the user's own cache.
    """
    if not entry.own:
        return root / CACHE / (copy or entry.folder)
    if not os.access(root, os.W_OK):
        below = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        root = Path(below) / "compmod" / hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]
    return root / CACHE / f"{entry.size or 'any'}-px"


def locate(entry: Dataset, root: Path, copy: str) -> Path:
    """The folder of the official files or of a copy. Raises ValueError, with what to do, when there is none."""
    folder, found, expected = look(entry, root, copy)
    if expected:
        raise entry.fault(folder, found, expected, f" --data {shlex.quote(str(root))}")
    return folder


def is_there(entry: Dataset, root: Path, copy: str) -> bool:
    """Whether there is a folder to read the data set, or a copy of it, from; embedded data are always there."""
    return not entry.folder or not look(entry, root, copy)[2]


def look(entry: Dataset, root: Path, copy: str) -> tuple[Path, str, str]:
    """The folder to read; where there is none: the folder looked for, what was found, and what was expected."""
    if copy in (".", "..") or Path(copy).name != copy:
        raise ValueError(f"a copy is the name of a folder below the data root, not {copy!r}")
    base = root / copy
    if (base / entry.folder).is_dir():
        return base / entry.folder, "", ""
    if copy and (base / "train").is_dir():
        return base, "", ""
    if entry.within and (base / entry.within).is_dir():
        return base / entry.within, "", ""
    if archive := _archive(entry, root, copy):
        command = _unpacking(archive, root, copy)
        return base / entry.folder, f"only the archive {archive.name}", f"it unpacked ({command})"
    if not copy and entry.large:
        elsewhere = f", or {base / entry.within} with its classes among others" if entry.within else ""
        return base / entry.folder, "no such folder", f"{class_folders_of(entry)} in it{elsewhere}"
    if not copy and not entry.url:
        return base / entry.folder, "no such folder", f"{class_folders_of(entry)} in it"
    if not copy:
        return base / entry.folder, "no such folder", f"the official {entry.label} files"
    found = "neither of them" if base.is_dir() else "no such folder"
    test = "val" if entry.large else "test"
    return base, found, f"a copy of {entry.label}: {entry.folder}/, or train/ and {test}/ with class folders"


def _archive(entry: Dataset, root: Path, copy: str) -> Path | None:
    """An archive that looks like the missing folder, not unpacked yet."""
    candidates = [root / entry.url.rpartition("/")[2]]
    if copy:
        inside = sorted(path for ending in ARCHIVES for path in (root / copy).glob(f"*{ending}"))
        candidates = [*inside, *(root / f"{copy}{ending}" for ending in ARCHIVES)]
    return next((path for path in candidates if path.is_file()), None)


def _unpacking(archive: Path, root: Path, copy: str) -> str:
    """The command that puts an archive's content where `locate` looks."""
    import tarfile
    import zipfile

    first = ""
    try:
        if archive.suffix == ".zip":
            with zipfile.ZipFile(archive) as zipped:
                first = next(iter(zipped.namelist()), "")
        else:
            with tarfile.open(archive) as tarred:
                first = getattr(tarred.next(), "name", "")
    except (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile) as error:
        return f"but it is damaged: {error}"
    # An archive that holds the copy's own folder is unpacked beside it, any other inside it.
    target = root if not copy or Path(first).parts[:1] == (copy,) else root / copy
    words = ["unzip", str(archive), "-d"] if archive.suffix == ".zip" else ["tar", "xzf", str(archive), "-C"]
    return shlex.join([*words, str(target)])
