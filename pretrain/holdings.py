"""Holdings: where a data set's files lie below the data root, which of them are there, and how to get the rest."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .data import Dataset, Split

ARCHIVES = (".tar.gz", ".zip")
LAYOUT = "train/nXXXXXXXX/*.JPEG and val/nXXXXXXXX/*.JPEG"  # of ImageNet, one folder a class


@dataclass(frozen=True, kw_only=True)
class Holding:
    """One file or folder that a data set needs, as `compmod data NAME` prints it."""

    path: str
    found: str
    expected: str
    checksum: str  # "ok", "wrong", or why none was compared
    ok: bool


def locate(entry: Dataset, root: Path, copy: str) -> Path:
    """The folder of the official files or of a copy. Raises ValueError, with what to do, when there is none."""
    folder, found, expected = _look(entry, root, copy)
    if expected:
        raise entry.fault(folder, found, expected)
    return folder


def is_there(entry: Dataset, root: Path, copy: str) -> bool:
    """Whether there is a folder to read the data set, or a copy of it, from; embedded data are always there."""
    return not entry.folder or not _look(entry, root, copy)[2]


def _look(entry: Dataset, root: Path, copy: str) -> tuple[Path, str, str]:
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
        return base / entry.folder, "no such folder", f"{LAYOUT} in it{elsewhere}"
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
    # An archive that brings the copy's own folder goes beside it, any other inside.
    target = root if not copy or Path(first).parts[:1] == (copy,) else root / copy
    words = ["unzip", str(archive), "-d"] if archive.suffix == ".zip" else ["tar", "xzf", str(archive), "-C"]
    return shlex.join([*words, str(target)])


def describe(entry: Dataset, root: Path, copy: str) -> list[Holding]:
    """Every file, or split of an image folder, that the data set needs, and its state."""
    if not entry.folder:
        if copy:
            raise ValueError(f"{entry.name} is embedded and has no copies; leave out copy {copy!r}")
        images = f"{entry.train_images:,} train and {entry.test_images:,} test images"
        return [Holding(path="(scikit-learn)", found="embedded", expected=images, checksum="not a file", ok=True)]
    folder, found, expected = _look(entry, root, copy)
    if expected:
        return [Holding(path=str(folder), found=found, expected=expected, checksum="not compared", ok=False)]
    if folder.name == entry.folder and entry.name != "tiny_imagenet" and not entry.large:
        return _files(entry, folder, copy)
    cache = root / ".compmod-cache" / (copy or entry.folder)
    splits: tuple[Split, ...] = ("train", "pretrain", "test") if entry.unlabelled_images else ("train", "test")
    return [_split(entry, folder, split, copy, cache) for split in splits]


def _files(entry: Dataset, folder: Path, copy: str) -> list[Holding]:
    """The official files: compared with their checksums, or, of a copy, read as `data.load` does."""
    from .official import FILES, check, md5

    holdings = []
    for part, files in FILES[entry.name].items():
        fault = check(entry, part, folder) if copy else ""
        for file in files:
            path = folder / file.name
            there = path.is_file()
            checksum = "not compared"
            found = f"{path.stat().st_size:,} bytes" if there else "missing"
            if there and fault:
                found = fault if fault.startswith(f"{path}:") else f"{found}, not all of {part} read"
            elif there:
                checksum = "a copy has none" if copy else "ok" if md5(path) == file.md5 else "wrong"
            holdings.append(
                Holding(
                    path=str(path),
                    found=found,
                    expected=f"{'at most ' if copy else ''}{file.images:,} images",
                    checksum=checksum,
                    ok=there and not fault and checksum != "wrong",
                )
            )
    return holdings


def _split(entry: Dataset, folder: Path, split: Split, copy: str, cache: Path) -> Holding:
    """A split of an image folder: small images are read as `data.load` does, and of large ones every header."""
    from . import image_folder, large_images
    from .open_image import checked_size, in_threads

    count = entry.test_images if split == "test" else entry.train_images
    count += entry.unlabelled_images if split == "pretrain" else 0
    try:
        if entry.large:
            listed = large_images.listing(entry, split, folder, whole=not copy)
            print(f"reading the headers of {len(listed):,} images of {folder} ({split})", file=sys.stderr, flush=True)
            in_threads(checked_size, [listed.path(index) for index in range(len(listed))])
            labels, how = listed.labels, "all headers read"
        else:
            _, labels = image_folder.read(entry, split, folder, whole=not copy, cache=cache)
            how = "all decoded"
        classes = len({label for label in labels.tolist() if label >= 0})
        found, ok = f"{len(labels):,} images in {classes} classes, {how}", True
    except ValueError as error:
        found, ok = str(error).encode(errors="backslashreplace").decode(), False  # names may be of another encoding
    bound = "at most " if copy else "" if split == "test" or entry.train_images_certain else "about "
    expected = f"{bound}{count:,} images in {entry.classes} classes"
    return Holding(path=f"{folder} ({split})", found=found, expected=expected, checksum="none published", ok=ok)


def download(entry: Dataset, root: Path) -> None:
    """Fetch the official archive, compare its checksum, and unpack it below `root`."""
    if not entry.folder:
        return
    if not entry.url:
        raise ValueError(
            f"{entry.label} is not for others to hand out: get ILSVRC 2012 from https://image-net.org/download-images "
            f"and lay it out as {LAYOUT} in {root / (entry.within or entry.folder)}"
        )
    from torchvision.datasets.utils import download_and_extract_archive

    root.mkdir(parents=True, exist_ok=True)
    try:
        download_and_extract_archive(entry.url, str(root), md5=entry.archive_md5)
    except (OSError, RuntimeError) as error:  # no network, or another file under that address
        raise ValueError(
            f"could not download {entry.url}: {error}; fetch it elsewhere and unpack it in {root}"
        ) from error
