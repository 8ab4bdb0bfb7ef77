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
from types import UnionType
from typing import Annotated, Any, ClassVar, Literal, Self, Union, get_args, get_origin, get_type_hints

DIGEST_LENGTH = 12  # hexadecimal characters, 48 bits: a collision among 10,000 specs has odds below 1 in 5 million

ABOVE_ZERO = math.nextafter(0.0, 1.0)  # the smallest number above 0, as the least of a range that leaves 0 out
BELOW_ONE = math.nextafter(1.0, 0.0)  # the largest number below 1, as the most of a range that leaves 1 out
LARGEST = 1e30  # times a batch or a width it still fits float32; nobody means more


@dataclass(frozen=True)
class Range:
    """The numbers a field may hold, both ends included: `Annotated[int, Range(1)]`.

    `cap` is no property of the field: it stands far above what anybody means, where memory or arithmetic would fail.
    """

    least: float
    most: float = math.inf
    cap: float = LARGEST

    def __str__(self) -> str:
        if self.most < math.inf:
            most = "below 1" if self.most == BELOW_ONE else self.most
            return f"above 0 and at most {most}" if self.least == ABOVE_ZERO else f"from {self.least} to {most}"
        return "above 0" if self.least == ABOVE_ZERO else f"at least {self.least}"

    def fault(self, setting: float) -> str:
        """What `setting` would have to be to lie inside; "" when it does."""
        if setting > self.cap and self.most > self.cap:
            return f"at most {self.cap:g}" if isinstance(self.cap, float) else f"at most {self.cap}"
        return "" if self.least <= setting <= self.most else str(self)


