"""Other precision: finished pretrainings that a table does not show because it asks for another precision."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import get_args

from ...pretrain.records.record import Record
from ...pretrain.specs.run import Precision
from ..paper.table import Table

MOVES_NO_NUMBER = "names records and reads none of their numbers"


def unused_runs(tables: Iterable[Table], runs: Path) -> str:
    """A line on the runs that are finished in another precision alone, and how to use them; "" where there are none."""
    wanted = dict.fromkeys(spec.run for table in tables for spec in table.specs if spec.run.epochs)
    finished: Counter[Precision] = Counter()
    for run in wanted:
        if Record(runs, run).status != "done":
            others = [name for name in get_args(Precision) if name not in (run.precision, "float64")]
            finished.update(name for name in others if Record(runs, replace(run, precision=name)).status == "done")
    return "\n".join(
        f"note: {count} of these tables' pretrainings finished in {name} and not in the precision asked for; "
        f"to use them: --precision {name}"
        for name, count in finished.items()
    )
