"""Checkpoints: trainer state that survives a kill at any moment, even in the middle of writing it.

A file is one line, the SHA-256 of the rest, and the rest; it appears whole or not at all, and the one before it is
kept, so that a file damaged later is noticed, reported and passed over.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from ..files.regular_file import NotRegular, open_regular
from ..files.whole_file import write_whole
from ..records.files import CHECKPOINT_GLOB, checkpoint_name, step_of
from ..runtime.distributed import first_says, rank

MOVES_NO_NUMBER = "saves and loads what it is given; that resuming is exact is tested"

KEPT = 2  # the newest, and one to fall back on
LONGEST = 300  # characters of a reason: torch lists every tensor that does not fit
_KERNELS = ("foreach", "fused")  # which ones an optimiser of torch's uses
WAY_OUT = "move it away to go on from the one before, or from the beginning"


def save(folder: Path, step: int, state: dict[str, Any]) -> Path:
    """Write the state after `step` updates; remove all but the newest KEPT files."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    folder.mkdir(exist_ok=True)
    path = folder / checkpoint_name(step)
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
        checksum, _, content = _content(path).partition(b"\n")
        if hashlib.sha256(content).hexdigest().encode() == checksum:
            return _read(path, content)
        damaged += 1
        aside = path.rename(path.with_suffix(".damaged"))
        print(f"warning: checkpoint {path} is damaged (its checksum differs); moved to {aside.name}", file=sys.stderr)
    if damaged:
        print(f"warning: no sound checkpoint is left in {folder}; starting from the beginning", file=sys.stderr)
    return None


def contents(state: Mapping[str, Any], folder: Path, digest: str) -> dict[str, str]:
    """The digests of the data that a state was made on, by split; none in an older one.

    Raises ValueError when the state, the newest in `folder`, is of another spec than that of this digest.
    """
    if state.get("digest") != digest:
        found = str(state.get("digest", "none"))[:LONGEST]
        raise ValueError(
            f"checkpoint {_newest_first(folder)[0]} is of another spec: its digest is {found}, this one's "
            f"is {digest}; {WAY_OUT}"
        )
    found = state.get("splits", {})
    return {split: value for split, value in found.items() if isinstance(value, str)} if isinstance(found, dict) else {}


@contextlib.contextmanager
def restoring(folder: Path) -> Iterator[None]:
    """While the newest state of `folder` is taken over: whatever does not fit is one ValueError with the file."""
    path = _newest_first(folder)[0]
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, IndexError) as error:
        lacking = f"it lacks {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:LONGEST]
        raise ValueError(f"checkpoint {path} does not fit this run: {lacking}; {WAY_OUT}") from error


def whole_number(value: Any, most: int | None = None) -> int:
    """A stored count. Raises ValueError on anything else, or more than `most`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0 or (most is not None and value > most):
        raise ValueError(f"{value!r} is no whole number from 0{'' if most is None else f' to {most}'}")
    return value


def restore_optimizer(optimizer: torch.optim.Optimizer, saved: Any) -> None:
    """Load a state into an optimiser, which keeps its own kernels. Raises ValueError where it is of other parameters.

    The state may be of another device, where other kernels did the same updates.
    """
    kernels = [{name: group[name] for name in _KERNELS if name in group} for group in optimizer.param_groups]
    groups = [group | kept for group, kept in zip(saved["param_groups"], kernels, strict=True)]
    optimizer.load_state_dict(saved | {"param_groups": groups})
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if not isinstance(value, torch.Tensor) or not value.ndim:
                continue
            if value.shape != parameter.shape:
                shapes = f"{tuple(value.shape)} for a parameter of {tuple(parameter.shape)}"
                raise ValueError(f"the optimizer's {name} has the shape {shapes}")
            if value.stride() != parameter.stride():  # of a session with another memory format
                state[name] = torch.empty_like(parameter).copy_(value)


def _content(path: Path) -> bytes:
    """What a file holds; nothing, which no checksum fits, where it is no regular file."""
    try:
        with open_regular(path) as handle:
            return handle.read()
    except NotRegular:
        return b""


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
    named = {path: step_of(path.name) for path in folder.glob(CHECKPOINT_GLOB)}
    return sorted((path for path in named if named[path] is not None), key=lambda path: named[path] or 0, reverse=True)
