"""Imported: an encoder that others trained, kept as a finished run, so that all that measures a run measures it."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from safetensors.torch import save as serialise
from torch import Tensor

from ..files.whole_file import write_whole
from ..networks.encoder import ENCODER
from ..records.provenance import provenance
from ..records.record import Record
from ..specs.imported import Imported
from ..specs.run import Backbone, Stem
from ..training.session import Session
from .names import trunk_of
from .read import read_tensors
from .recognise import completed, recognised


class Foreign(NamedTuple):
    """An encoder in a file of others."""

    backbone: Backbone
    state: dict[str, Tensor]  # under torchvision's names, float32
    sha256: str  # of the file
    dropped: tuple[str, ...]  # parts of the file that are no trunk, and what they are
    ignored: tuple[str, ...]  # classes of the objects beside the tensors


def read_foreign(file: Path, stem: Stem | None = None) -> Foreign:
    """The encoder in a file of weights; `stem` says what weights do not, as of `recognised`.

    Raises ValueError, which names the file and the tensors, where it is no ResNet of ours.
    """
    stored = read_tensors(file)
    try:
        trunk = trunk_of(stored.tensors)
        backbone = recognised(trunk.state, stem)
        return Foreign(backbone, completed(trunk.state), stored.sha256, trunk.dropped, stored.ignored)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def import_weights(runs: Path, foreign: Foreign, spec: Imported, file: Path) -> Record:
    """Keep an encoder as a finished run in a folder of its own below `runs`; at once where it is there.

    `file` is where it came from. Raises ValueError where another command imports the same.
    """
    record = Record(runs, spec)
    if record.status == "done":
        return record
    started = time.monotonic()
    with record.lock():
        if record.results is not None:  # another command finished it since
            return record
        record.start()
        content = serialise(foreign.state, metadata={"digest": spec.digest})
        write_whole(record.path / ENCODER, content)
        results: dict[str, Any] = {
            "weights": spec.weights,
            "backbone": f"{spec.backbone.name}, width {spec.backbone.width}, stem {spec.backbone.stem}",
            **spec.stated(),
            "dropped": list(foreign.dropped),
            "ignored": list(foreign.ignored),
        }
        extra = {"encoder_sha256": hashlib.sha256(content).hexdigest(), "file": file.name}
        made_of = provenance(spec, seconds=time.monotonic() - started, device="cpu", extra=extra)
        record.finish(results, made_of)
    return record


def import_again(runs: Path, spec: Imported, data: Path, session: Session) -> NoReturn:
    """Raise ValueError: only the file of weights can be imported again, and a spec has not its path."""
    raise ValueError(
        f"no encoder in {Record(runs, spec).path}: give the file of SHA-256 {spec.weights} to 'compmod evaluate FILE "
        f"--dataset {spec.dataset}' with the other settings it has"
    )
