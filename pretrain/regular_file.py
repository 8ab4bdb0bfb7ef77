"""Regular file: opening what others may have replaced by a pipe, which would be waited for without end."""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path


class NotRegular(OSError):
    """What lies under a path is no regular file."""


def open_regular(path: Path) -> io.BufferedReader:
    """A regular file to read. Raises NotRegular for anything else, and OSError as `open` does."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return open(handle, "rb")
    os.close(handle)
    raise NotRegular(errno.EINVAL, "no regular file", str(path))
