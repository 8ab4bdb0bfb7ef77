"""The command behind `compmod data`: where a data set is expected, what is there, and whether it is intact."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from ..specs.datasets import DATASETS
from .options import DataOption, Name, Values

if TYPE_CHECKING:
    from ..data.inventory import Holding


def data_command(
    name: Annotated[
        Positional[str], Values(tuple(DATASETS)), arg(help=f"data set: {', '.join(DATASETS)}", metavar="NAME")
    ],
    data: DataOption = Path("data"),
    copy: Annotated[str, Name(), arg(help="name of a copy of it, a folder below the data folder")] = "",
    download: Annotated[bool, arg(help="fetch what is missing, where that is allowed")] = True,
) -> None:
    """Download a data set where that is allowed; list its files and whether their checksums are right."""
    from ..data.download import download as fetch
    from ..data.inventory import describe

    holdings = describe(name, data, copy)
    if download and not copy and not all(holding.ok for holding in holdings):
        if any(holding.checksum for holding in holdings):  # some of it is there
            _print_holdings(holdings)
        fetch(name, data)
        holdings = describe(name, data, copy)
    if faulty := _print_holdings(holdings):
        raise ValueError(f"{name} is not complete: {', '.join(faulty)}")


def _print_holdings(holdings: Sequence[Holding]) -> list[str]:
    """One line for every file or folder; returns the paths of those that are missing or wrong."""
    for holding in holdings:
        state = "ok    " if holding.ok else "FAULTY" if holding.checksum else "absent"
        words = [holding.found, f"expected {holding.expected}"]
        words += [f"checksum {holding.checksum}"] if holding.checksum else []
        print(f"{state} {holding.path}: {'; '.join(words)}", flush=True)
    return [holding.path for holding in holdings if not holding.ok]
