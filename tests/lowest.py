"""The lowest versions that pyproject.toml allows, as constraints for pip: `make test-lowest` installs them.

What these packages need in turn is as constraints.txt has it, but for what torch pins itself.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
OF_TORCH = ("cuda-", "nvidia-", "sympy", "triton")  # each version of torch names one version of them


def lowest() -> dict[str, str]:
    """Package -> the lowest version that compmod itself takes."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return dict(requirement.split(">=") for requirement in project["dependencies"])


def beside(pinned: dict[str, str]) -> list[str]:
    """The lines of constraints.txt of all other packages."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return [line for line in lines if line.split("==")[0].lower() not in pinned and not line.startswith(OF_TORCH)]


if __name__ == "__main__":
    print(*(f"{name}=={version}" for name, version in lowest().items()), *beside(lowest()), sep="\n")
