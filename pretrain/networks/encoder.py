"""Encoder: the trunk of a finished run, and the one reader of its encoder.safetensors, which checks what it reads.

The metadata of the file hold the digest of the run, and provenance holds the SHA-256 of the file; older records have
neither.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ..files.regular_file import open_regular
from ..records.record import Record
from ..runtime.settings import own_settings
from ..specs.run import Run
from .build import build_backbone

ENCODER = "encoder.safetensors"
SHOWN = 12  # hexadecimal digits of a digest that a sentence gives


@own_settings()
def finished_backbone(runs: Path, run: Run) -> nn.Module:
    """The backbone of a finished run with its trained weights. Raises ValueError when it is unfinished or damaged."""
    record = Record(runs, run)
    status = record.status
    if status != "done":
        raise ValueError(f"the run {record.path} is {status}, not done; finish it first: {_finishing(runs, run)}")
    dataset = run.data
    backbone = build_backbone(run.backbone, run.views[0].size or dataset.view_size, dataset)
    weights = read_encoder(record)
    try:
        backbone.load_state_dict(weights)
    except RuntimeError as error:
        file, reason = record.path / ENCODER, " ".join(str(error).split())
        raise ValueError(f"cannot read {file}: {reason}; expected the weights of a {run.backbone.name}") from error
    return backbone


def _finishing(runs: Path, run: Run) -> str:
    """The command that finishes a run."""
    given = ("evaluate", "FILE") if run.kind == "import" else ("pretrain", run.method)
    words = ["compmod", *given, "--dataset", run.dataset, "--seed", str(run.seed), "--runs", str(runs)]
    file = f" FILE with {run.label}" if run.kind == "import" else ""
    return f"{shlex.join(words)},{file} and the other settings it has"


def encoder_checksum(record: Record) -> str:
    """SHA-256 of the encoder that a finished run wrote, as its provenance has it; "" in an older record.

    Raises ValueError when the provenance is damaged.
    """
    checksum = (record.provenance or {}).get("encoder_sha256", "")
    if not isinstance(checksum, str):
        raise ValueError(
            f"damaged record {record.path / 'provenance.json'}: encoder_sha256 is {checksum!r}, not a text"
        )
    return checksum


def read_encoder(record: Record) -> dict[str, Tensor]:
    """The weights that a finished run wrote, under the names of its trunk.

    Raises ValueError, with what to do, when the file is unreadable, damaged or of another run.
    """
    file, expected = record.path / ENCODER, encoder_checksum(record)
    way_out = f"put the file back, or delete {record.path} and pretrain again"
    try:
        if expected and (checksum := _checksum(file)) != expected:
            raise ValueError(
                f"{file} is not what this run wrote, it was damaged or replaced: its SHA-256 is {checksum[:SHOWN]}, "
                f"provenance.json has {expected[:SHOWN]}; {way_out}"
            )
        open_regular(file).close()
        with safe_open(file, framework="pt") as stored:
            digest = (stored.metadata() or {}).get("digest", "none")
            weights = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ValueError(f"cannot read {file}: {' '.join(str(error).split())}; {way_out}") from error
    if digest != record.spec.digest:
        raise ValueError(
            f"{file} is another run's: it holds the digest {digest}, this run's is {record.spec.digest}; {way_out}"
        )
    return weights


def check_same_encoder(folder: Path, state: Mapping[str, Any], checksum: str) -> None:
    """Raise ValueError where what stopped in `folder` was begun on another encoder than that of this SHA-256."""
    before = state.get("encoder")
    if checksum and isinstance(before, str) and before and before != checksum:
        raise ValueError(
            f"{folder} was begun on another encoder: its SHA-256 was {before[:SHOWN]} and now is {checksum[:SHOWN]}; "
            f"put the run's old files back, or delete {folder} to begin again"
        )


def _checksum(file: Path) -> str:
    with open_regular(file) as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
