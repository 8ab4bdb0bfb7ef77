"""Seeded: a claim's comparisons looked up in our records and decided over seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ...pretrain.recipes.scales import Scale
from ..build import build_table
from ..paper.printed import printed
from ..paper.table import Cell, Table
from ..results.comparability import Setting, setting
from ..results.results import Runs
from .comparison import Comparison, Decided, Place, decide_seeds


@dataclass(frozen=True)
class Sample:
    """The finished seeds of one place; places of one experiment have one name."""

    name: str
    values: tuple[float, ...]
    why_missing: str
    setting: Setting  # what two tables may differ in
    data: str = ""  # where it is not what the paper's column is of
    stale: frozenset[str] = frozenset()  # digests of seeds whose source files have changed since


class Checked(NamedTuple):
    """What became of a claim's comparisons."""

    decided: list[Decided]
    missing: list[str]  # places without a finished seed, and tables whose runs do not compare
    stale: int  # how many of the seeds were made by files that have changed since


class Seeded:
    """Our records for the paper's places, each looked up once."""

    def __init__(self, runs: Runs, scale: Scale, seeds: int, copies: Mapping[str, str] | None) -> None:
        self._runs, self._scale, self._seeds, self._copies = runs, scale, seeds, copies
        self._tables: dict[int, Table] = {}
        self._samples: dict[Place, Sample] = {}

    def check(self, comparisons: Sequence[Comparison]) -> Checked:
        """Decide those comparisons that have their seeds, each once, and say what the others miss.

        At scale `demo` several data sets are one, so different comparisons of the paper's can be one of ours.
        """
        unique: dict[tuple[str, ...], Comparison] = {}
        missing: dict[str, None] = {}
        for comparison in comparisons:
            samples = [self.sample(place) for place in comparison.places]
            reasons = [sample.why_missing for sample in samples if sample.why_missing]
            reasons = reasons or _unlike(comparison, samples)
            missing |= dict.fromkeys(reasons)
            if not reasons:
                unique.setdefault(tuple(sample.name for sample in samples), comparison)
        decided = [self._decide(each, len(unique)) for each in unique.values()]
        used = {place for comparison in unique.values() for place in comparison.places}
        stale = frozenset[str]().union(*(self.sample(place).stale for place in used))
        return Checked(decided, list(missing), len(stale))

    def _decide(self, comparison: Comparison, comparisons: int) -> Decided:
        samples = [self.sample(place) for place in comparison.places]
        named = [(sample.name, sample.values) for sample in samples]
        return decide_seeds(comparison, named, comparisons, data=samples[0].data)

    def sample(self, place: Place) -> Sample:
        """The finished seeds of a place, or why there are none."""
        if place not in self._samples:
            self._samples[place] = self._look_up(place)
        return self._samples[place]

    def _look_up(self, place: Place) -> Sample:
        if place.table not in self._tables:
            self._tables[place.table] = build_table(place.table, self._scale, self._seeds, self._copies)
        cell = find(self._tables[place.table], place)
        if cell is None or not cell.specs:
            reason = cell.why_empty if cell else f"not in the table at scale {self._scale}"
            return Sample("", (), f"{place.text} ({reason or 'not run'})", setting=())
        outcome = self._runs.outcome(cell)
        name = " ".join((cell.metric, *(spec.digest for spec in cell.specs)))
        run = cell.specs[0].run
        return Sample(
            name=name,
            values=outcome.values,
            why_missing="" if outcome.values else f"{place.text} ({outcome.state})",
            setting=setting(cell.specs[0]),
            data=run.data_label if self._scale == "demo" or run.copy else "",
            stale=frozenset(source.digest for source in outcome.sources if source.stale),
        )


def find(table: Table, place: Place) -> Cell | None:
    """The cell of ours that stands for what the paper prints at `place`.

    Where the table shows it beside the printed number, that one. Where the paper's numbers have columns of their own,
    as at scale `demo`, the cell of the same row and metric whose column agrees best in group and name, if one does.
    """
    number = printed(*place)
    ours = [
        (row.label, column, cell)
        for row in table.rows
        for column, cell in zip(table.columns, row.cells, strict=True)
        if "ours" in column.parts and (cell.specs or cell.why_empty)
    ]
    beside = [cell for _, _, cell in ours if cell.paper is number]
    if beside:
        return beside[0]
    ranked: dict[int, list[Cell]] = {}
    for label, column, cell in ours:
        if label == place.row and cell.metric.split("/")[-1] == place.metric:
            ranked.setdefault((column.group == place.group) + (column.name == place.column), []).append(cell)
    best = ranked[max(ranked)] if ranked else []
    return best[0] if len(best) == 1 else None


def _unlike(comparison: Comparison, samples: Iterable[Sample]) -> list[str]:
    """Why samples of different tables cannot be compared: at scale `demo` the ablations' runs are briefer."""
    tables = sorted({place.table for place in comparison.places})
    aspects = zip(*(sample.setting for sample in samples), strict=True)
    differing = [words for words in map(dict.fromkeys, aspects) if len(words) > 1]
    if len(tables) == 1 or not differing:
        return []
    texts = "; ".join(" and ".join(words) for words in differing)
    return [f"runs of one setting in Tables {' and '.join(map(str, tables))} ({texts})"]
