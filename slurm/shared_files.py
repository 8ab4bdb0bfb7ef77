"""Shared files: those that several people write and read below one runs folder.

A file that we make gets the rights of the runs folder, whatever the umask. A file that cannot be read is an error and
does not count as empty: the error names the file, its owner and the remedy. Data of others is checked field by field.
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
    """A file exists and cannot be read or written: its content is not known."""


@dataclass(frozen=True)
class Text:
    """A field that holds a string, all of which `pattern` matches."""

    pattern: str = r"[^\0]*"
    most: int = LONGEST  # characters

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, str) or len(value) > self.most or not re.fullmatch(self.pattern, value, re.DOTALL):
            return False
        return not any("\ud800" <= character <= "\udfff" for character in value)  # no file system can store it

    def __str__(self) -> str:
        return f"a text of at most {self.most} characters" + (
            f" like {self.pattern}" if "^" not in self.pattern else ""
        )


@dataclass(frozen=True)
class Number:
    """A field that holds a number in a range, both ends included; `whole`: an integer."""

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
    """A field that holds one of the known words."""

    known: tuple[str, ...]

    def __contains__(self, value: object) -> bool:
        return isinstance(value, str) and value in self.known

    def __str__(self) -> str:
        return f"one of {', '.join(self.known)}"


@dataclass(frozen=True)
class Flag:
    """A field that holds true or false."""

    def __contains__(self, value: object) -> bool:
        return isinstance(value, bool)

    def __str__(self) -> str:
        return "true or false"


Field = Text | Number | Word | Flag


def fields_of(
    stored: Mapping[str, Any], known: Mapping[str, Field], where: object, optional: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The known fields. Raises ValueError, naming the field, on a wrong value; it ignores fields of later versions."""
    for name, kind in known.items():
        if name not in stored:
            if name in optional:
                continue
            raise ValueError(f"{where}: {name} is missing; expected {kind}")
        if stored[name] not in kind:
            raise ValueError(f"{where}: {name} must be {kind}")
    return {name: stored[name] for name in known if name in stored}


def read_regular(path: Path) -> bytes:
    """A file's content. Raises FileNotFoundError where the file is missing, Unreadable where it cannot be read."""
    with open_regular(path) as file:
        try:
            return file.read()
        except OSError as error:
            raise blocked("read", path, error) from error


def open_regular(path: Path) -> io.BufferedReader:
    """Open a regular file to read, never a folder or a pipe; raises as `read_regular`."""
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
    """The objects that `make` makes of the lines of JSON, and one remark on damaged lines, or "".

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
    """The sorted names in a folder, none where it is missing. Raises Unreadable where it cannot be listed."""
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise blocked("list", folder, error) from error


def append_text(runs: Path, path: Path, text: str, mask: int = 0o644) -> None:
    """Append to this user's own file; the text is then on disk. Raises Unreadable where it cannot write."""
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
    """Make a folder below the runs folder, and its parents, with the same rights. Raises Unreadable where it cannot."""
    runs = Path(runs)
    for part in (runs, *reversed([above for above in folder.parents if runs in above.parents]), folder):
        try:
            part.mkdir(parents=part == runs, exist_ok=True)
            if part != runs:
                share(runs, part)
        except OSError as error:
            raise blocked("make", part, error) from error


def share(runs: Path, path: Path, mask: int = 0o7777) -> None:
    """Give our own file the rights of the runs folder, so that every person who may add runs may submit."""
    ours, wanted = path.stat(), Path(runs).stat()
    if ours.st_uid == os.getuid():
        if ours.st_gid != wanted.st_gid:
            with contextlib.suppress(PermissionError):  # not a member of that group
                os.chown(path, -1, wanted.st_gid)
        path.chmod(wanted.st_mode & mask | stat.S_IRUSR | stat.S_IWUSR)


@contextlib.contextmanager
def rights_of(runs: Path) -> Iterator[None]:
    """New files get the rights of the runs folder meanwhile, also those of jobs that are submitted meanwhile."""
    before = os.umask(0o077)
    with contextlib.suppress(FileNotFoundError):  # the user's umask then gives the rights of the new folder
        os.umask(before)
        os.umask(~stat.S_IMODE(Path(runs).stat().st_mode) & 0o077)
    try:
        yield
    finally:
        os.umask(before)


def blocked(action: str, path: Path, error: OSError) -> Unreadable:
    """The error of a file that we may not use: it names the folder or file at fault, and the remedy."""
    path = Path(path)
    problem = f"cannot {action} {path}: {error.strerror or error}"
    if not isinstance(error, PermissionError):
        return Unreadable(problem)
    for part in (*reversed(path.parents), path):
        if not _usable(part, action if part == path else "enter"):
            break
    else:
        part = path.parent
    try:
        status = part.stat()
        above = stat.S_IMODE(part.parent.stat().st_mode)
    except OSError:
        return Unreadable(problem)
    rights = f"{above:o}" if stat.S_ISDIR(status.st_mode) else "a+rw" if action == "write" else "a+r"
    return Unreadable(
        f"{problem}; {part} is {_owner(status.st_uid)}'s, who mends it by: chmod {rights} {shlex.quote(str(part))}"
    )


def _usable(path: Path, action: str) -> bool:
    wanted = {"enter": os.X_OK, "write": os.W_OK, "list": os.R_OK | os.X_OK}.get(action, os.R_OK)
    return not path.exists() or os.access(path, wanted)


def _owner(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"
