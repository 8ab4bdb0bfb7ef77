"""Shared files: what several people write and read below one runs folder.

What we make has the rights of the runs folder, whatever the umask. What is there and cannot be read is never taken for
empty: the error names the file, its owner and what mends it. What others wrote is data of checked types.
"""

from __future__ import annotations

import contextlib
import io
import os
import pwd
import re
import shlex
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ..pretrain.files import regular_file
from ..pretrain.files.stored_json import parse_object

LONGEST = 4096  # characters of a stored text; a path has no more
Made = TypeVar("Made")
_NO_LINK = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # not into what a link of others leads to


class Unreadable(ValueError):
    """A file that is there and cannot be read or written: what it holds is not known."""


@dataclass(frozen=True)
class Text:
    """A string of a field, which the whole of `pattern` matches."""

    pattern: str = r"[^\0]*"
    most: int = LONGEST  # characters

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, str) or len(value) > self.most or not re.fullmatch(self.pattern, value, re.DOTALL):
            return False
        return not any("\ud800" <= character <= "\udfff" for character in value)  # which no file system can hold

    def __str__(self) -> str:
        return f"a text of at most {self.most} characters" + (
            f" like {self.pattern}" if "^" not in self.pattern else ""
        )


@dataclass(frozen=True)
class Number:
    """A number of a field, both ends included; `whole`, an integer."""

    least: float
    most: float
    whole: bool = True

    def __contains__(self, value: object) -> bool:
        kinds = int if self.whole else int | float
        return isinstance(value, kinds) and not isinstance(value, bool) and self.least <= value <= self.most

    def __str__(self) -> str:
        return f"a {'whole ' * self.whole}number from {self.least:g} to {self.most:g}"


@dataclass(frozen=True)
class Word:
    """One of some words."""

    known: tuple[str, ...]

    def __contains__(self, value: object) -> bool:
        return isinstance(value, str) and value in self.known

    def __str__(self) -> str:
        return f"one of {', '.join(self.known)}"


@dataclass(frozen=True)
class Flag:
    """True or false."""

    def __contains__(self, value: object) -> bool:
        return isinstance(value, bool)

    def __str__(self) -> str:
        return "true or false"


Field = Text | Number | Word | Flag


def fields_of(
    found: Mapping[str, Any], known: Mapping[str, Field], where: object, optional: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The known fields, each of its kind. Raises ValueError, naming the field; others are a later version's."""
    for name, kind in known.items():
        if name not in found:
            if name in optional:
                continue
            raise ValueError(f"{where}: {name} is missing; expected {kind}")
        if found[name] not in kind:
            raise ValueError(f"{where}: {name} must be {kind}")
    return {name: found[name] for name in known if name in found}


def read_regular(path: Path) -> bytes:
    """A file's content. Raises FileNotFoundError where there is none, Unreadable where it cannot be read."""
    with open_regular(path) as file:
        try:
            return file.read()
        except OSError as error:
            raise blocked("read", path, error) from error


def open_regular(path: Path) -> io.BufferedReader:
    """A file to read, which neither waits for a writer nor is a folder; raises as `read_regular`."""
    try:
        return regular_file.open_regular(path)
    except (regular_file.NotRegular, IsADirectoryError) as error:
        raise Unreadable(f"{path} is no regular file; remove it") from error
    except (FileNotFoundError, NotADirectoryError) as error:
        if path.is_symlink():
            raise Unreadable(f"{path} is a link to nothing; remove it") from error
        raise FileNotFoundError(error.errno, error.strerror, str(path)) from error
    except OSError as error:
        raise blocked("read", path, error) from error


def read_lines(path: Path, make: Callable[[dict[str, Any], str], Made]) -> tuple[list[Made], str]:
    """What `make` makes of each line of JSON, and one remark on the lines that are damaged, or "".

    Raises FileNotFoundError where there is no file, Unreadable where it cannot be read.
    """
    made, faults = list[Made](), list[str]()
    for number, line in enumerate(read_regular(path).split(b"\n"), 1):
        if line.strip():
            where = f"{path}, line {number}"
            try:
                made.append(make(parse_object(line, where), where))
            except ValueError as error:
                faults.append(str(error))
    more = f"; {len(faults) - 1} more of its lines are damaged" if len(faults) > 1 else ""
    return made, f"damaged line passed over: {faults[0]}{more}" if faults else ""


def names_in(folder: Path) -> list[str]:
    """Sorted names; nothing where there is no folder. Raises Unreadable where it cannot be listed."""
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise blocked("list", folder, error) from error


def append_text(runs: Path, path: Path, text: str, mask: int = 0o644) -> None:
    """Add to a file of this user's own, on disk when this returns. Raises Unreadable where that cannot be."""
    try:
        file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | _NO_LINK, mask)
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise Unreadable(f"{path} is no regular file; remove it")
            share(runs, path, mask)
            size = os.fstat(file).st_size
            if size and os.pread(file, 1, size - 1) != b"\n":  # a crash cut the last line short
                text = "\n" + text
            content = text.encode()
            while content:
                content = content[os.write(file, content) :]
            os.fsync(file)
        finally:
            os.close(file)
    except OSError as error:
        raise blocked("write", path, error) from error


