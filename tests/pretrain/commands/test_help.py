"""Every option of every command is explained."""

from __future__ import annotations

import re

import pytest
from compmod.cli import COMMANDS, main
from compmod.pretrain.recipes.presets import recipes
from compmod.pretrain.specs.datasets import DATASETS
from compmod.pretrain.specs.methods import METHODS

OF_TYRO = r"\((default: .*|required|repeatable)\)$"  # what it adds to a help text itself


def _help(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as leave:
        main([*words, "--help"])
    assert leave.value.code == 0
    return capsys.readouterr().out


def _explained(said: str) -> dict[str, str]:
    """By option or metavar, its help text without what tyro adds; continued lines are far from the frame, if any."""
    options: dict[str, str] = {}
    name, positional = "", False
    for line in said.splitlines():
        text = line.strip("│╭╮─ ")
        if text in ("options", "positional arguments") or text.endswith(" options"):
            name, positional = "", text.startswith("positional")
        elif re.match(r"[│ ] -?[\w]" if positional else r"[│ ] --?\w", line):
            name, _, first = text.partition("  ")
            options[name] = first
        elif name and re.match(r"[│ ] {6,}\S", line):
            options[name] += f" {text}"
    return {name: re.sub(OF_TYRO, "", text.strip()).strip() for name, text in options.items()}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_explained(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    words = ["simclr+", "--dataset", "cifar10"] if command == "pretrain" else []
    said = _help(capsys, command, *words)
    options = _explained(said)
    assert len(options) > (90 if command == "pretrain" else 0)
    assert "-h, --help" in options
    assert [name for name, text in options.items() if len(text) < 5] == []
    assert "{None}|PATH" not in said  # tyro's word for a path that may be left out


def test_the_walk_sees_an_option_without_help() -> None:
    lines = "--lr FLOAT    (default: 0.1)", "--epochs INT", "          (default: 3)", "-x FLOAT  times two"
    assert _explained("\n".join(f"  {line} " for line in lines)) == {
        "--lr FLOAT": "",
        "--epochs INT": "",
        "-x FLOAT": "times two",
    }


def test_pretrains_help_lists_methods_data_sets_and_presets(capsys: pytest.CaptureFixture[str]) -> None:
    said = " ".join(_help(capsys, "pretrain", "byol", "--dataset", "cifar10").split())
    assert f"Methods: {', '.join(METHODS)}; each also with +, except cmc and supervised." in said
    assert f"Data sets: {', '.join(DATASETS)}." in said
    presets = [name or "(default)" for name in recipes("byol", "cifar10")]
    assert len(presets) > 2
    assert f"Presets of byol on cifar10: {', '.join(presets)}." in said


def test_help_says_nothing_of_exceptions(capsys: pytest.CaptureFixture[str]) -> None:
    said = _help(capsys, "submit")
    assert "Submit what the tables lack" in said
    assert "Raises" not in said
