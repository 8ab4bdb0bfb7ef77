"""Options: those that several commands share, and the check of every value of a command line.

An option declares its values: `Annotated[int, Range(1)]`, `Annotated[Path, Folder()]`, `Annotated[str, Name()]`. tyro
does not read these; the check does, before a command makes anything.
"""

from __future__ import annotations

import dataclasses
import errno
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from tyro.conf import arg

from ..files.printable import is_plain
from ..loggers.names import LoggerName
from ..specs.fields import ABOVE_ZERO, Range, is_name

MISTAKES = (
    *(errno.EEXIST, errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.EACCES, errno.EPERM),
    *(errno.ENAMETOOLONG, errno.ELOOP, errno.EROFS, errno.ENOTEMPTY),
)  # that a path of the command line can cause
LONGEST = 4096  # characters of a word; of a path on Linux, too (PATH_MAX)


@dataclass(frozen=True)
class Folder:
    """A folder, or a path where one can be made."""

    def fault(self, path: Path) -> str:
        """What is wrong with a path; "" when nothing is."""
        for part in (path, *path.parents):
            try:
                os.lstat(part)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                return f"{part}: {error.strerror}"
            return "" if part.is_dir() else f"{part} is no folder"
        return ""


@dataclass(frozen=True)
class Name:
    """The name of one folder below another."""

    def fault(self, name: str) -> str:
        """What is wrong with a name; "" when nothing is."""
        return "" if is_name(name) else f"{name!r} is not the name of a folder below the data folder"


@dataclass(frozen=True)
class Values:
    """The words that a shell completes for an option; the command itself refuses others, and says more."""

    names: tuple[str, ...]


DeviceOption = Annotated[Literal["auto", "cpu", "cuda"], arg(help="where to compute")]
RunsOption = Annotated[Path, Folder(), arg(help="folder of the runs; on a cluster, every node must see it")]
DataOption = Annotated[Path, Folder(), arg(help="folder of the data sets; on a cluster, every node must see it")]
CheckpointMinutesOption = Annotated[float, Range(ABOVE_ZERO), arg(help="time between checkpoints")]
LoggerOption = Annotated[
    tuple[LoggerName, ...],
    arg(
        help="where curves are shown beside metrics.jsonl, one or several; all but the first "
        "in the list are packages to install"
    ),
]
WorkersOption = Annotated[int, Range(-1, 1024), arg(help="processes that decode large images; -1 = one a core")]


def check_words(words: Sequence[str]) -> None:
    """Raise ValueError on a word of the command line that no option can have as its value."""
    for word, before in zip(words, ("", *words), strict=False):
        if not word.strip():
            after = f" after {before!a}" if before else ""
            raise ValueError(f"a word of the command line{after} is empty; without the option its default holds")
        if len(word) > LONGEST:
            raise ValueError(f"a word of the command line has {len(word):,} characters: {word[:40]!a}...")
        if not is_plain(word):
            raise ValueError(f"{word!a} has control characters or is not UTF-8")


def check_options(hints: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Raise ValueError on a value that is not what its option's Range, Folder or Name says."""
    for name, value in given.items():
        hint = hints.get(name)
        if value is None or get_origin(hint) is not Annotated:
            continue
        for part in get_args(hint)[1:]:
            if isinstance(part, Range) and not part.least <= value <= part.most:
                raise ValueError(f"{name} must be {part}, not {value}")
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{name} must be a finite number, not {value}")
            if isinstance(part, Folder | Name) and (wrong := part.fault(value)):
                raise ValueError(f"{name}: {wrong}")


def check_call(function: Callable[..., Any], positional: Sequence[Any], named: Mapping[str, Any]) -> None:
    """`check_options` of a function's arguments."""
    hints = get_type_hints(function, include_extras=True)
    check_options(hints, dict(zip(hints, positional, strict=False)) | dict(named))


def check_fields(options: Any) -> None:
    """`check_options` of a dataclass's fields."""
    given = {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}
    check_options(get_type_hints(type(options), include_extras=True), given)


def is_mistake(error: OSError) -> bool:
    """Whether the user gave a wrong path; otherwise the machine failed."""
    return error.errno in MISTAKES


def with_path(error: OSError) -> str:
    """The system's message, after the path that it is about, if there is one."""
    paths = " -> ".join(
        os.fsdecode(path) for path in (error.filename, error.filename2) if isinstance(path, str | bytes)
    )
    return f"{paths}: {error.strerror}" if paths and error.strerror else str(error)
