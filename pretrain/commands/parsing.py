"""Parsing: how every command declares itself, reads its options and reports a mistake in one line."""

from __future__ import annotations

import contextlib
import functools
import inspect
import io
import os
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NoReturn, ParamSpec, TypeVar

import tyro
from tyro.conf import FlagCreatePairsOff

from ..files.printable import printable
from ..runtime.exit_status import BY_HAND, FAILED, MISTAKE
from .options import check_call, is_mistake, with_path

WIDTH = 80  # characters a line of text
Parameters = ParamSpec("Parameters")
Command = Callable[..., None]
Declaring = TypeVar("Declaring", bound=Command)


def resumable(command: Declaring) -> Declaring:
    """Declare that the same command, given again, resumes the work."""
    vars(command)["resumable"] = True
    return command


def is_resumable(command: Command) -> bool:
    """Whether `resumable` declared it."""
    return bool(vars(command).get("resumable"))


def parsed_by(
    parse: Callable[[Sequence[str]], Callable[[], None]], known: Mapping[str, Iterable[str]]
) -> Callable[[Declaring], Declaring]:
    """Declare that `parse` reads the command line in place of tyro.

    `known` has the values of options that the signature does not tell; those under "" stand first, without an option.
    """

    def declare(command: Declaring) -> Declaring:
        vars(command).update(parse=parse, known=known)
        return command

    return declare


def known_values(command: Command) -> Mapping[str, Iterable[str]]:
    """What `parsed_by` declared as `known`."""
    known: Mapping[str, Iterable[str]] = vars(command).get("known", {})
    return known


def parsed(command: Command, arguments: Sequence[str], prog: str) -> Callable[[], None]:
    """The call that a command line asks for. Raises ValueError, in one line, on a mistake."""
    own: Callable[[Sequence[str]], Callable[[], None]] | None = vars(command).get("parse")
    if own:
        return own(arguments)
    with parse_errors_in_one_line(known=f"those of {prog} --help"):
        call: Callable[[], None] = tyro.cli(
            deferred(command),
            prog=prog,
            description=described(command),
            config=(FlagCreatePairsOff,),
            args=list(arguments),
        )
    return call


def described(command: Command, *more: str) -> str:
    """The paragraphs of a command's docstring, but those about exceptions, and more, in lines of WIDTH."""
    paragraphs = (*(inspect.getdoc(command) or "").split("\n\n"), *more)
    return "\n\n".join(textwrap.fill(part, WIDTH) for part in paragraphs if not part.startswith("Raises "))


@contextlib.contextmanager
def errors_in_one_line(*, resumable: bool = False) -> Iterator[None]:
    """Leave with one line on standard error: status 2 on a mistake, 1 on a failure while computing, 130 after Ctrl-C.

    After Ctrl-C the line says whether the same command resumes the work.
    """
    try:
        yield
    except BrokenPipeError:  # the reader, such as `head`, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except ValueError as error:
        _leave(f"error: {error}", MISTAKE)
    except OSError as error:
        if is_mistake(error):
            _leave(f"error: {with_path(error)}", MISTAKE)
        _leave(f"error: {type(error).__name__}: {with_path(error)}", FAILED)
    except RuntimeError as error:
        _leave(f"error: {type(error).__name__}: {error}", FAILED)
    except KeyboardInterrupt:
        how = "; what was saved stays, run the same command again to go on" if resumable else ""
        _leave(f"interrupted{how}", BY_HAND)
    except SystemExit as leave:
        if reason := getattr(leave, "reason", ""):
            _leave(reason, int(leave.code or 0))
        raise


def _leave(message: str, status: int) -> NoReturn:
    if os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0")) == "0":  # several processes make the same mistake
        with contextlib.suppress(OSError):  # of a terminal that is gone
            print(printable(" ".join(message.split())), file=sys.stderr, flush=True)
    sys.exit(status)


def deferred(function: Callable[Parameters, None]) -> Callable[Parameters, Callable[[], None]]:
    """The same signature, but a call only stores its arguments and returns what then calls `function`.

    So a mistake of parsing is told from one of running. Before `function` runs, every option is checked.
    """

    @functools.wraps(function)
    def checked(*positional: Parameters.args, **named: Parameters.kwargs) -> None:
        check_call(function, positional, named)
        function(*positional, **named)

    @functools.wraps(function)
    def store(*positional: Parameters.args, **named: Parameters.kwargs) -> Callable[[], None]:
        return functools.partial(checked, *positional, **named)

    return store


@contextlib.contextmanager
def parse_errors_in_one_line(known: str = "") -> Iterator[None]:
    """Raise tyro's message on a wrong command line as a ValueError of one line, without its frame.

    `known` names the valid options; it is added where tyro does not know an option.
    """
    message = io.StringIO()
    try:
        with contextlib.redirect_stderr(message):
            yield
    except SystemExit as leave:
        if leave.code:
            raise ValueError(_sentence(_unframed(message.getvalue()), known)) from None
        raise
    sys.stderr.write(message.getvalue())


def _sentence(sections: list[str], known: str) -> str:
    """The part of tyro's message that matters: of unknown options and of similar ones, the names alone."""
    mistake, *more = sections or [""]
    if mistake.startswith("Unrecognized"):
        given = mistake.partition(":")[2].replace(",", " ").split()
        wrong = [word for word in given if word.startswith("-")] or given
        alike = dict.fromkeys(re.findall(r"(?<!\S)--[\w.-]+", " ".join(more)))
        hint = f"; did you mean {', '.join(alike)}?" if alike else ";"
        return f"unknown option {', '.join(wrong)}{hint}" + (f" known: {known}" if known else "")
    mistake = re.sub(r"^Error parsing [\w.]+: (?=[A-Z]\w*\.)", "", mistake)  # a spec's own error names its field
    mistake = re.sub(r"(?<=one of \()('[^()]*')(?=\))", _choices, mistake)
    return "; ".join([mistake, *(section for section in more if not section.startswith("Got errors"))])


def _choices(listed: re.Match[str]) -> str:
    """Without None, tyro's word for an option that is left out, beside which it lists the others in any order."""
    names = listed[0].split(", ")
    return ", ".join(sorted(set(names) - {"'None'"})) if "'None'" in names else listed[0]


def _unframed(text: str) -> list[str]:
    """The sections inside the box that tyro draws, without its title and its advice."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    _, *lines = [line.strip("│╭╮╰╯ ") for line in plain.splitlines()] or [""]
    sections = "\n".join("\n" if re.fullmatch(r"[─-]{3,}", line) else line for line in lines).split("\n\n")
    joined = [" ".join(section.split()) for section in sections if "full helptext" not in section]
    return [section for section in joined if section]
