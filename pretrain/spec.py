"""Spec: a frozen value that determines a number, its content digest and its JSON form.

A spec names what was computed and nothing about where or how fast: no path, device or worker count. Two specs with
equal digests are the same experiment, so the digest names the folder its results live in.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, ClassVar, Self

DIGEST_LENGTH = 12  # hexadecimal characters, 48 bits: a collision among 10,000 specs has odds below 1 in 5 million


@dataclass(frozen=True, kw_only=True)
class Spec:
    """Base of every spec. Subclasses are frozen keyword-only dataclasses of numbers, strings, tuples and specs."""

    _kinds: ClassVar[dict[str, type[Spec]]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        Spec._kinds[cls.__qualname__] = cls

    @cached_property
    def digest(self) -> str:
        """Content digest over the class name and the fields that differ from their defaults.

        Leaving defaults out lets a later version add a field without renaming every folder; in return the default
        of a released field never changes. Raises ValueError, naming the field, on NaN or infinity.
        """
        text = json.dumps(self._changes, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_LENGTH]

    @cached_property
    def _changes(self) -> dict[str, Any]:
        """The fields that differ from their defaults; kept, as an evaluation and a table ask for its run's again."""
        return _encode_spec(self, defaults=False)

    def to_dict(self) -> dict[str, Any]:
        """Every field, defaults included, as plain JSON values; nested specs are `{class name: fields}`."""
        return _encode_spec(self, defaults=True)

    @classmethod
    def from_dict(cls, encoded: dict[str, Any]) -> Self:
        """The inverse of `to_dict`. Raises ValueError on another kind of spec or an unknown field."""
        spec = _decode(encoded)
        if not isinstance(spec, cls):
            raise ValueError(f"expected a spec of kind {cls.__qualname__}, found {next(iter(encoded), 'nothing')!r}")
        return spec


def _encode_spec(spec: Spec, *, defaults: bool) -> dict[str, Any]:
    kind, fields = type(spec).__qualname__, {}
    for name, default in _fields(type(spec)):  # type: ignore[arg-type]  # a class hashes; mypy asks its instances
        setting = getattr(spec, name)
        if defaults or (setting is not default and setting != default):
            fields[name] = _encode(setting, f"{kind}.{name}", defaults=defaults)
    return {kind: fields}


def _encode(setting: Any, name: str, *, defaults: bool) -> Any:
    if isinstance(setting, Spec):
        return setting.to_dict() if defaults else setting._changes
    if isinstance(setting, tuple):
        return [_encode(item, name, defaults=defaults) for item in setting]
    if isinstance(setting, float):
        if not math.isfinite(setting):
            raise ValueError(f"{name} must be a finite number, not {setting}")
        return int(setting) if setting.is_integer() else setting  # 1.0 and 1 are the same setting: the same digest
    if setting is None or isinstance(setting, bool | int | str):
        return setting
    raise TypeError(f"{name} holds a {type(setting).__name__}; a spec holds numbers, strings, tuples and specs")


@cache
def _fields(kind: type[Spec]) -> tuple[tuple[str, Any], ...]:
    """Name and default of every field; MISSING, which equals no setting, where there is no default."""
    return tuple(
        (field.name, field.default if field.default_factory is dataclasses.MISSING else field.default_factory())
        for field in dataclasses.fields(kind)
    )


def _decode(encoded: Any) -> Any:
    if isinstance(encoded, dict):
        if len(encoded) != 1:
            raise ValueError(f"a spec is one class name with its fields, not {len(encoded)} names")
        ((name, fields),) = encoded.items()
        kind = Spec._kinds.get(name)
        if kind is None:
            raise ValueError(f"unknown kind of spec {name!r}; known: {', '.join(sorted(Spec._kinds))}")
        known = {field.name for field in dataclasses.fields(kind)}
        if unknown := sorted(set(fields) - known):
            raise ValueError(f"unknown field {unknown[0]!r} of {name}; known: {', '.join(sorted(known))}")
        return kind(**{key: _decode(value) for key, value in fields.items()})
    if isinstance(encoded, list):
        return tuple(_decode(item) for item in encoded)
    return encoded
