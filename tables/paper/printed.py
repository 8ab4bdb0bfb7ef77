"""The numbers the paper printed, from `paper_tables.csv` beside this file; no other file of the package repeats one.

Source: Tables 1 to 7 of the paper (AAAI 2024), transcribed with their bold marks. Row and column names are as printed.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...pretrain.specs.methods import METHODS
from ...pretrain.specs.run import PLUS

CSV = Path(__file__).with_name("paper_tables.csv")
Key = tuple[str, str, str, str]  # row, column group, column, metric
FACTS = ("epochs", "switch")  # metrics of the columns that state a setting and no measured number


@dataclass(frozen=True)
class Printed:
    """One number as the paper prints it; `text` has its decimals."""

    text: str
    bold: bool = False
    note: str = ""

    @property
    def value(self) -> float:
        """The number."""
        return float(self.text)


@functools.cache
def printed_tables() -> tuple[int, ...]:
    """The numbers of the tables that the paper has, in order; TABLES may have others."""
    with open(CSV, newline="") as handle:
        return tuple(sorted({int(line["table"]) for line in csv.DictReader(handle)}))


@functools.cache
def paper_table(number: int) -> Mapping[Key, Printed | None]:
    """Every cell of one table in printed order; None where the paper prints a dash.

    Raises ValueError on a table that the paper does not have.
    """
    with open(CSV, newline="") as handle:
        lines = [line for line in csv.DictReader(handle) if line["table"] == str(number)]
    if not lines:
        raise ValueError(f"no table {number} in the paper; it has {', '.join(map(str, printed_tables()))}")
    return {
        (line["row"], line["column_group"], line["column"], line["metric"]): (
            Printed(line["value"], bold=line["bold"] == "1", note=line["note"]) if line["value"] else None
        )
        for line in lines
    }


def printed_rows(number: int) -> tuple[str, ...]:
    """The row labels of a table, in printed order."""
    return tuple(dict.fromkeys(row for row, _, _, _ in paper_table(number)))


def printed_columns(number: int) -> tuple[tuple[str, str, str], ...]:
    """The columns of a table as (group, column, metric), in printed order."""
    return tuple(dict.fromkeys((group, column, metric) for _, group, column, metric in paper_table(number)))


def printed(number: int, row: str, group: str, column: str, metric: str) -> Printed | None:
    """One printed number, or None where the paper prints a dash. Raises ValueError on a cell the table lacks."""
    cells = paper_table(number)
    key = (row, group, column, metric)
    if key not in cells:
        raise ValueError(f"table {number} has no cell {key}; its rows: {', '.join(printed_rows(number))}")
    return cells[key]


def method_name(label: str) -> str:
    """The command-line name of the method that the paper prints as `label`, such as barlow_twins+.

    Tables 3 and 5 print Barlow Twins in two words. Raises ValueError on a label that the paper does not print.
    """
    names = {entry.label: name for name, entry in METHODS.items()}
    base = label.removesuffix(PLUS)
    if base.replace(" ", "") not in names:
        raise ValueError(f"no method is printed as {label!r}; known: {', '.join(names)}, each also with '+'")
    return names[base.replace(" ", "")] + label[len(base) :]
