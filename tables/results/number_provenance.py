"""NumberProvenance: where one finished number comes from, by the provenance of its run and of its measurement.

Provenance may be missing, damaged or of an older version; what it lacks is left blank and never guessed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...pretrain.data.identity import recorded
from ...pretrain.files.printable import printable
from ...pretrain.records.fingerprint import changed, is_of_files
from ...pretrain.specs.measurement import Measurement, Work

COMMIT_LENGTH = 12  # of the 40 hexadecimal characters of a commit


@dataclass(frozen=True)
class NumberProvenance:
    """Where the number of one seed comes from."""

    digest: str  # of the measurement
    folder: str  # below the runs directory
    seed: int
    commit: str  # of the pretraining and, where it was another, of the measurement
    dirty: bool  # whether the checkout of either had changes that no commit holds
    data: str  # data set, copy and subset
    hardware: str
    seconds: float | None  # wall time of the pretraining and the measurement, as far as known
    stale: tuple[str, ...] = ()  # files that determine the number and have changed since
    unknown: bool = False  # whether the pretraining or the measurement left no fingerprint of such files
    contents: tuple[
        tuple[str, str, str], ...
    ] = ()  # (data, split, digest) of every whole split that was read, if known

    @property
    def checkout(self) -> str:
        """The commit, and whether the checkout had changes that it does not hold."""
        return self.commit + (" (with changes)" if self.dirty else "")


def number_provenance(spec: Measurement, pretraining: dict[str, Any], measurement: dict[str, Any]) -> NumberProvenance:
    """The provenance of a finished measurement's number, from those of its run and its own."""
    both = (pretraining, measurement)
    gits = [_part(provenance, "git") for provenance in both]
    commits = dict.fromkeys(str(git["commit"])[:COMMIT_LENGTH] for git in gits if git.get("commit"))
    seconds = [one["seconds"] for one in both if isinstance(one.get("seconds"), int | float)]
    run_files, run_unknown = _changes(spec.run, pretraining)
    files, unknown = _changes(spec, measurement)
    return NumberProvenance(
        digest=spec.digest,
        folder=spec.folder,
        seed=spec.run.seed,
        commit=printable(", ".join(commits)),
        dirty=any(git.get("dirty") is True for git in gits),
        data=spec.run.data_label,
        hardware=printable(_hardware(_part(pretraining, "hardware") or _part(measurement, "hardware"))),
        seconds=float(sum(seconds)) if seconds else None,
        stale=tuple(map(printable, sorted({*run_files, *files}))) if run_files or files else (),
        unknown=run_unknown or unknown,
        contents=tuple(dict.fromkeys([*_contents(spec.run, pretraining), *_contents(spec, measurement)])),
    )


def _contents(spec: Work, provenance: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(spec.data_name, split, digest) for split, digest in sorted(recorded(spec, provenance).items())]


def _changes(spec: Work, provenance: dict[str, Any]) -> tuple[tuple[str, ...], bool]:
    """The files that have changed since, and whether the record does not tell them."""
    recorded = provenance.get("source")
    if not isinstance(recorded, dict) or not recorded or is_of_files(recorded):
        return (), True
    return changed(recorded, spec), False


def _part(provenance: dict[str, Any], name: str) -> dict[str, Any]:
    part = provenance.get(name)
    return part if isinstance(part, dict) else {}


def _hardware(entry: dict[str, Any]) -> str:
    if not entry:
        return ""
    return str(entry.get("gpu") or f"{entry.get('cpu', '?')}, threads: {entry.get('threads', '?')}")
