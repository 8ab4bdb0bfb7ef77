"""Usage: the overview of all commands, derived from their signatures and docstrings."""

from __future__ import annotations

import dataclasses
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from tyro.conf import Positional, arg

from .options import Folder
from .parsing import Command, first_words

WIDTH = 110  # characters a line
_INDENT = " " * 6
_METAVARS: dict[Any, str] = {int: "N", float: "X", str: "NAME", Path: "FILE"}  # where an option declares none
_ARG = type(arg())
_POSITIONAL = get_args(Positional[int])[1]


def usage(commands: Mapping[str, Command]) -> str:
    """A paragraph for every command: how it is called, and the first line of its docstring."""
    paragraphs = [_paragraph(name, command) for name, command in commands.items()]
    start, end = "usage: compmod COMMAND ...", "`compmod COMMAND --help` explains a command's options."
    return "\n\n".join([start, *paragraphs, end])


def _paragraph(name: str, command: Command) -> str:
    call = ["compmod", name, *first_words(command), *_parameters(command)]
    summary = (inspect.getdoc(command) or "").split("\n\n")[0].split()
    return f"{_wrapped(call, '  ')}\n{_wrapped(summary, _INDENT)}"


def _wrapped(words: list[str], indent: str) -> str:
    """The words in lines of WIDTH, the first one indented; what holds a space, such as `[--seeds N]`, stays whole."""
    text = " ".join(word.replace(" ", "\0") for word in words)
    wrapper = textwrap.TextWrapper(WIDTH, initial_indent=indent, subsequent_indent=_INDENT)
    wrapper.break_on_hyphens = wrapper.break_long_words = False
    lines = wrapper.wrap(text)
    return "\n".join(lines).replace("\0", " ")


def _parameters(command: Command) -> list[str]:
    """How the parameters stand on a command line: those without a name first."""
    hints = get_type_hints(command, include_extras=True)
    words: list[tuple[bool, str]] = []
    for name, parameter in inspect.signature(command).parameters.items():
        kind = get_args(hints[name])[0] if get_origin(hints[name]) is Annotated else hints[name]
        if dataclasses.is_dataclass(kind):
            words += _fields(kind)
        else:
            words.append(_word(name, hints[name], parameter.default))
    return [word for _, word in sorted(words, key=lambda pair: not pair[0])]


def _fields(options: Any) -> Iterator[tuple[bool, str]]:
    """The fields of a dataclass of options, each as `_word` gives it."""
    hints = get_type_hints(options, include_extras=True)
    for field in dataclasses.fields(options):
        kind = get_args(hints[field.name])[0]
        if dataclasses.is_dataclass(kind):
            yield False, f"[any field of {getattr(kind, '__name__', kind)}]"
        else:
            yield _word(field.name, hints[field.name], field.default)


def _word(name: str, hint: Any, default: Any) -> tuple[bool, str]:
    """Whether a parameter has no name on the command line, and how it stands there."""
    optional = default is not inspect.Parameter.empty and default is not dataclasses.MISSING
    kind, *extras = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    configured: Any = next((extra for extra in extras if isinstance(extra, _ARG)), arg())
    option = next(iter(configured.aliases or ()), f"--{(configured.name or name).replace('_', '-')}")
    value = configured.metavar or ("DIR" if any(isinstance(extra, Folder) for extra in extras) else _metavar(kind))
    if any(extra is _POSITIONAL for extra in extras):
        return True, f"[{value}]" if optional and not value.startswith("[") else value
    if kind is bool:
        return False, f"[{option.replace('--', '--no-') if default else option}]"
    return False, f"[{option} {value}]" if optional else f"{option} {value}"


def _metavar(kind: Any) -> str:
    """What stands for a value of a type: its choices, or one word."""
    if get_origin(kind) is Literal:
        return "|".join(map(str, get_args(kind)))
    if get_origin(kind) in (Union, UnionType):
        return _metavar(next(part for part in get_args(kind) if part is not NoneType))
    return _METAVARS.get(kind, "VALUE")
