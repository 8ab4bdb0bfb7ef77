"""What a stranger reads first: the licence, how to cite, what has changed, and that they name one version."""

from __future__ import annotations

import re
import tomllib
from importlib.util import find_spec
from typing import Any

import compmod
import pytest
import yaml
from paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PAPER = "Self-Supervised Representation Learning with Meta Comprehensive Regularization"


@pytest.fixture(scope="module")
def citation() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    return read


def test_every_file_names_the_version_of_the_project(citation: dict[str, Any]) -> None:
    versions = re.findall(
        r"^## (\d+\.\d+\.\d+) - \d{4}-\d{2}-\d{2}$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    assert {citation["version"], compmod.__version__, versions[0]} == {PROJECT["version"]}


def test_the_citation_has_what_version_1_2_0_of_the_format_requires(citation: dict[str, Any]) -> None:
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)
    assert all(author.get("name") or author.get("family-names") for author in citation["authors"])
    assert citation["title"] == PROJECT["name"]


def test_the_citation_names_the_paper(citation: dict[str, Any]) -> None:
    (paper,) = citation["references"]
    assert (paper["type"], paper["title"], paper["year"]) == ("conference-paper", PAPER, 2024)
    names = [f"{author['given-names']} {author['family-names']}" for author in paper["authors"]]
    assert names == ["Huijie Guo", "Ying Ba", "Jie Hu", "Lingyu Si", "Wenwen Qiang", "Lei Shi"]


def test_the_licence_is_mit_everywhere(citation: dict[str, Any]) -> None:
    assert (PROJECT["license"], citation["license"]) == ("MIT", "MIT")
    texts = [(ROOT / name).read_text() for name in PROJECT["license-files"]]
    assert [text.splitlines()[0] for text in texts] == ["MIT License"]


def test_the_changelog_begins_with_what_is_not_released_yet() -> None:
    titles = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert titles[0] == "Unreleased"


def test_every_import_path_that_the_changelog_calls_new_is_one() -> None:
    rows = re.findall(r"^ *\| `compmod\.[\w.]+` \| (.+) \|$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    modules = [module for row in rows for module in re.findall(r"`(compmod[\w.]+)`", row)]
    assert modules
    assert [module for module in modules if find_spec(module) is None] == []
