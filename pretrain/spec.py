"""Spec: a frozen value that determines a number, its content digest and its JSON form.

A spec names what was computed and nothing about where or how fast: no path, device or worker count. Two specs with
equal digests are the same experiment, so the digest names the folder its results live in.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any, ClassVar, Self

DIGEST_LENGTH = 12  # hexadecimal characters, 48 bits: a collision among 10,000 specs has odds below 1 in 5 million


@dataclass(frozen=True, kw_only=True)
class Spec:
    """Base of every spec. Subclasses are frozen keyword-only dataclasses of numbers, strings, tuples and specs."""

    _kinds: ClassVar[dict[str, type[Spec]]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        Spec._kinds[cls.__qualname__] = cls

    @property
    def digest(self) -> str:
        """Content digest over the class name and the fields that differ from their defaults.

        Leaving defaults out lets a later version add a field without renaming every folder; in return the default
        of a released field never changes.
        """
        text = json.dumps(_encode(self, defaults=False), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_LENGTH]

    def to_dict(self) -> dict[str, Any]:
        """Every field, defaults included, as plain JSON values; nested specs are `{class name: fields}`."""
        encoded: dict[str, Any] = _encode(self, defaults=True)
        return encoded

    @classmethod
    def from_dict(cls, encoded: dict[str, Any]) -> Self:
        """The inverse of `to_dict`. Raises ValueError on another kind of spec or an unknown field."""
        spec = _decode(encoded)
        if not isinstance(spec, cls):
            raise ValueError(f"expected a {cls.__qualname__} spec, found {next(iter(encoded), 'nothing')!r}")
        return spec


def _encode(value: Any, *, defaults: bool) -> Any:
    if isinstance(value, Spec):
        fields = {
            field.name: _encode(getattr(value, field.name), defaults=defaults)
            for field in dataclasses.fields(value)
            if defaults or getattr(value, field.name) != _default(field)
        }
        return {type(value).__qualname__: fields}
    if isinstance(value, tuple):
        return [_encode(item, defaults=defaults) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)  # 1.0 and 1 are the same setting, so they must give the same digest
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a spec holds numbers, strings, tuples and specs, not {type(value).__name__}")


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _decode(encoded: Any) -> Any:
    if isinstance(encoded, dict):
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
