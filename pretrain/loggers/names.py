"""Names: the loggers that `--logger` knows, and the check that they are installed. Imports none of them, nor torch."""

from __future__ import annotations

from collections.abc import Collection
from importlib.util import find_spec
from typing import Literal, get_args

LoggerName = Literal["tensorboard", "trackio", "wandb", "mlflow", "none"]
FOREIGN: tuple[LoggerName, ...] = ("trackio", "wandb", "mlflow")  # each also the name of its package
DEFAULT: tuple[LoggerName, ...] = ("tensorboard",)


def chosen(words: Collection[str]) -> tuple[LoggerName, ...]:
    """The loggers of these names. Raises ValueError on a wrong choice, and on a logger that is not installed."""
    known: tuple[LoggerName, ...] = get_args(LoggerName)
    if unknown := sorted(set(words) - set(known)):
        raise ValueError(f"unknown logger {unknown[0]!r}; known: {', '.join(known)}")
    names = tuple(name for name in known if name in words)
    if not names or ("none" in names and len(names) > 1):
        given = " ".join(words) or "nothing"
        raise ValueError(f"logger must be one or several of {', '.join(known[:-1])}, or none alone, not {given}")
    for name in names:
        if name in FOREIGN and not _installed(name):
            raise ValueError(f"logger {name} is not installed; this installs it: pip install {name}")
    return names


def _installed(package: str) -> bool:
    """Whether a package can be imported; a mere folder of that name, such as wandb makes, is none."""
    found = find_spec(package)
    return found is not None and found.origin is not None
