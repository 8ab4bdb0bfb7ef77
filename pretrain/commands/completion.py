"""Completion: scripts with which a shell completes commands, options and their values.

Everything is derived from the commands' signatures. A script holds all words, so that completing starts no Python.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from tyro.conf import Positional, arg

from .options import Values
from .parsing import Command, known_values
from .usage import summary

Shell = Literal["bash", "zsh", "fish"]
TOP = ("--help", "--version")  # in place of a command
VIEWS = 2  # of a run; options of further views are not completed
_ARG = type(arg())
_POSITIONAL = get_args(Positional[int])[1]

_BASH = """\
_compmod() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}" command="${{COMP_WORDS[1]}}"
    local words="" options=""
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        command="" words="{commands}" options="{top}"
    fi
    case "$command" in
{cases}
    esac
    case "$current" in
        -*) words="${{options:-$words}}" ;;
        *) [ "$COMP_CWORD" -le 2 ] || words="${{options:-$words}}" ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o bashdefault -o default -F _compmod compmod
"""
_ZSH = """\
autoload -Uz +X compinit bashcompinit
(( $+functions[compdef] )) || compinit
bashcompinit

"""  # its adapter for bash's completion functions


@dataclass(frozen=True)
class _Option:
    flag: str  # "" = a value that stands without one
    takes_value: bool
    values: tuple[str, ...]  # that are known; of a path or a number none is


def completion_script(shell: Shell, commands: Mapping[str, Command]) -> str:
    """The script of a shell that completes these commands, by name."""
    options = {name: list(_options(command)) for name, command in commands.items()}
    if shell == "fish":
        return _fish(commands, options)
    cases = "\n".join(_bash_case(name, some) for name, some in options.items())
    script = _BASH.format(commands=" ".join(commands), top=" ".join(TOP), cases=cases)
    return _ZSH + script if shell == "zsh" else script


def _bash_case(name: str, options: Sequence[_Option]) -> str:
    """What may follow a word after the command: a value after an option that takes one, else any option."""
    named = [option for option in options if option.flag]
    flags = " ".join(option.flag for option in named)
    unnamed = [option for option in options if not option.flag]
    first = " ".join(value for option in unnamed for value in option.values) if unnamed else flags
    lines = [f'{option.flag}) words="{" ".join(option.values)}" ;;' for option in named if option.values]
    if free := [option.flag for option in named if option.takes_value and not option.values]:
        lines.append(f"{'|'.join(free)}) ;;")
    lines.append(f'*) words="{first}" options="{flags}" ;;')
    inner = "\n".join(f"                {line}" for line in lines)
    return f'        {name})\n            case "$before" in\n{inner}\n            esac ;;'


def _fish(commands: Mapping[str, Command], options: Mapping[str, Sequence[_Option]]) -> str:
    start = "complete -c compmod"
    lines = [f"{start} -n __fish_use_subcommand -f -l {option.removeprefix('--')}" for option in TOP]
    for name, command in commands.items():
        quoted = summary(command).replace("\\", "\\\\").replace("'", "\\'")
        lines.append(f"{start} -n __fish_use_subcommand -f -a {name} -d '{quoted}'")
        for option in options[name]:
            word = f" {'-l' if option.flag.startswith('--') else '-s'} {option.flag.lstrip('-')}" if option.flag else ""
            values = f" -f -a '{' '.join(option.values)}'" if option.values else ""
            needed = " -r" if option.flag and option.takes_value else ""
            lines.append(f"{start} -n '__fish_seen_subcommand_from {name}'{word}{needed}{values}")
    return "\n".join(lines) + "\n"


def _options(command: Command) -> Iterator[_Option]:
    """The options of a command, those of nested dataclasses among them, then `--help`."""
    known = known_values(command)
    yield from (_Option("", True, tuple(values)) for word, values in known.items() if not word)
    hints = get_type_hints(command, include_extras=True)
    for name, parameter in inspect.signature(command).parameters.items():
        if dataclasses.is_dataclass(kind := _parts(hints[name])[0]):  # its fields are options without a prefix
            fields = _fields(kind, "")
            yield from (dataclasses.replace(one, values=tuple(known.get(one.flag, one.values))) for one in fields)
        else:
            yield from _option(name, hints[name], parameter.default)
    yield _Option("--help", False, ())


def _fields(options: Any, prefix: str) -> Iterator[_Option]:
    hints = get_type_hints(options, include_extras=True)
    for field in dataclasses.fields(options):
        kind, configured, _ = _parts(hints[field.name])
        name = field.name if configured.name is None else configured.name
        inner = f"{prefix}{name}." if name else prefix
        if dataclasses.is_dataclass(kind):
            yield from _fields(kind, inner)
        elif get_origin(kind) is tuple and dataclasses.is_dataclass(get_args(kind)[0]):
            for number in range(VIEWS):
                yield from _fields(get_args(kind)[0], f"{inner}{number}.")
        else:
            yield from _option(f"{prefix}{name}", hints[field.name], field.default, either=bool(prefix))


def _option(name: str, hint: Any, default: Any, *, either: bool = False) -> Iterator[_Option]:
    """The flags of one parameter; `either`: a recipe may have turned a switch on or off."""
    kind, configured, extras = _parts(hint)
    values = next((extra.names for extra in extras if isinstance(extra, Values)), _choices(kind))
    flag = f"--{(configured.name or name).replace('_', '-')}"
    if any(extra is _POSITIONAL for extra in extras):
        yield _Option("", True, values)
    elif kind is bool:
        front, _, last = flag.rpartition(".")
        no = f"{front}.no-{last}" if front else flag.replace("--", "--no-", 1)
        yield from (_Option(one, False, ()) for one, is_on in ((flag, False), (no, True)) if either or is_on == default)
    else:
        yield from (_Option(one, True, values) for one in (*(configured.aliases or ()), flag))


def _parts(hint: Any) -> tuple[Any, Any, tuple[Any, ...]]:
    """The type of a parameter, its `arg`, and whatever else is declared of it."""
    kind, *extras = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    return kind, next((extra for extra in extras if isinstance(extra, _ARG)), arg()), tuple(extras)


def _choices(kind: Any) -> tuple[str, ...]:
    if get_origin(kind) is Literal:
        return tuple(map(str, get_args(kind)))
    if get_origin(kind) in (Union, UnionType):
        return tuple(choice for part in get_args(kind) if part is not NoneType for choice in _choices(part))
    return ()
