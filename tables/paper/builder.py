"""Builder: what the tables have in common, from the paper's printed cells to a Table with specs.

A table is a subclass of `TableBuilder` that says only what is special in it: which run and which measurement a cell
asks for, and the names of its columns. Everything else has a default here.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, NamedTuple

from ...pretrain.recipes.scales import FOR_CPUS, PRECISIONS, Scale, scaled
from ...pretrain.specs.datasets import DATASETS
from ...pretrain.specs.measurement import Measurement
from ...pretrain.specs.run import Backbone, Precision, Run
from .printed import FACTS, Printed, method_name, paper_table, printed_columns, printed_rows
from .scales import ablated, copied, over_seeds, probes, scale_notes
from .table import ALL_PARTS, BESIDE, Cell, Column, Row, Table, Unit


class PrintedColumn(NamedTuple):
    """A column as the paper prints it."""

    group: str
    name: str
    metric: str

    @property
    def is_fact(self) -> bool:
        """Whether it states a setting and no measured number."""
        return self.metric in FACTS


class UnprintedRow(NamedTuple):
    """A row that the paper does not have, such as an untrained network; scales for CPUs have some."""

    label: str
    run: Run
    meaning: str  # one sentence for the report


class TableBuilder(abc.ABC):
    """One table of the paper at one scale. A subclass sets the constants and defines `heading` and `run`."""

    number: ClassVar[int]
    title: ClassVar[str]  # {backbone} stands for the network of our runs
    costs: ClassVar[Mapping[Scale, str]]  # of filling it with one seed, and whether it is measured or estimated
    errata: ClassVar[tuple[str, ...]]  # where the paper contradicts itself, and what ours do there
    datasets: ClassVar[tuple[str, ...]]  # those whose copies a note names
    unit: ClassVar[Unit] = "accuracy"
    cpu_group: ClassVar[str] = ""  # of several groups: the one that is printed at the scales for CPUs

    def __init__(
        self,
        scale: Scale = "paper",
        seeds: int = 1,
        copies: Mapping[str, str] | None = None,
        precision: Precision | None = None,
    ) -> None:
        self.scale, self.seeds, self.copies = scale, seeds, copies or {}
        self.precision = precision or PRECISIONS[scale]
        self.demo = scale == "demo"

    @classmethod
    def build(
        cls,
        scale: Scale = "paper",
        seeds: int = 1,
        copies: Mapping[str, str] | None = None,
        precision: Precision | None = None,
    ) -> Table:
        """The table; arguments as of `build_table`."""
        return cls(scale, seeds, copies, precision).table()

    @abc.abstractmethod
    def heading(self, column: PrintedColumn) -> str:
        """The heading above a column; columns of one heading are shown side by side."""

    @abc.abstractmethod
    def run(self, row: str, column: PrintedColumn) -> Run | None:
        """The pretraining whose measurement fills a cell, or None where nothing of ours does."""

    def measurement(self, run: Run, column: PrintedColumn) -> Measurement:
        """What is measured of `run`; by default the probes."""
        return probes(run, self.scale)

    def metric(self, column: PrintedColumn) -> str:
        """The key of a column's number in the results; by default that of the linear probe."""
        return "linear/top1"

    def column_name(self, column: PrintedColumn) -> str:
        """The name of a column; by default as printed."""
        return column.name

    def fact(self, row: str, column: PrintedColumn) -> str:
        """Our own setting in a column of settings."""
        raise NotImplementedError(f"table {self.number} prints a setting in {column} and does not define `fact`")

    def why_empty(self, row: str, column: PrintedColumn) -> str:
        """The reason why a cell has no run, such as "cited, not run"; empty where the paper has no such cell."""
        return ""

    def method(self, row: str) -> str:
        """The method of a row, by its command-line name; empty for several methods."""
        return method_name(row)

    def meaning(self, row: str) -> str:
        """One sentence for the report on a row; empty where its method says it."""
        return ""

    def unprinted_rows(self) -> tuple[UnprintedRow, ...]:
        """The rows above the printed ones."""
        return ()

    def notes(self) -> tuple[str, ...]:
        """The notes of this table alone; they precede its errata."""
        return ()

    def demo_column(self, column: PrintedColumn) -> Column:
        """The column of our numbers that shows digits in place of all data sets."""
        heading = self.heading(column)
        return Column(group=heading, name=column.name, heading=heading, parts=("ours",))

    def printed(self, row: str, column: PrintedColumn) -> Printed | None:
        """The printed number; None for a dash and for a cell that the paper does not have."""
        return paper_table(self.number).get((row, *column))

    def pretraining(self, method: str, dataset: str) -> Run:
        """The run of `method` on `dataset`, or on the copy of it that was asked for; at scale `demo` on the digits."""
        return copied(scaled(method, dataset, self.scale), self.copies)

    def ablated(self, method: str) -> Run:
        """The run that the ablations, Tables 4, 6 and 7, vary: `method` on CIFAR-10."""
        return ablated(method, self.scale, self.copies)

    def data_label(self, run: Run) -> str:
        """The data of `run` in words."""
        return run.data_label + (" (demo)" if self.demo else "")

    def table(self) -> Table:
        """The table, its columns and rows in printed order."""
        rows = (
            *(self._unprinted_row(row) for row in self.unprinted_rows()),
            *(self._row(label) for label in printed_rows(self.number)),
        )
        return Table(
            number=self.number,
            title=self.title.replace("{backbone}", self._backbone(rows)),
            scale=self.scale,
            columns=self._columns(),
            rows=rows,
            cost=self.costs[self.scale],
            notes=(*scale_notes(self.scale, self.copies, self.datasets, self.precision), *self.notes(), *self.errata),
        )

    @property
    def _apart(self) -> bool:
        """Whether our numbers and the printed ones have columns of their own."""
        return self.demo and bool(self.cpu_group)

    def _printed_columns(self) -> list[PrintedColumn]:
        columns = [PrintedColumn(*column) for column in printed_columns(self.number)]
        group = self.cpu_group if self.scale in FOR_CPUS else ""
        return [column for column in columns if group in ("", column.group)]

    def _columns(self) -> tuple[Column, ...]:
        columns = self._printed_columns()
        if not self._apart:
            return tuple(map(self._column, columns))
        theirs = [replace(self._column(column), parts=("paper",)) for column in columns]
        return (*map(self.demo_column, columns), *theirs)

    def _column(self, column: PrintedColumn) -> Column:
        return Column(
            group=column.group,
            name=self.column_name(column),
            heading=self.heading(column),
            parts=BESIDE if self.demo or column.is_fact else ALL_PARTS,
            unit="fact" if column.is_fact else self.unit,
        )

    def _row(self, label: str) -> Row:
        cells = [self._cell(label, column) for column in self._printed_columns()]
        if self._apart:
            theirs = [replace(cell, specs=()) for cell in cells]
            cells = [*(replace(cell, paper=None) for cell in cells), *theirs]
        return Row(label=label, method=self.method(label), cells=tuple(cells), meaning=self.meaning(label))

    def _cell(self, row: str, column: PrintedColumn) -> Cell:
        number = self.printed(row, column)
        if column.is_fact:
            return Cell(metric=column.metric, paper=number, fact=self.fact(row, column))
        run = self.run(row, column)
        if run is None:
            return Cell(metric=self.metric(column), paper=number, why_empty=self.why_empty(row, column))
        return Cell(metric=self.metric(column), paper=number, specs=self._specs(run, column))

    def _specs(self, run: Run, column: PrintedColumn) -> tuple[Measurement, ...]:
        """One measurement a seed."""
        run = replace(run, precision=self.precision)
        return over_seeds(run, self.seeds, lambda seeded: self.measurement(seeded, column))

    def _unprinted_row(self, row: UnprintedRow) -> Row:
        columns = self._printed_columns()
        cells = [Cell(metric=self.metric(column), specs=self._specs(row.run, column)) for column in columns]
        if self._apart:
            cells += [Cell(metric=self.metric(column)) for column in columns]
        return Row(label=row.label, cells=tuple(cells), meaning=row.meaning)

    def _backbone(self, rows: tuple[Row, ...]) -> str:
        """The network of our runs in words; that of the last row, for the first ones may be raw pixels."""
        (*_, spec) = (spec for row in rows for cell in row.cells for spec in cell.specs)
        backbone = spec.run.backbone
        width = f" of width {backbone.width}" if backbone.width != Backbone().width else ""
        return f"ResNet-{backbone.name.removeprefix('resnet')}{width}"


def dataset_of(label: str) -> str:
    """The name of the data set that the paper prints as `label`. Raises KeyError on a label that none has."""
    return {entry.label: name for name, entry in DATASETS.items()}[label]
