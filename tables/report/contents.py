"""Contents: everything that a report says of tables at one scale, read from the runs folder.

A missing or damaged record leaves a gap that says so. torch is imported only to draw the views.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np

from ...pretrain.recipes.scales import Scale
from ...pretrain.specs.methods import METHODS
from ...pretrain.specs.run import PLUS, Precision, Run
from ..build import build_table, tables_at
from ..claims.checked_claims import CheckedClaim, check_claims, check_printed
from ..paper.table import Table
from ..plan.cost import measured_rates
from ..plan.plan import Plan, plan
from ..results.cells import CellResult, cell_results
from ..results.gains import Gain, gains
from ..results.measurements import FinishedMeasurement, finished_measurements
from ..results.results import Results
from ..results.verdict import CellVerdict
from .charts import draw_charts, is_measured
from .curves import by_panel, draw_training_curves, read_training_curves
from .detections import detections
from .figures import Picture, draw_views
from .gain_charts import draw_gains

if TYPE_CHECKING:
    from numpy.typing import NDArray

VIEWED = 10  # source images in the picture of views


@dataclass(frozen=True, kw_only=True)
class Tally:
    """How many cells of one or more tables are filled, and their verdicts."""

    wanted: int  # cells that runs of ours can fill
    filled: int  # of those, with a number from at least one seed
    complete: int  # of those, with a number from every seed
    cited: int  # printed cells without runs of ours, such as those of cited rows
    stale: int  # filled cells with a number made by code that has changed since
    verdicts: Mapping[CellVerdict, int]

    @classmethod
    def of(cls, cells: Sequence[CellResult]) -> Tally:
        """The tally of these cells, without settings and without columns of printed numbers alone."""
        ours = [result for result in cells if is_measured(result.column)]
        wanted = [result for result in ours if result.cell.specs]
        done = [result for result in wanted if result.seed_results.values]
        judged = Counter(result.judgement.verdict for result in done if result.judgement)
        return cls(
            wanted=len(wanted),
            filled=len(done),
            complete=sum(len(result.seed_results.values) == len(result.cell.specs) for result in done),
            cited=sum(bool(result.cell.paper) and not result.cell.specs for result in ours),
            stale=sum(bool(result.stale) for result in done),
            verdicts=judged,
        )


@dataclass(frozen=True, kw_only=True)
class TableSection:
    """One table with its pictures."""

    table: Table
    cells: tuple[CellResult, ...]
    pictures: tuple[Picture, ...]
    gains: tuple[Gain, ...] = ()  # of its "+" rows
    gain_pictures: tuple[Picture, ...] = ()

    @property
    def tally(self) -> Tally:
        """The tally of its cells."""
        return Tally.of(self.cells)


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a report says. `claims` pairs each claim checked on the paper's numbers with the same on ours."""

    scale: Scale
    seeds: int
    results: Results
    sections: tuple[TableSection, ...]
    claims: tuple[tuple[CheckedClaim, CheckedClaim], ...] = ()
    curves: tuple[Picture, ...] = ()
    detections: tuple[Picture, ...] = ()  # on test images
    views: Picture | None = None
    meanings: tuple[tuple[str, str], ...] = ()  # label of a row, and what it is
    missing: Plan | None = None
    measurements: tuple[FinishedMeasurement, ...] = ()

    @property
    def damaged(self) -> tuple[str, ...]:
        """A sentence with its path for each record that could not be read."""
        return tuple(self.results.damaged)

    @property
    def tally(self) -> Tally:
        """The tally of all sections."""
        return Tally.of([result for section in self.sections for result in section.cells])

    @property
    def gains(self) -> tuple[Gain, ...]:
        """The gains of all sections."""
        return tuple(gain for section in self.sections for gain in section.gains)

    @property
    def gain_pictures(self) -> tuple[Picture, ...]:
        """What "+" changes, of all sections."""
        return tuple(picture for section in self.sections for picture in section.gain_pictures)

    @property
    def headline(self) -> str:
        """How far the tables are filled, in a sentence."""
        tally = self.tally
        text = f"{tally.filled} of {tally.wanted} cells have a number of ours"
        if self.seeds > 1:
            text += f", {tally.complete} of them over all {self.seeds} seeds"
        if tally.verdicts:
            text += f": {counts(tally.verdicts)}"
        if tally.stale:
            text += f"; {tally.stale} come from code that has changed since"
        return text + "."


