"""CPU seconds to plan ten thousand measurements, none or half of them finished, and to build their table.

python tests/benchmarks/planning.py [--measurements 10000]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from compmod.pretrain.records.record import Record
from compmod.tables.build import build_table
from compmod.tables.paper.table import Table
from compmod.tables.plan.cost import measured_rates
from compmod.tables.plan.plan import plan

PROVENANCE = {"seconds": 1.0, "hardware": {"cpu": "a processor", "threads": 1}}


def finish(runs: Path, table: Table) -> None:
    """Write finished records for every other measurement of the table, and for its pretraining."""
    results = {"linear/top1": 0.9, "knn/top1": 0.8}
    for spec in table.specs[::2]:
        for record in (Record(runs, spec.run), Record(runs, spec)):
            record.path.mkdir(parents=True, exist_ok=True)
            files = {"spec": record.spec.to_dict(), "provenance": PROVENANCE, "results": results}
            for name, content in files.items():  # not by the record, which waits for the disk
                (record.path / f"{name}.json").write_text(json.dumps(content))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--measurements", type=int, default=10_000)
    asked = parser.parse_args()
    one = len(build_table(1).specs)
    start = time.process_time()
    table = build_table(1, "paper", -(-asked.measurements // one))
    count = len(table.specs)  # makes their digests
    built = time.process_time() - start
    print(f"{count:,} measurements: {built:.2f} s to build their table")
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder)
        for state in ("nothing done", "half of it done"):
            start = time.process_time()
            rates = measured_rates(runs)
            read = time.process_time() - start
            found = plan([table], runs, rates)
            planned = time.process_time() - start - read
            print(f"{state}: {planned:.2f} s to plan {len(found.steps):,} steps, {read:.2f} s to read the rates")
            if state == "nothing done":
                finish(runs, table)


if __name__ == "__main__":
    main()