def make_folder(runs: Path, folder: Path) -> None:
    """Make a folder below the runs folder, with its rights, and those above it. Raises Unreadable where it cannot."""
    runs = Path(runs)
    for each in (runs, *reversed([above for above in folder.parents if runs in above.parents]), folder):
        try:
            each.mkdir(parents=each == runs, exist_ok=True)
            if each != runs:
                share(runs, each)
        except OSError as error:
            raise blocked("make", each, error) from error


def share(runs: Path, path: Path, mask: int = 0o7777) -> None:
    """Give what is ours the rights of the runs folder, so that whoever may add runs may submit."""
    found, wanted = path.stat(), Path(runs).stat()
    if found.st_uid == os.getuid():
        if found.st_gid != wanted.st_gid:
            with contextlib.suppress(PermissionError):  # not a member of that group
                os.chown(path, -1, wanted.st_gid)
        path.chmod(wanted.st_mode & mask | stat.S_IRUSR | stat.S_IWUSR)


@contextlib.contextmanager
def rights_of(runs: Path) -> Iterator[None]:
    """Files that are made meanwhile, also by jobs that are sent, have the rights of the runs folder."""
    before = os.umask(0o077)
    with contextlib.suppress(FileNotFoundError):  # to be made, with the rights that its user wishes
        os.umask(before)
        os.umask(~stat.S_IMODE(Path(runs).stat().st_mode) & 0o077)
    try:
        yield
    finally:
        os.umask(before)


def blocked(action: str, path: Path, error: OSError) -> Unreadable:
    """What keeps us from a file: the first on its way that we may not enter, else the file; and who mends it how."""
    path = Path(path)
    said = f"cannot {action} {path}: {error.strerror or error}"
    if not isinstance(error, PermissionError):
        return Unreadable(said)
    for each in (*reversed(path.parents), path):
        if not _usable(each, action if each == path else "enter"):
            break
    else:
        each = path.parent
    try:
        found = each.stat()
        above = stat.S_IMODE(each.parent.stat().st_mode)
    except OSError:
        return Unreadable(said)
    rights = f"{above:o}" if stat.S_ISDIR(found.st_mode) else "a+rw" if action == "write" else "a+r"
    return Unreadable(
        f"{said}; {each} is {_owner(found.st_uid)}'s, who mends it by: chmod {rights} {shlex.quote(str(each))}"
    )


def _usable(path: Path, action: str) -> bool:
    wanted = {"enter": os.X_OK, "write": os.W_OK, "list": os.R_OK | os.X_OK}.get(action, os.R_OK)
    return not path.exists() or os.access(path, wanted)


def _owner(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"
