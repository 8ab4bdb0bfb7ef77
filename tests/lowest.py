"""The lowest versions that pyproject.toml allows, as constraints for pip: `make test-lowest` installs them.

What these packages need in turn is as constraints.txt has it, but for what torch pins itself.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXTRAS = ("detection", "hub")
OF_TORCH = ("cuda-", "nvidia-", "sympy", "triton")  # each version of torch names one version of them


def lowest() -> dict[str, str]:
    """Package -> the lowest version that compmod itself takes, with what EXTRAS take."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [requirement for extra in EXTRAS for requirement in project["optional-dependencies"][extra]]
    return dict(one.split(",")[0].split(">=") for one in (*project["dependencies"], *extras))


def beside(pinned: dict[str, str]) -> list[str]:
    """The lines of constraints.txt of all other packages."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    names = [line.split("==")[0].lower().replace("_", "-") for line in lines]
    pairs = zip(names, lines, strict=True)
    return [line for name, line in pairs if name not in pinned and not line.startswith(OF_TORCH)]


if __name__ == "__main__":
    print(*(f"{name}=={version}" for name, version in lowest().items()), *beside(lowest()), sep="\n")
