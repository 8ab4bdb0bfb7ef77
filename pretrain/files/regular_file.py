"""Regular file: opening a file that others may have replaced by a pipe, on which `open` would wait without end."""

from __future__ import annotations

import errno
import io
import os
import stat


class NotRegular(OSError):
    """The path is not that of a regular file."""


def open_regular(path: str | os.PathLike[str]) -> io.BufferedReader:
    """A regular file to read. Raises OSError as `open` does, NotRegular for a pipe, a device and the like."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(handle).st_mode
    if stat.S_ISREG(mode):
        return open(handle, "rb")
    os.close(handle)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    raise NotRegular(errno.EINVAL, "no regular file", os.fspath(path))
