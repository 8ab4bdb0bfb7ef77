"""Fields: the types and ranges of the settings of a spec or a command, and the check of a value against them."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from ..files.printable import is_plain

ABOVE_ZERO = math.nextafter(0.0, 1.0)  # the smallest number above 0: the least of a range without 0
BELOW_ONE = math.nextafter(1.0, 0.0)  # the largest number below 1: the most of a range without 1
LARGEST = 1e30  # times a batch or a width it still fits float32; no sensible setting is larger


@dataclass(frozen=True)
class Range:
    """The numbers a field may hold, both ends included: `Annotated[int, Range(1)]`.

    `cap` is not a limit of the field itself: it is far above any sensible number, where memory or arithmetic fails.
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
        """What `setting` must be to lie in the range; "" when it does."""
        if setting > self.cap and self.most > self.cap:
            return f"at most {self.cap:g}" if isinstance(self.cap, float) else f"at most {self.cap}"
        return "" if self.least <= setting <= self.most else str(self)


Share = Annotated[float, Range(0, 1)]  # also a probability
Amount = Annotated[float, Range(0)]
Positive = Annotated[float, Range(ABOVE_ZERO)]
Count = Annotated[int, Range(1, cap=10**9)]
Whole = Annotated[int, Range(0, cap=10**9)]
Width = Annotated[int, Range(1, cap=10**6)]  # units of a layer, and other counts that the batch multiplies in memory


def check_fields(instance: Any) -> None:
    """Raise ValueError, which names class and field, unless every field of a dataclass fits its type and Range."""
    for name, hint in _hints(type(instance)):  # type: ignore[arg-type]  # a class hashes; mypy asks its instances
        setting = getattr(instance, name)
        if valid := fault(setting, hint):
            raise ValueError(f"{type(instance).__qualname__}.{name} must be {valid}, not {setting!r}")


@cache
def _hints(owner: type[Any]) -> tuple[tuple[str, Any], ...]:
    """Name and type of every field, with its Range."""
    hints = get_type_hints(owner, include_extras=True)
    return tuple((field.name, hints[field.name]) for field in dataclasses.fields(owner))


def fault(setting: Any, hint: Any) -> str:
    """What `setting` must be to fit the type `hint`; "" when it fits."""
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


def is_name(name: str) -> bool:
    """Whether it may be the name of one folder below another; "" may, as none."""
    return name not in (".", "..") and "/" not in name and is_plain(name)