@dataclass(frozen=True, kw_only=True)
class Spec:
    """Base of every spec. Subclasses are frozen keyword-only dataclasses of numbers, strings, tuples and specs.

    Making one raises ValueError, naming class and field, on a value that is not of the field's type: not one of a
    Literal's, outside the Range of an Annotated, NaN or infinity.
    """

    _kinds: ClassVar[dict[str, type[Spec]]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        Spec._kinds[cls.__qualname__] = cls

    def __post_init__(self) -> None:
        check_fields(self)

    @cached_property
    def digest(self) -> str:
        """Content digest over the class name and the fields that differ from their defaults.

        Leaving defaults out lets a later version add a field without renaming every folder; in return the default
        of a released field never changes. Raises ValueError, naming the field, on NaN or infinity.
        """
        return hashlib.sha256(self._canonical.encode()).hexdigest()[:DIGEST_LENGTH]

    @cached_property
    def _canonical(self) -> str:
        """The fields that differ from their defaults as JSON, sorted by name and without spaces.

        Kept, and written without a dictionary between: a table asks for thousands of runs that share most of their
        nested specs, and for each run again in its evaluations.
        """
        kind, parts = type(self).__qualname__, []
        for name, default in _sorted_fields(type(self)):  # type: ignore[arg-type]  # as in _encode_spec
            setting = getattr(self, name)
            if setting is not default and setting != default:
                parts.append(f'"{name}":{_canonical(setting, kind, name)}')
        return f'{{"{kind}":{{{",".join(parts)}}}}}'

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


def check_fields(instance: Any) -> None:
    """Raise ValueError, naming class and field, unless every field of a dataclass is of its type and in its Range."""
    for name, hint in _hints(type(instance)):  # type: ignore[arg-type]  # a class hashes; mypy asks its instances
        setting = getattr(instance, name)
        if valid := fault(setting, hint):
            raise ValueError(f"{type(instance).__qualname__}.{name} must be {valid}, not {setting!r}")


def _canonical(setting: Any, kind: str, name: str) -> str:
    """One setting as JSON without spaces."""
    if isinstance(setting, Spec):
        return setting._canonical
    if isinstance(setting, tuple):
        return f"[{','.join([_canonical(item, kind, name) for item in setting])}]"
    encoded = _encode(setting, f"{kind}.{name}")
    return repr(encoded) if type(encoded) in (int, float) else json.dumps(encoded)  # alike, but ten times as fast


def _encode_spec(spec: Spec) -> dict[str, Any]:
    kind = type(spec).__qualname__
    fields = _fields(type(spec))  # type: ignore[arg-type]  # a class hashes; mypy asks its instances
    return {kind: {name: _encode(getattr(spec, name), f"{kind}.{name}") for name, _ in fields}}


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
def _hints(kind: type[Any]) -> tuple[tuple[str, Any], ...]:
    """Name and type of every field, with its Range."""
    hints = get_type_hints(kind, include_extras=True)
    return tuple((field.name, hints[field.name]) for field in dataclasses.fields(kind))


def fault(setting: Any, hint: Any) -> str:
    """What `setting` would have to be to be of the type `hint`; "" when it is."""
    origin, parts = get_origin(hint), get_args(hint)
    if isinstance(setting, float) and not math.isfinite(setting):
        return "a finite number"
    if origin is Annotated:
        ranges = [part for part in parts[1:] if isinstance(part, Range)]
        return fault(setting, parts[0]) or next(filter(None, (part.fault(setting) for part in ranges)), "")
    if origin is Literal:
        return "" if isinstance(setting, str) and setting in parts else described(hint)
    if origin in (Union, UnionType):
        faults = [fault(setting, part) for part in parts]
        return "" if "" in faults else " or ".join(dict.fromkeys(faults))
    if origin is tuple:
        return _tuple_fault(setting, parts)
    kinds, words = _PLAIN.get(hint, ((hint,), f"of type {getattr(hint, '__name__', hint)}"))
    counted = isinstance(setting, bool) and hint in (int, float)  # True is an int to Python, and no number here
    return "" if isinstance(setting, kinds) and not counted else str(words)


def described(hint: Any) -> str:
    """The type of a field and its range, in words: "a number above 0", "nce or softmax"."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        ranges = [part for part in parts[1:] if isinstance(part, Range)]
        return " ".join([described(parts[0]), *map(str, ranges)])
    if origin is Literal:
        return " or ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))
    words: str = _PLAIN[hint][1]
    return words


_PLAIN: dict[Any, tuple[tuple[type, ...], str]] = {
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    bool: ((bool,), "True or False"),
    str: ((str,), "a string"),
    type(None): ((type(None),), "None"),
}


def _tuple_fault(setting: Any, parts: tuple[Any, ...]) -> str:
    if not isinstance(setting, tuple):
        return "a tuple"
    if parts[-1] is Ellipsis:
        parts = parts[:1] * len(setting)
    if len(parts) != len(setting):
        return f"a tuple of {len(parts)}"
    return next(filter(None, map(fault, setting, parts)), "")


@cache
def _fields(kind: type[Spec]) -> tuple[tuple[str, Any], ...]:
    """Name and default of every field; MISSING, which equals no setting, where there is no default."""
    return tuple(
        (field.name, field.default if field.default_factory is dataclasses.MISSING else field.default_factory())
        for field in dataclasses.fields(kind)
    )


@cache
def _sorted_fields(kind: type[Spec]) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(_fields(kind), key=lambda field: field[0]))  # type: ignore[arg-type]  # as in _encode_spec


def _decode(encoded: Any) -> Any:
    if isinstance(encoded, dict):
        if len(encoded) != 1:
            raise ValueError(f"a spec is one class name with its fields, not {len(encoded)} names")
        ((name, fields),) = encoded.items()
        kind = Spec._kinds.get(name)
        if kind is None:
            raise ValueError(f"unknown kind of spec {name!r}; known: {', '.join(sorted(Spec._kinds))}")
        if not isinstance(fields, dict):
            raise ValueError(f"the fields of {name} are names with values, not {fields!r}")
        known = {field.name for field in dataclasses.fields(kind)}
        if unknown := sorted(set(fields) - known):
            raise ValueError(f"unknown field {unknown[0]!r} of {name}; known: {', '.join(sorted(known))}")
        needed = [name for name, default in _fields(kind) if default is dataclasses.MISSING]  # type: ignore[arg-type]
        if lacking := [field for field in needed if field not in fields]:
            raise ValueError(f"{name} lacks {', '.join(lacking)}")
        return kind(**{key: _decode(value) for key, value in fields.items()})
    if isinstance(encoded, list):
        return tuple(_decode(item) for item in encoded)
    return encoded