def report_on(tables: Sequence[Table], runs: Path) -> Report:
    """The report on these tables alone, which all have one scale."""
    results = Results(runs)
    pairs = [(table, tuple(cell_results(table, results))) for table in tables]
    sections = tuple(_section(table, cells) for table, cells in pairs)
    first = next((spec.run for table in tables for spec in table.specs if spec.run.epochs), None)
    return Report(
        scale=tables[0].scale,
        seeds=max(len(cell.specs) for table in tables for row in table.rows for cell in row.cells),
        results=results,
        sections=sections,
        curves=_curves(tables, results),
        detections=detections(tables, results),
        views=_views(first) if first and first.dataset == "digits" else None,
        meanings=tuple(_meanings(tables)),
        measurements=finished_measurements(((table.number, cell) for table, cells in pairs for cell in cells), results),
    )


def _section(table: Table, cells: tuple[CellResult, ...]) -> TableSection:
    found = tuple(gains(cells))
    return TableSection(
        table=table,
        cells=cells,
        pictures=draw_charts(table, cells),
        gains=found,
        gain_pictures=draw_gains(table, found),
    )


def full_report(
    runs: Path,
    scale: Scale = "paper",
    seeds: int = 1,
    copies: Mapping[str, str] | None = None,
    precision: Precision | None = None,
) -> Report:
    """The report on all tables, with the paper's claims and what is missing."""
    tables = [build_table(number, scale, seeds, copies, precision) for number in tables_at(scale)]
    report = report_on(tables, runs)
    return replace(
        report,
        claims=tuple(zip(check_printed(), check_claims(report.results, scale, seeds, copies, precision), strict=True)),
        missing=plan(tables, report.results, measured_rates(runs)),
    )


def counts(numbers: Mapping[CellVerdict, int]) -> str:
    """Such as "3 reproduced, 1 lower"."""
    return ", ".join(f"{numbers[verdict]} {verdict}" for verdict in get_args(CellVerdict) if verdict in numbers)


def _curves(tables: Sequence[Table], results: Results) -> tuple[Picture, ...]:
    """The curves of every run of `tables` that logged any, one picture for a method on a data set."""
    panels = by_panel((table.number, spec.run) for table in tables for spec in table.specs)
    read = {
        title: [read_training_curves(results.path, run, results.damage) for run in some]
        for title, some in panels.items()
    }
    logged = {title: [training for training in some if len(training.loss.values)] for title, some in read.items()}
    return tuple(draw_training_curves(title, trainings) for title, trainings in logged.items() if trainings)


def _meanings(tables: Sequence[Table]) -> list[tuple[str, str]]:
    """What the rows are, each once; a row that only one table has is named with that table."""
    meanings: dict[str, str] = {}
    for table in tables:
        own = all(row.meaning for row in table.rows)
        for row in table.rows:
            if row.meaning:
                meanings.setdefault(f"Table {table.number}, {row.label}" if own else row.label, row.meaning)
            elif row.method:
                meanings.setdefault(*_method(row.method))
    return list(meanings.items())


def _method(name: str) -> tuple[str, str]:
    """The label of a method, and what it is."""
    entry = METHODS[name.removesuffix(PLUS)]
    if name.endswith(PLUS):
        return entry.label + PLUS, f"CompMod around {entry.label}, every other setting as in its plain row."
    return entry.label, f"{entry.source}."


def _views(run: Run) -> Picture:
    sources, views = sample_views(run)
    title = f"{VIEWED} images of {run.data_label}, and two views of each as {run.label} sees them."
    return draw_views(sources, views, title)


def sample_views(run: Run) -> tuple[NDArray[np.uint8], list[NDArray[np.float32]]]:
    """Images of the digits and the views that `run` makes of them in its first epoch, values 0 to 1."""
    import torch

    from ...pretrain.data.load import load
    from ...pretrain.views.augment import Views

    dataset = run.data
    images = load(run.dataset, "pretrain", Path())
    index = np.linspace(0, len(images) - 1, VIEWED).astype(np.int64)
    sources = images.pixels[index]
    mean, std = (np.array(values, dtype=np.float32)[:, None, None] for values in (dataset.mean, dataset.std))
    views = []
    for number, augmentation in enumerate(run.views):
        view = Views(augmentation, dataset, run.seed, number)
        normalised = view(torch.from_numpy(sources), torch.from_numpy(index), 0)
        views.append(normalised.numpy() * std + mean)
    return sources, views
