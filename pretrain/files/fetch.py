"""Fetch: a file from the network. It says what it downloads to where, shows progress, and leaves whole files only."""

from __future__ import annotations

import hashlib
import http.client
import os
import sys
import time
import urllib.request
from pathlib import Path
from typing import BinaryIO
from urllib.error import HTTPError, URLError

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

PIECE = 1 << 20  # bytes read at once
PATIENCE_S = 30.0  # for a server that says nothing
PLAIN_EVERY_S = 30.0  # without a terminal: seconds between lines


def fetch(url: str, path: Path, md5: str) -> None:
    """Download `url` to `path`, unless the file with this MD5 is there.

    Raises OSError where the network fails, and ValueError where the content has another MD5.
    """
    if path.is_file() and _md5(path) == md5:
        print(f"{path} is there already", file=sys.stderr, flush=True)
        return
    print(f"downloading {url} to {path}", file=sys.stderr, flush=True)
    part = path.with_name(f"{path.name}.part")
    request = urllib.request.Request(url, headers={"User-Agent": "compmod"})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            total = int(answer.headers.get("Content-Length") or 0)
            print(f"it has {decimal(total) if total else 'an unknown size'}", file=sys.stderr, flush=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(part, "wb") as file:
                received = _copy(answer, file, total)
        if received < total:
            raise OSError(f"the connection ended after {decimal(received)} of {decimal(total)}")
        if (found := _md5(part)) != md5:
            raise ValueError(f"{url} has the MD5 {found}, not {md5}: it is not the official file")
        os.replace(part, path)
    except URLError as error:
        raise OSError(f"{error.code} {error.reason}" if isinstance(error, HTTPError) else str(error.reason)) from error
    except http.client.HTTPException as error:  # no OSError
        raise OSError(f"{type(error).__name__}: {error}") from error
    finally:
        part.unlink(missing_ok=True)


def _copy(answer: BinaryIO, file: BinaryIO, total: int) -> int:
    """Write what the server sends; the number of bytes."""
    console = Console(stderr=True)
    columns = BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()
    received, spoke = 0, time.monotonic()
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("", total=total or None)
        while piece := answer.read(PIECE):
            file.write(piece)
            received += len(piece)
            bar.update(task, completed=received)
            if bar.disable and time.monotonic() - spoke >= PLAIN_EVERY_S:
                spoke = time.monotonic()
                of = f" of {decimal(total)}" if total else ""
                print(f"downloaded {decimal(received)}{of}", file=sys.stderr, flush=True)
    return received


def _md5(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
