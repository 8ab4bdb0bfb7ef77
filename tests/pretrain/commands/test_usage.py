"""The overview of commands: derived from their docstrings, so that it cannot differ from them."""

from __future__ import annotations

import inspect

import pytest
from compmod.cli import COMMANDS, GROUPS, _imported, main
from compmod.pretrain.commands.parsing import WIDTH
from compmod.pretrain.commands.usage import summary, usage
from paths import ROOT


def _paint() -> None:
    """Paint
    a picture.

    More on painting.
    """


def _weigh() -> None:
    """Weigh a thing."""


def test_a_command_stands_in_its_group_with_its_first_sentence_and_no_options() -> None:
    said = usage({"art": {"paint": _paint}, "trade": {"weigh": _weigh}}).split("\n\n")
    assert said[1:3] == ["art:\n  paint  Paint a picture.", "trade:\n  weigh  Weigh a thing."]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_described_by_one_sentence(name: str) -> None:
    said = summary(_imported(name))
    assert said.endswith(".")
    assert len(inspect.cleandoc(said)) < 2 * WIDTH


def test_the_overview_fits_a_terminal_of_eighty_columns_and_stands_on_its_page(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main(["--help"])
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= WIDTH
    assert all(f"\n{group}:\n" in said for group in GROUPS)
    assert f"```text\n{said}```\n" in (ROOT / "docs" / "commands.md").read_text(encoding="utf-8"), "put it there"
