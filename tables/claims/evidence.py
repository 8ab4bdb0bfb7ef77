"""Evidence: the comparisons of a claim, looked up in our records and decided over seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ...pretrain.recipes.scales import Scale
from ...pretrain.specs.run import Precision
from ..build import build_table, tables_at
from ..paper.printed import printed
from ..paper.table import Cell, Table
from ..results.comparability import Conditions, conditions
from ..results.results import Results
from .comparison import Comparison, DecidedComparison, PrintedCell, compare_seeds


@dataclass(frozen=True)
class SeedSample:
    """Our finished seeds for one printed cell; cells of one experiment have one name."""

    name: str
    values: Mapping[int, float]  # by seed
    why_missing: str
    conditions: Conditions  # what two tables may differ in
    data: str = ""  # where it is not what the paper's column is of
    stale: frozenset[str] = frozenset()  # digests of seeds whose source files have changed since


class Evidence(NamedTuple):
    """The comparisons of a claim that our records decide, and what is missing for the others."""

    decided: list[DecidedComparison]
    missing: list[str]  # cells without a finished seed, and tables whose runs cannot be compared
    stale: int  # how many of the seeds were made by files that have changed since


class ClaimChecker:
    """Decides comparisons on our records; the seeds of each printed cell are looked up once."""

    def __init__(
        self,
        results: Results,
        scale: Scale,
        seeds: int,
        copies: Mapping[str, str] | None,
        precision: Precision | None = None,
    ) -> None:
        self._results, self._scale = results, scale
        self._settings = scale, seeds, copies, precision
        self._tables: dict[int, Table] = {}
        self._samples: dict[PrintedCell, SeedSample] = {}

    def check(self, comparisons: Sequence[Comparison]) -> Evidence:
        """Decide the comparisons that have seeds, each once, and name what the others lack.

        At scale `demo` one data set replaces several, so that two comparisons of the paper can be one of ours.
        """
        unique: dict[tuple[str, ...], Comparison] = {}
        missing: dict[str, None] = {}
        for comparison in comparisons:
            samples = [self.sample(printed_cell) for printed_cell in comparison.cells]
            reasons = [sample.why_missing for sample in samples if sample.why_missing]
            reasons = reasons or _unlike(comparison, samples)
            missing |= dict.fromkeys(reasons)
            if not reasons:
                unique.setdefault(tuple(sample.name for sample in samples), comparison)
        decided = [self._decide(comparison, len(unique)) for comparison in unique.values()]
        used = {printed_cell for comparison in unique.values() for printed_cell in comparison.cells}
        stale = frozenset[str]().union(*(self.sample(printed_cell).stale for printed_cell in used))
        return Evidence(decided, list(missing), len(stale))

    def _decide(self, comparison: Comparison, comparisons: int) -> DecidedComparison:
        samples = [self.sample(printed_cell) for printed_cell in comparison.cells]
        named = [(sample.name, sample.values) for sample in samples]
        return compare_seeds(comparison, named, comparisons, data=samples[0].data)

    def sample(self, printed_cell: PrintedCell) -> SeedSample:
        """Our finished seeds for a printed cell, or why there are none."""
        if printed_cell not in self._samples:
            self._samples[printed_cell] = self._look_up(printed_cell)
        return self._samples[printed_cell]

    def _look_up(self, printed_cell: PrintedCell) -> SeedSample:
        if printed_cell.table not in tables_at(self._scale):
            return SeedSample("", {}, f"{printed_cell.text} (not at scale {self._scale})", conditions=())
        if printed_cell.table not in self._tables:
            self._tables[printed_cell.table] = build_table(printed_cell.table, *self._settings)
        cell = our_cell(self._tables[printed_cell.table], printed_cell)
        if cell is None or not cell.specs:
            reason = cell.why_empty if cell else f"not in the table at scale {self._scale}"
            return SeedSample("", {}, f"{printed_cell.text} ({reason or 'not run'})", conditions=())
        seed_results = self._results.seed_results(cell)
        name = " ".join((cell.metric, *(spec.digest for spec in cell.specs)))
        run = cell.specs[0].run
        return SeedSample(
            name=name,
            values={one.seed: value for one, value in zip(seed_results.provenances, seed_results.values, strict=True)},
            why_missing="" if seed_results.values else f"{printed_cell.text} ({seed_results.state})",
            conditions=conditions(cell.specs[0]),
            data=run.data_label if self._scale == "demo" or run.copy else "",
            stale=frozenset(provenance.digest for provenance in seed_results.provenances if provenance.stale),
        )


def our_cell(table: Table, printed_cell: PrintedCell) -> Cell | None:
    """The cell of `table` whose specs give our number for `printed_cell`, if there is one.

    It is the cell with the printed number. At scale `demo`, where digits stand for every data set and printed numbers
    have columns of their own, it is the cell of the same row and metric whose column agrees best in group and name, if
    exactly one does.
    """
    number = printed(*printed_cell)
    ours = [
        (row.label, column, cell)
        for row in table.rows
        for column, cell in zip(table.columns, row.cells, strict=True)
        if "ours" in column.parts and (cell.specs or cell.why_empty)
    ]
    same_cell = [cell for _, _, cell in ours if cell.paper is number]
    if same_cell or table.scale != "demo":
        return same_cell[0] if same_cell else None
    ranked: dict[int, list[Cell]] = {}
    for label, column, cell in ours:
        if label == printed_cell.row and cell.metric.split("/")[-1] == printed_cell.metric:
            ranked.setdefault((column.group == printed_cell.group) + (column.name == printed_cell.column), []).append(
                cell
            )
    best = ranked[max(ranked)] if ranked else []
    return best[0] if len(best) == 1 else None


def _unlike(comparison: Comparison, samples: Iterable[SeedSample]) -> list[str]:
    """Why samples of different tables cannot be compared: at scale `demo` the ablations train for fewer epochs."""
    tables = sorted({printed_cell.table for printed_cell in comparison.cells})
    aspects = zip(*(sample.conditions for sample in samples), strict=True)
    differing = [words for words in map(dict.fromkeys, aspects) if len(words) > 1]
    if len(tables) == 1 or not differing:
        return []
    texts = "; ".join(" and ".join(words) for words in differing)
    return [f"runs of one setting in Tables {' and '.join(map(str, tables))} ({texts})"]
