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

from .fields import check_fields

DIGEST_LENGTH = 12  # hexadecimal characters, 48 bits: a collision among 10,000 specs has odds below 1 in 5 million


@dataclass(frozen=True, kw_only=True)
class Spec:
    """Base of every spec. Subclasses are frozen keyword-only dataclasses of numbers, strings, tuples and specs.

    The constructor raises ValueError, which names class and field, on a value that the type of the field does not
    allow: a word that its Literal lacks, a number outside its Range, NaN or infinity.
    """

    _classes: ClassVar[dict[str, type[Spec]]] = {}  # by name; the class statement adds to it

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        Spec._classes[cls.__qualname__] = cls

    def __post_init__(self) -> None:
        check_fields(self)

    @cached_property
    def digest(self) -> str:
        """Content digest over the class name and the fields that differ from their defaults.

        Defaults are left out so that a later version can add a field and every folder keeps its name. In return, the
        default of a released field never changes. Raises ValueError, which names the field, on NaN or infinity.
        """
        return hashlib.sha256(self._canonical.encode()).hexdigest()[:DIGEST_LENGTH]

    @cached_property
    def _canonical(self) -> str:
        """The fields that differ from their defaults as JSON, sorted by name and without spaces.

        It is cached, and written without an intermediate dictionary, because a table asks for thousands of runs that
        share most of their nested specs, and asks for every run again in its evaluations.
        """
        owner, parts = type(self).__qualname__, []
        for name, default in _sorted_fields(type(self)):  # type: ignore[arg-type]  # as in _encode_spec
            setting = getattr(self, name)
            if setting is not default and setting != default:
                parts.append(f'"{name}":{_canonical(setting, owner, name)}')
        return f'{{"{owner}":{{{",".join(parts)}}}}}'

    def to_dict(self) -> dict[str, Any]:
        """Every field, defaults included, as plain JSON values; nested specs are `{class name: fields}`."""
        return _encode_spec(self)

    @classmethod
    def from_dict(cls, encoded: dict[str, Any]) -> Self:
        """The inverse of `to_dict`. Raises ValueError on another kind of spec or an unknown field."""
        spec = _decode(encoded)
        if not isinstance(spec, cls):
            raise ValueError(f"expected a spec of kind {cls.__qualname__}, found {next(iter(encoded), 'nothing')!r}")
        return spec


def _canonical(setting: Any, owner: str, name: str) -> str:
    """One setting, of the field `name` of the class `owner`, as JSON without spaces."""
    if isinstance(setting, Spec):
        return setting._canonical
    if isinstance(setting, tuple):
        return f"[{','.join([_canonical(item, owner, name) for item in setting])}]"
    encoded = _encode(setting, f"{owner}.{name}")
    return repr(encoded) if type(encoded) in (int, float) else json.dumps(encoded)  # the same text, ten times as fast


def _encode_spec(spec: Spec) -> dict[str, Any]:
    owner = type(spec).__qualname__
    fields = _fields(type(spec))  # type: ignore[arg-type]  # a class hashes; mypy asks its instances
    return {owner: {name: _encode(getattr(spec, name), f"{owner}.{name}") for name, _ in fields}}


def _encode(setting: Any, name: str) -> Any:
    if isinstance(setting, Spec):
        return setting.to_dict()
    if isinstance(setting, tuple):
        return [_encode(item, name) for item in setting]
    if isinstance(setting, float):
        if not math.isfinite(setting):
            raise ValueError(f"{name} must be a finite number, not {setting}")
        return int(setting) if setting.is_integer() else setting  # 1.0 and 1 are the same setting: the same digest
    if setting is None or isinstance(setting, bool | int | str):
        return setting
    raise TypeError(f"{name} holds a {type(setting).__name__}; a spec holds numbers, strings, tuples and specs")


@cache
def _fields(owner: type[Spec]) -> tuple[tuple[str, Any], ...]:
    """Name and default of every field; where there is no default, MISSING, which equals no setting."""
    return tuple(
        (field.name, field.default if field.default_factory is dataclasses.MISSING else field.default_factory())
        for field in dataclasses.fields(owner)
    )


@cache
def _sorted_fields(owner: type[Spec]) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(_fields(owner), key=lambda field: field[0]))  # type: ignore[arg-type]  # as in _encode_spec


def _decode(encoded: Any) -> Any:
    if isinstance(encoded, dict):
        if len(encoded) != 1:
            raise ValueError(f"a spec is one class name with its fields, not {len(encoded)} names")
        ((name, fields),) = encoded.items()
        owner = Spec._classes.get(name)
        if owner is None:
            raise ValueError(f"unknown kind of spec {name!r}; known: {', '.join(sorted(Spec._classes))}")
        if not isinstance(fields, dict):
            raise ValueError(f"the fields of {name} are names with values, not {fields!r}")
        known = {field.name for field in dataclasses.fields(owner)}
        if unknown := sorted(set(fields) - known):
            raise ValueError(f"unknown field {unknown[0]!r} of {name}; known: {', '.join(sorted(known))}")
        needed = [name for name, default in _fields(owner) if default is dataclasses.MISSING]  # type: ignore[arg-type]
        if lacking := [field for field in needed if field not in fields]:
            raise ValueError(f"{name} lacks {', '.join(lacking)}")
        return owner(**{key: _decode(value) for key, value in fields.items()})
    if isinstance(encoded, list):
        return tuple(_decode(item) for item in encoded)
    return encoded
