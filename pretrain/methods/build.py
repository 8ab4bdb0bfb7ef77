"""Build: the method that a Run describes."""

from __future__ import annotations

import importlib
from typing import Any

from ..specs.methods import METHODS
from ..specs.run import Run
from .base import Method, declared_options


def load_method(name: str) -> type[Method]:
    """The class of a method of METHODS, imported. Raises ValueError when its module has no such class."""
    entry = METHODS[name]
    method = getattr(importlib.import_module(entry.module), entry.class_name, None)
    if not (isinstance(method, type) and issubclass(method, Method)):
        raise ValueError(f"METHODS[{name!r}].code is {entry.code!r}; {entry.module} has no Method of that name")
    return method


def build_method(run: Run, size: int) -> Method:
    """The method of `run` for views of side `size`. Raises ValueError on a setting it does not have."""
    kind = load_method(run.base_method)
    known = declared_options(kind)
    for name, value in run.options:
        if name not in known:
            raise ValueError(f"unknown option {name!r} of {run.base_method}; known: {', '.join(known) or 'none'}")
        if valid := known[name].fault(value):
            listing = f"compmod methods {run.base_method} lists every option"
            raise ValueError(f"option {name!r} of {run.base_method} must be {valid}, not {value!r}; {listing}")
    if len(dict(run.options)) < len(run.options):
        raise ValueError(f"an option of {run.base_method} is given twice; known: {', '.join(known)}")
    settings: dict[str, Any] = {name: known[name].given(value) for name, value in run.options}
    return kind(run, size, **settings)
