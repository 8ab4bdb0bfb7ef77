"""Usage: the overview of all commands, derived from their docstrings."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Mapping

from .parsing import WIDTH, Command


def usage(groups: Mapping[str, Mapping[str, Command]]) -> str:
    """The commands by group: each with its first sentence."""
    width = max(len(name) for commands in groups.values() for name in commands)
    paragraphs = [
        "\n".join([f"{group}:", *(_entry(name, command, width) for name, command in commands.items())])
        for group, commands in groups.items()
    ]
    start = "usage: compmod COMMAND ...\n       compmod --version"
    return "\n\n".join([start, *paragraphs, "`compmod COMMAND --help` explains a command and lists its options."])


def summary(command: Command) -> str:
    """The first paragraph of a command's docstring, in one line."""
    return " ".join((inspect.getdoc(command) or "").split("\n\n")[0].split())


def _entry(name: str, command: Command, width: int) -> str:
    indent = " " * (width + 4)
    return textwrap.fill(summary(command), WIDTH, initial_indent=f"  {name:{width}}  ", subsequent_indent=indent)
