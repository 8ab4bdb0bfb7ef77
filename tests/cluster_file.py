"""Run a command with a file of clusters, as the variable of the environment names it. On the path of every test."""

from __future__ import annotations

import os
from collections.abc import Sequence

from compmod.cli import main


def with_clusters(arguments: Sequence[str]) -> None:
    """The first argument is the file, the rest the command."""
    os.environ["COMPMOD_CLUSTERS"], *words = arguments
    main(words)
