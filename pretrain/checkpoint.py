"""Checkpoints: trainer state that survives a kill at any moment, even in the middle of writing it.

A file is one line, the SHA-256 of the rest, and the rest; it appears whole or not at all, and the one before it is
kept, so that a file damaged later is noticed, reported and passed over.
"""

from __future__ import annotations

import hashlib
import io
import sys
from pathlib import Path
from typing import Any

import torch

from .distributed import first_says, rank
from .record import step_of, write_whole

KEPT = 2  # the newest, and one to fall back on


def save(folder: Path, step: int, state: dict[str, Any]) -> Path:
    """Write the state after `step` updates; remove all but the newest KEPT files."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    folder.mkdir(exist_ok=True)
    path = folder / f"step-{step:09d}.pt"
    write_whole(path, hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
    for old in _newest_first(folder)[KEPT:]:
        old.unlink()
    for part in folder.glob(".step-*"):  # what a killed process left behind
        part.unlink()
    return path


def load_on_all(folder: Path) -> dict[str, Any] | None:
    """What `load_newest` gives, on every process of the run; the first one alone moves damaged files aside."""
    state = load_newest(folder) if rank() == 0 else None
    first_says(None)
    return load_newest(folder) if rank() > 0 else state


def load_newest(folder: Path) -> dict[str, Any] | None:
    """The newest undamaged state, on the CPU, or None when there is none; each damaged file is reported.

    Raises ValueError when a file is whole and yet no state of tensors and plain values: damage does not make that.
    """
    damaged = 0
    for path in _newest_first(folder):
        checksum, _, content = path.read_bytes().partition(b"\n")
        if hashlib.sha256(content).hexdigest().encode() == checksum:
            return _read(path, content)
        damaged += 1
        aside = path.rename(path.with_suffix(".damaged"))
        print(f"warning: checkpoint {path} is damaged (its checksum differs); moved to {aside.name}", file=sys.stderr)
    if damaged:
        print(f"warning: no sound checkpoint is left in {folder}; starting from the beginning", file=sys.stderr)
    return None


def _read(path: Path, content: bytes) -> dict[str, Any]:
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load documents no type, and its message advises to read the pickle unsafely
        raise _foreign(path, type(error).__name__) from error
    if not isinstance(state, dict):
        raise _foreign(path, f"a {type(state).__name__}")
    return state


def _foreign(path: Path, found: str) -> ValueError:
    return ValueError(
        f"checkpoint {path} is undamaged but no state of ours (found: {found}; expected: a dict of tensors and plain "
        "values); move it away to go on from the one before"
    )


def _newest_first(folder: Path) -> list[Path]:
    named = {path: step_of(path.name) for path in folder.glob("step-*.pt")}
    return sorted((path for path in named if named[path] is not None), key=lambda path: named[path] or 0, reverse=True)
