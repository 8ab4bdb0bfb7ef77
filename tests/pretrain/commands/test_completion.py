"""Shells complete commands, options and values; bash itself runs its script here."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from compmod.cli import COMMANDS, main
from compmod.pretrain.specs.datasets import DATASETS
from compmod.pretrain.specs.methods import METHODS

ASK = 'source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _compmod; printf "%s\\n" "${COMPREPLY[@]}"'


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("completion") / "compmod.bash"
    with pytest.MonkeyPatch.context() as patch, open(path, "w") as file:
        patch.setattr("sys.stdout", file)
        main(["completion", "bash"])
    return path


def _completed(script: Path, *words: str) -> list[str]:
    """What bash offers for the last word."""
    command = ["bash", "--norc", "-u", "-c", ASK, str(script), "compmod", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_script_is_valid_for_bash(shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["completion", shell])
    path = tmp_path / "script"
    path.write_text(capsys.readouterr().out.replace("(( $+functions[compdef] )) || compinit", "compinit"))
    done = subprocess.run(["bash", "--norc", "-n", str(path)], capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "words, expected",
    [
        (("",), list(COMMANDS)),
        (("--v",), ["--version"]),
        (("re",), ["report", "retry"]),
        (("pretrain", "sims"), ["simsiam", "simsiam+"]),
        (("pretrain", "superv"), ["supervised"]),  # which has no "+"
        (("pretrain", "simclr", "--dataset", ""), list(DATASETS)),
        (("pretrain", "simclr", "--backbone.st"), ["--backbone.stem"]),
        (("pretrain", "simclr", "--views.1.sol"), ["--views.1.solarize"]),
        (("pretrain", "simclr", "--compmod.training", "j"), ["joint"]),
        (("pretrain", "simclr", "--memory-format", "con"), ["contiguous"]),
        (("table", "a"), ["all"]),
        (("table", "1", "--ru"), ["--run", "--runs"]),
        (("plan", "--scale", ""), ["paper", "short", "laptop", "demo"]),
        (("data", "cifar10", "--no"), ["--no-download"]),
        (("methods", ""), list(METHODS)),
        (("report", "-o"), ["-o"]),
        (("report", "-o", "--"), []),  # a folder, which bash itself completes
        (("demo", ""), ["--runs", "--help"]),
        (("cluster", ""), ["new", "check", "list"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bash_completes(script: Path, words: tuple[str, ...], expected: list[str]) -> None:
    assert _completed(script, *words) == expected


@pytest.mark.parametrize("command", COMMANDS)
def test_bash_offers_every_option_that_the_help_shows(
    command: str, script: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")  # one column of options
    with pytest.raises(SystemExit):
        main([command, "--help"])
    names = re.findall(r"(?m)^[│ ] (--?\w[\w.-]*)(?:, (--[\w.-]+))?", capsys.readouterr().out)
    shown = {name for pair in names for name in pair if name} - {"-h"}
    assert "--help" in shown
    offered = _completed(script, command, *(["simclr"] * (command == "pretrain")), "-")
    assert shown <= set(offered)
    assert len(offered) == len(set(offered))


def test_fish_gets_a_line_for_a_command_and_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    main(["completion", "fish"])
    said = capsys.readouterr().out.splitlines()
    assert (
        "complete -c compmod -n '__fish_seen_subcommand_from plan' -l scale -r -f -a 'paper short laptop demo'" in said
    )
    assert any(line.startswith("complete -c compmod -n __fish_use_subcommand -f -a status -d 'Show") for line in said)
