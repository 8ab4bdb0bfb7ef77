"""Own data on a command line: --data-folder and --size, and the file that names folders of the user's own."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import arg

from ..files.printable import printable
from ..files.stored_json import read_regular, shortened
from ..files.stored_toml import sections
from ..specs.datasets import DATASETS
from ..specs.fields import check_fields
from ..specs.own_data import Deviation, Mean, Side, check_own_name, check_test_name
from ..specs.run import Run
from .options import Folder

if TYPE_CHECKING:
    from ..data.own_folder import Survey

VARIABLE = "COMPMOD_DATASETS"  # names another file
HERE = "compmod-data.toml"
HOME = ".config/compmod/datasets.toml"
SECTION = "dataset"  # of the file: [dataset.NAME]

FolderOption = Annotated[
    Path | None,
    Folder(),
    arg(metavar="PATH", help="folder of your own images: train/CLASS/ and val/CLASS/ or test/CLASS/"),
]
SizeOption = Annotated[Side, arg(help="side that your own images are resized to, in memory; 0 = they stay on disk")]


@dataclass(frozen=True, kw_only=True)
class OwnFolder:
    """A section [dataset.NAME] of the file. Raises ValueError, naming the setting, on a wrong value."""

    name: str
    folder: str  # below the folder of the file, unless it begins with / or ~
    size: Side = 0  # pixels
    test: str = ""  # name of the folder of the scored images; "" = test/ if it has class folders, else val/
    mean: Mean | None = None  # None = as measured
    std: Deviation | None = None

    def __post_init__(self) -> None:
        check_own_name(self.name)
        check_fields(self)
        if self.test:
            check_test_name(self.test)
        if not self.folder:
            raise ValueError("OwnFolder.folder must be a path, not ''")

    def survey(self) -> Survey:
        """What is in the folder now."""
        from ..data.own_folder import survey

        return survey(Path(self.folder), self.size, self.test, self.mean, self.std)


def own_folders_file(environment: Mapping[str, str] = os.environ) -> Path:
    """The file of own data: that of $COMPMOD_DATASETS, else ./compmod-data.toml, else the one in ~/.config."""
    if environment.get(VARIABLE):
        return Path(environment[VARIABLE])
    here = Path(HERE)
    return here if here.is_file() else Path.home() / HOME


def own_folders(file: Path | None = None) -> dict[str, OwnFolder]:
    """The data sets of the file, by name. Raises ValueError, which begins with the file, on a mistake in it."""
    file = own_folders_file() if file is None else file
    content = read_regular(file)
    try:
        return {name: _section(name, entry, file) for name, entry in sections(content or b"", SECTION).items()}
    except ValueError as error:
        raise ValueError(f"{file}: {shortened(str(error))}") from error


def own_folder(name: str, folder: Path | None, size: int) -> OwnFolder | None:
    """The user's data set of that name: of --data-folder, or else of the file; None for one that everybody knows.

    Raises ValueError, which lists the known ones, where there is none.
    """
    if name in DATASETS:
        if folder or size:
            raise ValueError(
                f"{name!r} is a known data set: leave out data-folder and size, or give your own another name"
            )
        return None
    named = own_folders()
    if name not in named and not folder:
        raise ValueError(f"unknown data set {name!r}; {known_names()}")
    changes: dict[str, Any] = ({"folder": str(folder)} if folder else {}) | ({"size": size} if size else {})
    return dataclasses.replace(named[name], **changes) if name in named else OwnFolder(name=name, **changes)


def known_names() -> str:
    """What an error lists where a data set is not known."""
    known = ", ".join([*DATASETS, *own_folders()])
    return f"known: {known}; images of your own: --data-folder DIR, or [{SECTION}.NAME] in {own_folders_file()}"


def data_root(run: Run, data: Path, folder: Path | None) -> Path:
    """The folder to read the images of a run from: its own, or that of all known data sets.

    Where nothing names a run's own folder, it is looked for below `data` under its name.
    """
    if run.own is None:
        if folder:
            raise ValueError(f"data-folder is for data of your own; this run is on {run.data_name}")
        return data
    named = None if folder else own_folders().get(run.dataset)
    return folder or (Path(named.folder) if named else data / run.dataset)


def _section(name: str, entry: dict[str, Any], file: Path) -> OwnFolder:
    where = f"data set {printable(name)!r}"
    valid = [field.name for field in dataclasses.fields(OwnFolder) if field.name != "name"]
    if unknown := sorted(set(entry) - set(valid)):
        raise ValueError(f"{where}: unknown setting {unknown[0]!r}; known: {', '.join(valid)}")
    if "folder" not in entry:
        raise ValueError(f"{where}: folder is missing; expected the path of the images")
    given: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
    try:
        section = OwnFolder(name=name, **given)
        place = os.path.abspath(file.parent / Path(section.folder).expanduser())
    except (ValueError, RuntimeError) as error:  # RuntimeError: of a home that is not known
        raise ValueError(f"{where}: {str(error).removeprefix('OwnFolder.')}") from None
    return dataclasses.replace(section, folder=place)
