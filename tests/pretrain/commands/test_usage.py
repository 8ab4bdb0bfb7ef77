"""The overview of commands: derived from their signatures, so that it cannot differ from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pytest
from compmod.cli import main
from compmod.pretrain.commands.options import Folder
from compmod.pretrain.commands.parsing import parsed_by
from compmod.pretrain.commands.usage import WIDTH, usage
from tyro.conf import Positional, arg


def _paint(
    picture: Annotated[Positional[Path], arg(metavar="PICTURE")],
    colour: Literal["red", "blue"] | None = None,
    *,
    brush: int,
    output: Annotated[Path, Folder(), arg(aliases=("-o",))] = Path("out"),
    dry_run: bool = False,
    varnish: bool = True,
) -> None:
    """Paint a picture.

    More on painting.
    """


def test_an_option_stands_as_it_is_declared() -> None:
    assert usage({"paint": _paint}).split("\n\n")[1] == (
        "  compmod paint PICTURE [--colour red|blue] --brush N [-o DIR] [--dry-run] [--no-varnish]\n"
        "      Paint a picture."
    )


@dataclass
class _Size:
    width: int


@dataclass
class _Options:
    size: Annotated[_Size, arg(name="")]
    weight: Annotated[float, arg(help="in kg")] = 1.0


def _parse(arguments: Sequence[str]) -> Callable[[], None]:
    raise ValueError(arguments)


@parsed_by(_parse, "THING --of NAME")
def _weigh(options: _Options) -> None:
    """Weigh a thing."""


def test_a_command_with_a_parser_of_its_own_shows_its_first_words_and_the_fields_of_its_options() -> None:
    assert "  compmod weigh THING --of NAME [any field of _Size] [--weight X]\n" in usage({"weigh": _weigh})


def test_a_long_line_breaks_between_options_only(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert all(line.count("[") == line.count("]") for line in lines)
