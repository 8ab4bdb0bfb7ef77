"""The command behind `compmod data`: where a data set is expected, what is there, and whether it is intact."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from ..files.printable import printable
from ..specs.datasets import DATASETS
from .options import DataOption, Name, Values
from .own_data import FolderOption, SizeOption, known_names, own_folder

SHOWN = 20  # names of classes

if TYPE_CHECKING:
    from ..data.inventory import Holding
    from ..data.own_folder import Survey


def data_command(
    names: Annotated[
        Positional[tuple[str, ...]],
        Values(tuple(DATASETS)),
        arg(help=f"data sets: {', '.join(DATASETS)}", metavar="NAME..."),
    ],
    data: DataOption = Path("data"),
    data_folder: FolderOption = None,
    size: SizeOption = 0,
    copy: Annotated[str, Name(), arg(help="name of a copy of it, a folder below the data folder")] = "",
    no_download: Annotated[bool, arg(help="list what is there, and fetch nothing")] = False,
) -> None:
    """Download data sets where that is allowed; list their files and whether their checksums are right."""
    if not names:
        raise ValueError(f"data needs a NAME; {known_names()}")
    if len(names) > 1 and (data_folder or size or copy):
        raise ValueError(f"data-folder, size and copy are of one NAME, not of {', '.join(names)}")
    of_users = [own_folder(name, data_folder, size) for name in names]  # an unknown name ends it before a download
    for name, own in zip(names, of_users, strict=True):
        if not own:
            _fetch(name, data, copy, download=not no_download)
        elif copy:
            raise ValueError(f"{name} is data of your own and has no copies; leave out copy {copy!r}")
        else:
            print("\n".join(_survey_lines(own.survey())), flush=True)


def _fetch(name: str, data: Path, copy: str, *, download: bool) -> None:
    """List the files of a known data set after fetching what is missing; raise ValueError where they are not right."""
    from ..data.inventory import describe
    from ..data.inventory import download as fetch

    holdings = describe(name, data, copy)
    if download and not copy and not all(holding.ok for holding in holdings):
        if any(holding.checksum for holding in holdings):  # some of it is there
            _print_holdings(holdings)
        fetch(name, data)
        holdings = describe(name, data, copy)
    if faulty := _print_holdings(holdings):
        raise ValueError(f"{name} is not complete: {', '.join(faulty)}")


def _survey_lines(survey: Survey) -> Iterator[str]:
    """What is in a folder of the user's own, all of whose images were decoded."""
    own = survey.own
    for files in (survey.train, survey.test):
        if files:
            counts = Counter(files.labels.tolist())
            each = f" in {len(counts)} classes of {min(counts.values()):,} to {max(counts.values()):,}"
            part = "train" if files is survey.train else own.test
            yield f"ok     {files.folder / part}: {len(files):,} images{each if own.classes else ' without labels'}"
    more = f", ... ({len(survey.names) - SHOWN:,} more)" if len(survey.names) > SHOWN else ""
    yield f"classes  {printable(', '.join(survey.names[:SHOWN])) or 'none'}{more}"
    yield f"size     {f'{own.size} x {own.size} pixels, in memory' if own.size else 'as they are, on disk'}"
    yield f"mean     {', '.join(map(str, own.mean))}"
    yield f"std      {', '.join(map(str, own.std))}"
    yield f"digest   {own.contents} (SHA-256 over names and content of all images)"


def _print_holdings(holdings: Sequence[Holding]) -> list[str]:
    """One line for every file or folder; returns the paths of those that are missing or wrong."""
    for holding in holdings:
        state = "ok    " if holding.ok else "FAULTY" if holding.checksum else "absent"
        words = [holding.found, f"expected {holding.expected}"]
        words += [f"checksum {holding.checksum}"] if holding.checksum else []
        print(f"{state} {holding.path}: {'; '.join(words)}", flush=True)
    return [holding.path for holding in holdings if not holding.ok]
