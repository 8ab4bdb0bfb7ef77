"""Fields: what the records of others may hold, name by name, so that no wrong type or range becomes a number.

A field that is absent, or null, is unknown; a field that is there is right, or its file is damaged. Fields that are not
listed are ignored. Imports no torch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .stored_json import shortened

LONGEST_S = 1e10  # three hundred years of wall time
MOST = 10**6  # of processes, threads and cores


@dataclass(frozen=True)
class Field:
    """One field: whether a value is right, and in words what would be."""

    right: Callable[[Any], bool]
    words: str


Fields = Mapping[str, "Field | Fields"]


def number(least: float, most: float) -> Field:
    """A number in this range, its ends included."""

    def right(value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most

    return Field(right, f"a number from {least:g} to {most:g}")


def whole(least: int, most: int) -> Field:
    """A whole number in this range, its ends included."""

    def right(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most

    return Field(right, f"a whole number from {least} to {most:,}")


TEXT = Field(lambda value: isinstance(value, str), "text")
SHA256 = Field(lambda value: isinstance(value, str) and bool(re.fullmatch("[0-9a-f]{64}", value)), "64 digits")
FLAG = Field(lambda value: isinstance(value, bool), "true or false")
TEXTS = Field(
    lambda value: isinstance(value, dict) and all(isinstance(text, str) for text in value.values()), "texts by name"
)

PROVENANCE: Fields = {
    "spec": TEXT,
    "digest": TEXT,
    "data_digest": TEXT,
    "results_sha256": SHA256,
    "git": {"commit": TEXT, "dirty": FLAG},
    "source": TEXTS,
    "versions": TEXTS,
    "hardware": {"gpu": TEXT, "cpu": TEXT, "device": TEXT, "threads": whole(1, MOST), "cores": whole(1, MOST)},
    "seconds": number(0, LONGEST_S),
    "processes": whole(1, MOST),
}
PRETRAINED: Fields = {"seconds": number(0, LONGEST_S), "images_per_second": number(0, 1e12)}  # of its results.json
LOGGED: Fields = {  # a line of metrics.jsonl; bounds of what a picture can show
    "kind": TEXT,
    "step": whole(0, 10**12),
    "epoch": number(0, 1e9),
    "loss": number(-1e30, 1e30),
    "loss_ssl": number(-1e30, 1e30),
    "knn/top1": number(0, 1),
    "images_per_second": number(0, 1e12),
}
FAILED: Fields = {"error": TEXT}


def check_fields(value: Mapping[str, Any], fields: Fields, where: object) -> None:
    """Raise ValueError, which begins with `where` and names the field, unless every listed one is right or unknown."""
    for name, field in fields.items():
        given = value.get(name)
        if given is None:
            continue
        if isinstance(field, Field):
            if not field.right(given):
                raise ValueError(f"{where}: {name!r} is {shortened(repr(given))}, not {field.words}")
        elif not isinstance(given, dict):
            raise ValueError(f"{where}: {name!r} is {shortened(repr(given))}, not an object")
        else:
            check_fields(given, field, f"{where}: {name}")
