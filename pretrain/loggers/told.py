"""Told: what a foreign logger is told of a training: names from the spec, and the spec itself as its configuration."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..specs.measurement import Work

PROJECT = "compmod"  # the variables of each package name another one


@dataclass(frozen=True)
class Told:
    """One run of a foreign logger."""

    id: str  # of this run alone, also where the same spec is trained again in another folder
    name: str
    group: str
    tags: dict[str, str]
    config: dict[str, bool | int | float | str | None]


def told(spec: Work, id: str) -> Told:
    """What to tell of a spec's training."""
    run = spec.run
    method = "imported" if run.kind == "import" else run.method  # weights of others have no method of ours
    parts = [method, run.dataset, f"seed{run.seed}", *([] if spec.kind == "pretraining" else [spec.kind]), id]
    tags = {"method": method, "dataset": run.dataset, "kind": spec.kind}
    (fields,) = spec.to_dict().values()
    return Told(id, "-".join(parts), f"{method}-{run.dataset}", tags, dict(_flat(fields, "")))


def _flat(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Settings by names such as optimizer.lr, views.0.blur and options.temperature."""
    if isinstance(value, dict):
        if len(value) == 1 and all(isinstance(fields, dict) for fields in value.values()):  # a spec inside a spec
            (value,) = value.values()
        parts = value.items()
    elif isinstance(value, list):
        pairs = all(isinstance(item, list) and len(item) == 2 and isinstance(item[0], str) for item in value)
        parts = value if pairs else enumerate(value)
    else:
        yield name, value
        return
    for key, part in parts:
        yield from _flat(part, f"{name}.{key}" if name else str(key))
