"""Whether a type says which numbers are valid, for the tests that ask it of every field and option."""

from __future__ import annotations

from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from compmod.pretrain.spec import Range


def has_range(hint: Any) -> bool:
    """A number must have a Range; words of a Literal, switches, strings, None and other specs have none."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return any(isinstance(part, Range) for part in parts[1:])
    if origin is Literal:
        return True
    if origin in (tuple, Union, UnionType):
        return all(has_range(part) for part in parts if part is not Ellipsis)
    return hint not in (int, float)
