"""The files that build images: both take along all of the package, and say what of them was run."""

from __future__ import annotations

import pytest
from paths import ROOT

FOLDER = ROOT / "slurm" / "containers"
NEEDED = {"pyproject.toml", "setup.py", "constraints.txt", "README.md", "LICENSE"}  # by pip, to build and install
NEEDED |= {path.name for path in ROOT.glob("*.py")} | {path.parent.name for path in ROOT.glob("*/__init__.py")}


def taken(name: str) -> set[str]:
    """What a file copies into the image."""
    lines = [line.split() for line in (FOLDER / name).read_text().splitlines() if "/src" in line]
    sources = [words[1:-1] if words[0] == "COPY" else words[:-1] for words in lines if words[-1].startswith("/src/")]
    return {source for found in sources for source in found}


@pytest.mark.parametrize("name", ["Dockerfile", "compmod.def"])
def test_an_image_gets_all_that_installs_the_package(name: str) -> None:
    assert taken(name) == NEEDED


@pytest.mark.parametrize("name", ["Dockerfile", "compmod.def"])
def test_the_head_says_what_of_it_was_run(name: str) -> None:
    assert "\n# What of it was run: " in (FOLDER / name).read_text()
