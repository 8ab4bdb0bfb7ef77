"""Parsing: how every command reads its options and says what is wrong, in one line."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import re
import sys
from collections.abc import Callable, Iterator
from typing import ParamSpec

from ..files.printable import printable
from .options import check_call, is_mistake, with_path

Parameters = ParamSpec("Parameters")


@contextlib.contextmanager
def errors_in_one_line(*, resumable: bool) -> Iterator[None]:
    """Leave with one line on standard error: status 2 on a mistake, 1 on a failure while computing, 130 after Ctrl-C.

    `resumable` work goes on by the same command again.
    """
    try:
        yield
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except ValueError as error:
        _leave(f"error: {error}", 2)
    except OSError as error:
        words = with_path(error)
        _leave(*((f"error: {words}", 2) if is_mistake(error) else (f"error: {type(error).__name__}: {words}", 1)))
    except RuntimeError as error:
        _leave(f"error: {type(error).__name__}: {error}", 1)
    except KeyboardInterrupt:
        how = "; what was saved stays, run the same command again to go on" if resumable else ""
        _leave(f"interrupted{how}", 130)
    except SystemExit as leave:
        if reason := getattr(leave, "reason", ""):
            _leave(reason, int(leave.code or 0))
        raise


def _leave(message: str, status: int) -> None:
    if os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0")) == "0":  # several processes make the same mistake
        with contextlib.suppress(OSError):  # of a terminal that is gone
            print(printable(" ".join(message.split())), file=sys.stderr, flush=True)
    sys.exit(status)


def deferred(function: Callable[Parameters, None]) -> Callable[Parameters, Callable[[], None]]:
    """The same signature, but a call only notes its arguments: so reading a command line and obeying it are apart.

    Obeying begins with a check of what every option declares.
    """

    @functools.wraps(function)
    def obey(*positional: Parameters.args, **named: Parameters.kwargs) -> None:
        check_call(function, positional, named)
        function(*positional, **named)

    @functools.wraps(function)
    def note(*positional: Parameters.args, **named: Parameters.kwargs) -> Callable[[], None]:
        return functools.partial(obey, *positional, **named)

    return note


@contextlib.contextmanager
def parse_errors_in_one_line(known: str = "") -> Iterator[None]:
    """Raise what tyro says of a wrong command line as a ValueError of one line, without its frame.

    `known` names the valid options; it is added when tyro complains of one it does not recognise.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            yield
    except SystemExit as leave:
        if leave.code:
            raise ValueError(_sentence(_unframed(said.getvalue()), known)) from None
        raise
    sys.stderr.write(said.getvalue())


def _sentence(sections: list[str], known: str) -> str:
    """What matters of tyro's words: the names alone of options it does not know and of those like them."""
    mistake, *more = sections or [""]
    if mistake.startswith("Unrecognized"):
        given = mistake.partition(":")[2].replace(",", " ").split()
        wrong = [word for word in given if word.startswith("-")] or given
        alike = dict.fromkeys(re.findall(r"(?<!\S)--[\w.-]+", " ".join(more)))
        hint = f"; did you mean {', '.join(alike)}?" if alike else ";"
        return f"unknown option {', '.join(wrong)}{hint}" + (f" known: {known}" if known else "")
    mistake = re.sub(r"^Error parsing [\w.]+: (?=[A-Z]\w*\.)", "", mistake)  # a spec's own error names its field
    return "; ".join([mistake, *(section for section in more if not section.startswith("Got errors"))])


def _unframed(text: str) -> list[str]:
    """The sections inside tyro's box, drawn with lines or with dashes, without its title and its advice."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    _, *lines = [line.strip("│╭╮╰╯ ") for line in plain.splitlines()] or [""]
    sections = "\n".join("\n" if re.fullmatch(r"[─-]{3,}", line) else line for line in lines).split("\n\n")
    said = [" ".join(section.split()) for section in sections if "full helptext" not in section]
    return [section for section in said if section]
