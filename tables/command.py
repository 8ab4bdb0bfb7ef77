"""The command behind `compmod table N` and `python -m compmod.tables.tableN`: fill tables if asked, then print them."""

from __future__ import annotations

import contextlib
import functools
import inspect
import io
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal, ParamSpec

import tyro
from tyro.conf import FlagCreatePairsOff, Positional, arg

from ..pretrain.options import check_call, check_words, is_mistake, with_path
from ..pretrain.printable import printable
from ..pretrain.spec import Range
from .options import Copies, Data, Runs, ScaleOption, Seeds, named_copies
from .table import TABLES, Format, build_table

Parameters = ParamSpec("Parameters")

ALL = "all"


def table_command(
    number: Annotated[Positional[int | str], arg(metavar="N|all", help="number of the table, or all")],
    scale: ScaleOption = "paper",
    run: Annotated[bool, arg(help="first train and evaluate what the table lacks")] = False,
    format: Annotated[Format, arg(help="markdown to read, a page, for a paper, or one line a cell")] = "md",
    sources: Annotated[bool, arg(help="below markdown, where each number comes from")] = False,
    seeds: Seeds = 1,
    copies: Copies = (),
    runs: Runs = Path("runs"),
    data: Data = Path("data"),
    device: Annotated[Literal["auto", "cpu", "cuda"], arg(help="where to train")] = "auto",
    workers: Annotated[
        int, Range(0, 1024), arg(help="runs trained side by side; 0 = one, at scale demo one a core")
    ] = 0,
) -> None:
    """Print a table of the paper, or all, ours beside theirs; with `run`, first train and evaluate what it lacks.

    Raises ValueError on a wrong argument, and after printing when a run failed.
    """
    named = named_copies(copies)
    tables = [build_table(each, scale, seeds, named) for each in numbers(number)]
    failure: ValueError | None = None
    if run:
        from ..pretrain.session import resolve_device
        from .reproduce import run_tables

        resolve_device(device)  # one that this machine lacks is one error, too
        runs.mkdir(parents=True, exist_ok=True)  # a folder that cannot be is one error, not one a run
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        try:
            run_tables(tables, runs, data, device, workers=workers or (cores if scale == "demo" else 1))
        except ValueError as error:
            failure = error
    from .outcome import Runs as Results
    from .render import render_all

    results = Results(runs)
    print(render_all(tables, results, format, provenance=sources), end="", flush=True)
    if format == "csv":  # the others say it below each table
        print(*results.damaged, sep="\n", end="\n" * bool(results.damaged), file=sys.stderr)
    if failure is not None:
        raise failure


def numbers(asked: int | str) -> tuple[int, ...]:
    """The tables that a word of the command line asks for. Raises ValueError on any but a number or `all`."""
    if asked == ALL:
        return tuple(TABLES)
    if isinstance(asked, str) or asked not in TABLES:
        raise ValueError(f"unknown table {asked!r}; known: {', '.join(map(str, TABLES))}, {ALL}")
    return (asked,)


def script(number: int, arguments: Sequence[str] | None = None) -> None:
    """The main function of `tableN.py`: `table_command` for one table, its options read from the command line.

    A mistake of the user's becomes one line on standard error and exit status 2.
    """
    options = ", ".join(f"--{name}" for name in inspect.signature(table_command).parameters if name != "number")
    with errors_in_one_line(resumable=True):
        arguments = sys.argv[1:] if arguments is None else arguments
        check_words(arguments)
        with parse_errors_in_one_line(known=options):
            call = tyro.cli(
                functools.partial(deferred(table_command), number),
                prog=f"python -m compmod.tables.{TABLES[number]}",
                description=f"Table {number} of the paper, ours beside theirs; with --run, first train what it lacks.",
                config=(FlagCreatePairsOff,),
                args=arguments,
            )
        call()


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
