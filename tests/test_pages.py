"""The README and the pages of docs/: their links lead somewhere, and every command on them is one that works.

All commands are parsed as the command line parses them. Those of a block below the line RUN are run, in order.
"""

from __future__ import annotations

import re
import shlex
from contextlib import nullcontext
from pathlib import Path

import pytest
from compmod.cli import COMMANDS, _imported, main
from compmod.pretrain.commands.parsing import parsed
from paths import ROOT

FIRST = ("README.md", "CONTRIBUTING.md", "results/README.md")
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in [*(ROOT / name for name in FIRST), *sorted((ROOT / "docs").glob("*.md"))]
}
RUN = "<!-- a test runs this -->\n"
WITHOUT_COMMANDS = {"docs/structure.md"}
WITH_CONTENTS = sorted(page for page in PAGES if page.startswith("docs/") and page not in WITHOUT_COMMANDS)
OTHERS = {"eval", "export", "git", "pip", "python", "tensorboard", "trackio", "wandb", "mlflow"}  # programs of others
ABOUT = range(600, 850)  # words of the README
PICTURE_BYTES = 150_000  # a picture has at most so many
TARGETS = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def blocks(text: str, above: str = "") -> list[str]:
    """The parts of a page that are typed into a shell, or those alone that stand below a line."""
    return re.findall(rf"^{above}```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands(block: str) -> list[list[str]]:
    """The words of each command, without comments."""
    return [words for line in block.replace("\\\n", " ").splitlines() if (words := shlex.split(line, comments=True))]


def without_launcher(words: list[str]) -> list[str]:
    """What compmod is given by a command; nothing where it is another program's."""
    if words[0] == "compmod":
        return words[1:]
    return words[words.index("compmod") + 1 :] if "-m" in words and "compmod" in words else []


COMMAND_LINES = {
    f"{page}: {' '.join(words)}": words
    for page, text in PAGES.items()
    for part in blocks(text)
    for words in commands(part)
}
RUNNABLE = {page: found for page, text in PAGES.items() if (found := blocks(text, RUN))}


def anchors(text: str) -> list[str]:
    """The anchors that GitHub gives to the headings of a page."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_a_command_of_a_page_is_one(line: str) -> None:
    words = COMMAND_LINES[line]
    if given := without_launcher(words):
        name, *rest = given
        assert name in COMMANDS
        with pytest.raises(ValueError, match="no such file") if "--spec" in rest else nullcontext():
            parsed(_imported(name), rest, f"compmod {name}")
    elif words[0] == "make":
        assert {word for word in words[1:] if "=" not in word} <= TARGETS
    else:
        assert words[0] in OTHERS


@pytest.mark.parametrize("page", RUNNABLE)
def test_the_commands_of_a_page_run(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("COMPMOD_CLUSTERS", raising=False)
    for block in RUNNABLE[page]:
        for words in commands(block):
            main(without_launcher(words))
            assert capsys.readouterr().out.strip(), f"{words} says nothing"


@pytest.mark.parametrize("page", WITH_CONTENTS)
def test_a_page_has_commands_that_are_run_or_parsed(page: str) -> None:
    assert blocks(PAGES[page]) or "make " in PAGES[page]


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_to_a_heading(page: str) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", PAGES[page]):
        if target.startswith("http"):
            continue
        there = (ROOT / page).parent / target if target else ROOT / page
        assert anchor in anchors(there.read_text(encoding="utf-8")), f"{page} names {target}#{anchor}"


def test_every_picture_is_there_and_small_and_has_words() -> None:
    shown = [(page, *found) for page, text in PAGES.items() for found in re.findall(r"!\[(.*?)\]\(([^)]+)\)", text)]
    assert {"report.png", "results/gains-laptop-linear.svg"} <= {target for _, _, target in shown}
    for page, words, target in shown:
        assert len(words.split()) > 5, f"{page} shows {target} without words"
        assert (ROOT / page).parent.joinpath(target).stat().st_size <= PICTURE_BYTES


@pytest.mark.parametrize("page", WITH_CONTENTS)
def test_a_page_begins_with_its_contents(page: str) -> None:
    text = PAGES[page]
    listed = re.findall(r"^- \[.+?\]\(#(.+?)\)$", text.partition("\n## ")[0], re.MULTILINE)
    headings = [title for level, title in re.findall(r"^(##) (.+)$", text, re.MULTILINE)]
    assert listed == anchors("\n".join(f"## {title}" for title in headings))


def test_every_page_is_named_in_the_readme() -> None:
    named = set(re.findall(r"\]\(((?:docs/|results/)?[\w-]+\.md)\)", PAGES["README.md"]))
    assert set(PAGES) - {"README.md"} <= named


def test_the_readme_is_read_in_a_minute_or_three() -> None:
    assert len(PAGES["README.md"].split()) in ABOUT


def test_every_target_that_a_page_names_exists() -> None:
    named = {target for text in PAGES.values() for target in re.findall(r"`make ([a-z0-9-]+)", text)}
    assert named <= TARGETS
