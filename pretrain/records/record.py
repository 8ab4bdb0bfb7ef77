"""Record: the folder of one spec. Its files appear whole or not at all, and it knows how far the work got.

A finished folder holds spec.json, results.json and provenance.json. That of a pretraining also holds metrics.jsonl and
encoder.safetensors. A folder without results.json is unfinished; where it has failed.json, an error stopped the work.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from ..files.stored_json import parse_object, read_object, shortened
from ..files.whole_file import write_whole
from ..specs import imported  # noqa: F401  # so that a stored one is known
from ..specs.measurement import Work
from ..specs.run import Run
from ..specs.spec import Spec
from .files import FAILURE_FILE, PROVENANCE_FILE, RESULTS_FILE, SPEC_FILE
from .fingerprint import remember_sources

CHECKSUM = "results_sha256"  # in provenance.json
LOCK_TRIES, LOCK_WAIT_S = 5, 0.05  # a process that reads the status, as a table does, holds the lock for a moment
Status = Literal["absent", "running", "unfinished", "failed", "done", "damaged"]


class InUse(ValueError):
    """Another process works on this folder."""


class Record:
    """The folder of `spec` below the runs directory `runs`."""

    def __init__(self, runs: Path, spec: Work) -> None:
        self.spec = spec
        self.path = Path(runs) / spec.folder

    @classmethod
    def open(cls, folder: Path) -> Record:
        """The record whose spec is stored in `folder`. Raises ValueError when there is none, or it is damaged."""
        spec_file = Path(folder) / SPEC_FILE
        try:
            stored = read_object(spec_file)
            spec = Spec.from_dict(stored) if stored is not None else None
        except (ValueError, TypeError, AttributeError) as error:
            reason = shortened(str(error).removeprefix(f"{spec_file}: "))
            raise ValueError(f"damaged spec {spec_file}: {reason}") from error
        if spec is None:
            raise ValueError(f"no spec.json in {folder}; expected the folder of a run, such as runs/simclr-cifar10-…")
        if not isinstance(spec, Work):
            raise ValueError(f"{spec_file} holds a {type(spec).__name__}; expected a Run or a measurement of one")
        record = cls(Path(folder), spec)
        record.path = Path(folder)
        return record

    @classmethod
    def run_in(cls, folder: Path) -> Run:
        """The run of the folder `folder`, a resolved path. Raises ValueError on another folder, or on a renamed one."""
        spec = cls.open(folder).spec
        if not isinstance(spec, Run):
            raise ValueError(f"{folder} is a measurement; give the folder of the run, {folder.parent}")
        if folder.name != spec.folder:
            raise ValueError(f"{folder} was renamed; its spec names it {spec.folder}")
        return spec

    @property
    def status(self) -> Status:
        """How far the work got, read from the folder alone."""
        if not self.path.is_dir():
            return "absent"
        try:
            if self.results is not None:
                return "done"
        except ValueError:
            return "damaged"
        if self._locked_elsewhere():
            return "running"
        return "failed" if (self.path / FAILURE_FILE).exists() else "unfinished"

    @property
    def results(self) -> dict[str, Any] | None:
        """The finished results, or None. Raises ValueError, naming the file, when it is damaged or was changed."""
        results = self._read(RESULTS_FILE)
        if results is not None:
            try:
                provenance = self.provenance or {}
            except ValueError:  # a caller of `provenance` gets this error
                provenance = {}
            check_unchanged(results, provenance, f"damaged record {self.path / 'results.json'}")
        return results

    @property
    def provenance(self) -> dict[str, Any] | None:
        """Where the results come from, or None before the work is finished."""
        return self._read(PROVENANCE_FILE)

    def start(self) -> None:
        """Create the folder with its spec; remove an earlier failure and the incomplete files of a killed process."""
        remember_sources()  # as they are when the work begins: it may end after they were edited
        self.path.mkdir(parents=True, exist_ok=True)
        for part in self.path.glob(".*.[0-9]*"):
            part.unlink()
        self.write_json(SPEC_FILE, self.spec.to_dict())
        (self.path / FAILURE_FILE).unlink(missing_ok=True)

    def finish(self, results: dict[str, Any], provenance: dict[str, Any]) -> None:
        """Write provenance with the checksum of the results, then the results: results.json makes a record done."""
        content = _content(results)
        self.write_json(PROVENANCE_FILE, provenance | {CHECKSUM: results_checksum(parse_object(content, "results"))})
        write_whole(self.path / RESULTS_FILE, content)

    def fail(self, error: str) -> None:
        """Note why the work stopped."""
        self.write_json(FAILURE_FILE, {"error": error})

    def write_json(self, name: str, value: dict[str, Any]) -> None:
        """Write `value` as the file `name`, whole or not at all. Raises ValueError on NaN or infinity."""
        write_whole(self.path / name, _content(value))

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold this folder for one process; the system frees it however the process ends.

        Raises InUse when another process holds it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with open(self.path / "lock", "a+") as handle:
            for tries_left in range(LOCK_TRIES, 0, -1):
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if tries_left == 1:
                        reason = "is in use by another process; wait for it or stop it first"
                        raise InUse(f"{self.path} {reason}") from None
                time.sleep(LOCK_WAIT_S)
            yield

    def _locked_elsewhere(self) -> bool:
        lock_file = self.path / "lock"
        if not lock_file.exists():
            return False
        with open(os.open(lock_file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)) as handle:  # do not wait for a pipe
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False

    def _read(self, name: str) -> dict[str, Any] | None:
        """The stored object, or None where there is none. Raises ValueError, naming the file, when it is damaged."""
        try:
            return read_object(self.path / name)
        except ValueError as error:
            raise ValueError(f"damaged record {error}") from error


def _content(value: dict[str, Any]) -> bytes:
    """The bytes of a JSON file; a path of the command line may contain bytes that are not UTF-8."""
    return (json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode(errors="replace")


def results_checksum(results: Mapping[str, Any]) -> str:
    """SHA-256 of results as values: the layout of a file does not matter."""
    return hashlib.sha256(json.dumps(results, sort_keys=True, allow_nan=False).encode()).hexdigest()


def check_unchanged(results: Mapping[str, Any], provenance: Mapping[str, Any], where: object) -> None:
    """Raise ValueError, which begins with `where`, unless results are those that were written with their provenance.

    An older record holds no checksum; then there is nothing to compare.
    """
    expected = provenance.get(CHECKSUM)
    if expected is not None and expected != results_checksum(results):
        raise ValueError(f"{where}: not what was measured: its checksum is not the {CHECKSUM} of provenance.json")
