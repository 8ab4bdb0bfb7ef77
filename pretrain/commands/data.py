"""The command behind `compmod data`: where a data set is expected, what is there, and whether it is intact."""

from __future__ import annotations

import sys
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
    """List the files of a data set, whether they are there, and whether their checksums are right."""
    from ..data.download import download as fetch
    from ..data.inventory import describe

    faulty = _print_holdings(describe(name, data, copy))
    if faulty and download and not copy:
        print(f"downloading {name} to {data}", file=sys.stderr)
        fetch(name, data)
        faulty = _print_holdings(describe(name, data, copy))
    if faulty:
        raise ValueError(f"{name} is not complete: {', '.join(faulty)}")


def _print_holdings(holdings: Sequence[Holding]) -> list[str]:
    """One line for every file or folder; returns the paths of those that are missing or wrong."""
    for holding in holdings:
        words = f"{holding.found}; expected {holding.expected}; checksum {holding.checksum}"
        print(f"{'ok    ' if holding.ok else 'FAULTY'} {holding.path}: {words}", flush=True)
    return [holding.path for holding in holdings if not holding.ok]
