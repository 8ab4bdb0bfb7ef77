"""docs/structure.md: what it names exists, and it names every folder and where each object is."""

from __future__ import annotations

import ast
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from paths import ROOT

TOP = ("pretrain", "transfer", "tables", "slurm")
PICTURE = ROOT / "docs" / "structure.svg"
TEXT = (ROOT / "docs" / "structure.md").read_text(encoding="utf-8")
ROWS = [[part.strip() for part in line.strip("|").split("|")] for line in TEXT.splitlines() if line.startswith("|")]
PAGES = sorted(
    path.relative_to(ROOT).as_posix() for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")] if path.is_file()
)
QUESTIONS = {row[0].strip("`"): row[1] for row in ROWS if re.fullmatch(r"`[a-z_/]+`", row[0])}
OBJECTS = [(name, row[2].strip("`")) for row in ROWS if len(row) == 3 for name in re.findall(r"`(\w+)`", row[0])]
NAMED = re.compile(rf"`((?:{'|'.join(TOP)}|tests|docs)(?:/[\w./-]*)?)`")
FOLDERS = sorted(
    path.parent.relative_to(ROOT).as_posix() for folder in TOP for path in (ROOT / folder).rglob("__init__.py")
)


@pytest.mark.parametrize("page", ["docs/structure.md", "docs/methods.md", "docs/detection.md"])
def test_every_path_that_a_page_names_exists(page: str) -> None:
    named = set(NAMED.findall((ROOT / page).read_text(encoding="utf-8")))
    assert named
    assert sorted(path for path in named if not (ROOT / path).exists()) == []


@pytest.mark.parametrize("page", PAGES)
def test_every_link_to_a_file_of_ours_leads_to_it(page: str) -> None:
    file = ROOT / page
    links = re.findall(r"\]\(([^)#\s]+)", file.read_text(encoding="utf-8"))
    ours = [link for link in links if not link.startswith("http")]
    assert [link for link in ours if not (file.parent / link).exists()] == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_page_says_which_question_a_folder_answers(folder: str) -> None:
    assert "?" in QUESTIONS.get(folder, f"docs/structure.md has no row for {folder}")


def test_no_two_folders_answer_one_question() -> None:
    assert len(set(QUESTIONS.values())) == len(QUESTIONS)


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_itself_asks_the_question_of_the_page(folder: str) -> None:
    docstring = ast.get_docstring(ast.parse((ROOT / folder / "__init__.py").read_text(encoding="utf-8"))) or ""
    asked = " ".join(docstring.split()).partition(": ")[2].partition("?")[0]
    assert f"{asked[:1].upper()}{asked[1:]}?" == QUESTIONS[folder], (
        f"{folder} and docs/structure.md ask different questions"
    )


@pytest.mark.parametrize("name, path", OBJECTS)
def test_an_object_is_defined_where_the_page_says(name: str, path: str) -> None:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.ClassDef)}


def test_the_page_shows_the_picture_and_its_paths_exist() -> None:
    assert f"]({PICTURE.name})" in TEXT
    drawn = ElementTree.parse(PICTURE).getroot()
    texts = [element for element in drawn.iter("{http://www.w3.org/2000/svg}text") if element.get("class") == "path"]
    assert texts
    for path in (part for element in texts for part in (element.text or "").split(", ")):
        assert (ROOT / path).exists(), f"{PICTURE.name} names {path}"


def test_the_picture_is_drawn_for_light_and_dark_pages() -> None:
    assert "@media (prefers-color-scheme: dark)" in PICTURE.read_text(encoding="utf-8")


def test_every_folder_of_the_repository_that_holds_code_is_checked() -> None:
    known = {*TOP, "tests"}
    holding = {path.relative_to(ROOT).parts[0] for path in ROOT.glob("*/*.py")} - {".package", ".venv", "build"}
    assert {name for name in holding if not Path(name).name.startswith(".")} <= known
