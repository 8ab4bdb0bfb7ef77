"""The Python API: what commands do, as functions. `import compmod` has their names, and imports them at first use."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .pretrain.commands.evaluate import EvaluateOptions, measured
from .pretrain.recipes.scales import Scale
from .pretrain.specs.run import Precision
from .tables.build import build_table, tables_at
from .tables.plan.cost import measured_rates
from .tables.plan.plan import Plan
from .tables.plan.plan import plan as planned
from .tables.render.render import long_frame
from .tables.results.cells import cell_results
from .tables.results.results import Results

if TYPE_CHECKING:
    import pandas as pd


def evaluate(source: Path | str, **options: Any) -> dict[str, Any]:
    """The results of measuring a finished run's folder or a file of weights, as `compmod evaluate` stores them.

    `options` are those of the command, such as protocol="semi-10" or data="data"; accuracies are shares from 0 to 1.
    A finished measurement is read. Raises ValueError as the command does, and TypeError on an unknown option.
    """
    paths = {name: Path(options[name]) for name in ("data", "data_folder", "runs") if options.get(name) is not None}
    return measured(Path(source), EvaluateOptions(**(options | paths)))[1]


def table(
    number: int,
    scale: Scale = "paper",
    *,
    seeds: int = 1,
    runs: Path | str = "runs",
    copies: Mapping[str, str] | None = None,
    precision: Precision | None = None,
) -> pd.DataFrame:
    """Table `number` of the paper, ours beside theirs, one line a cell: what `compmod table N --format csv` prints.

    Columns: table, row, group, column, metric, scale, data, paper, ours_mean and others, in per cent; empty text where
    there is no value. Nothing is trained. Raises ValueError on an unknown table, scale or data set.
    """
    built = build_table(number, scale, seeds, copies or {}, precision)
    return long_frame(built, cell_results(built, Results(Path(runs))))


def plan(
    *numbers: int,
    scale: Scale = "paper",
    seeds: int = 1,
    runs: Path | str = "runs",
    copies: Mapping[str, str] | None = None,
    precision: Precision | None = None,
) -> Plan:
    """What these tables (none = all) lack, each spec once, with predicted hours and disk: what `compmod plan` prints.

    `Plan.steps` has a step for each spec. Nothing is run. Raises ValueError on an unknown table, scale or data set.
    """
    tables = [build_table(number, scale, seeds, copies or {}, precision) for number in numbers or tables_at(scale)]
    return planned(tables, Path(runs), measured_rates(Path(runs)))
