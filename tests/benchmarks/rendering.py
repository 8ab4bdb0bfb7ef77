"""Time of rendering all seven tables from 20,000 finished records: `python tests/benchmarks/rendering.py`.

Makes the records, of the tables' own specs over as many seeds as it takes and with made-up numbers, in a temporary
folder. Prints the seconds of processor time of `render` in every format, digests included, and of making the specs;
fails if markdown takes longer than the bound or torch was imported.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from compmod.pretrain.records.fingerprint import fingerprint
from compmod.pretrain.specs.measurement import Work
from compmod.tables.build import TABLES, build_table
from compmod.tables.paper.table import Table
from compmod.tables.render.render import FORMATS, render

RECORDS = 20_000
BOUND_S = 2.0  # of all seven in markdown


def main() -> None:
    """Make the records, time the rendering, and say how it went."""
    seeds = _seeds()
    with tempfile.TemporaryDirectory() as folder:
        print(f"{_fill(_tables(seeds), Path(folder)):,} finished records of seven tables over {seeds} seeds")
        taken = {}
        for form in FORMATS:
            start = time.process_time()
            tables = _tables(seeds)  # anew, for a spec keeps its digest
            built = time.process_time() - start
            text = "".join(render(table, Path(folder), form) for table in tables)
            taken[form] = time.process_time() - start - built
            print(f"{form:5}: {taken[form]:.2f} s to render {len(text):,} characters, {built:.2f} s to make the specs")
    assert "torch" not in sys.modules, "rendering imported torch"
    if taken["md"] > BOUND_S:
        sys.exit(f"rendering took {taken['md']:.2f} s, more than {BOUND_S} s")


def _tables(seeds: int) -> list[Table]:
    return [build_table(number, "paper", seeds) for number in TABLES]


def _seeds() -> int:
    """How many seeds make so many records."""
    tables = _tables(1)
    return -(-RECORDS // len(set(_records(tables))))


def _records(tables: list[Table]) -> Iterator[Work]:
    for table in tables:
        for spec in table.specs:
            yield spec.run
            yield spec


def _fill(tables: list[Table], runs: Path) -> int:
    """Finish every record, without the waiting for a disk that a real one does; returns how many there are."""
    chance = random.Random(0)
    made: set[str] = set()
    for spec in _records(tables):
        if spec.digest in made:
            continue
        made.add(spec.digest)
        metrics = ("linear/top1", "linear/top5", "knn/top1", "top1", "top5")
        results = {name: round(0.9 + chance.gauss(0, 0.002), 6) for name in metrics}
        folder = runs / spec.folder
        folder.mkdir(parents=True)
        (folder / "results.json").write_text(json.dumps(results, indent=2))
        (folder / "provenance.json").write_text(json.dumps(_provenance(spec), indent=2))
    return len(made)


def _provenance(spec: Work) -> dict[str, object]:
    """As long as a real one."""
    return {
        "spec": type(spec).__qualname__,
        "digest": spec.digest,
        "seed": spec.run.seed,
        "data_digest": "0" * 64,
        "git": {"commit": "0" * 40, "dirty": False},
        "source": fingerprint(spec),
        "versions": dict.fromkeys(("python", "compmod", "torch", "torchvision", "numpy", "scikit-learn"), "1.0.0"),
        "hardware": {"device": "cuda", "cpu": "a processor", "cores": 16, "platform": "Linux", "gpu": "an accelerator"},
        "seconds": 14_400.0,
        "started": "2024-01-01T00:00:00+00:00",
        "ended": "2024-01-01T04:00:00+00:00",
        "command": "python -m compmod table 1 --run",
    }


if __name__ == "__main__":
    main()
