"""Study: does "+" help? The tables and figures of results/README.md, rendered from the records beside it.

One table of docs/tables.md rests on them, too.

    python tests/benchmarks/study.py                              # render all between the markers, draw the figures
    python tests/benchmarks/study.py --take RUNS results/laptop   # copy what is finished, without weights
    python tests/benchmarks/study.py --run simclr laptop RUNS --seeds 2 --workers 2   # the table of a mechanism

A study goes on in a copy of its records (`cp -r results/laptop RUNS`), which are not run again.
`compmod table N --scale laptop --run` (and `--scale demo`) runs the tables of the paper, `equivalence.py` lightly.
"""

from __future__ import annotations

import argparse
import functools
import shutil
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import equivalence
import precision
from compmod.pretrain.records.files import METRICS_FILE, PROVENANCE_FILE, RESULTS_FILE, SPEC_FILE
from compmod.pretrain.records.record import Record
from compmod.tables.claims.checked_claims import check_claims, check_printed
from compmod.tables.paper.table import Table
from compmod.tables.render.amounts import duration
from compmod.tables.render.markdown import escaped_note, gain_frame, heading_frame
from compmod.tables.reproduce import run_table
from compmod.tables.results.cells import cell_results
from compmod.tables.results.gains import gains
from compmod.tables.results.gaps import rows_with_results
from compmod.tables.results.measurements import finished_measurements, wall_time_s
from compmod.tables.results.results import Results
from page import markdown, replace_between
from study_figures import pictures
from study_gains import against, by_seed, gain_text, pairs_on_digits, stopped, variant_gains
from study_tables import (
    BASES,
    COPIES,
    FLOWS,
    HERE,
    NOT_YET,
    SEEDS,
    STOPPED,
    VARIANTS,
    Data,
    both_precisions,
    digits,
    laptop,
    mechanism,
)

PAGE = HERE / "README.md"
DEMO_PAGE = HERE.parent / "docs/tables.md"
KEPT = (SPEC_FILE, RESULTS_FILE, PROVENANCE_FILE, METRICS_FILE)


def take(source: Path, target: Path) -> int:
    """Copy finished measurements below `source`, and their runs without weights; the number of those that were new.

    A run that nothing has measured stays, because without its weights nobody could.
    """
    new = 0
    for measured in sorted(source.glob(f"*/*/{SPEC_FILE}")):
        for record in (measured.parent, measured.parent.parent):
            folder = target / record.relative_to(source)
            if Record.open(measured.parent).status != "done" or (folder / RESULTS_FILE).is_file():
                continue
            folder.mkdir(parents=True, exist_ok=True)
            for name in KEPT:
                if (record / name).is_file():
                    shutil.copyfile(record / name, folder / name)
            new += 1
    return new


def filled(table: Table, runs: Path, *, gains_alone: bool = False) -> str:
    """The rows of a table that have a number of ours, and what "+" changes, as `compmod table` prints them."""
    cells = cell_results(table, Results(runs))
    parts = []
    for heading in table.headings:
        shown, of_shown = rows_with_results(table, cells, heading)
        parts += [] if gains_alone else [_text(heading_frame(shown, of_shown, heading))]
        parts.append(_text(gain_frame(of_shown, heading)))
    return "\n\n".join(part for part in parts if part) or NOT_YET


def _text(frame: Any) -> str:
    return str(frame.to_markdown(index=False, disable_numparse=True)) if len(frame) else ""


def in_words() -> str:
    """How many comparisons lie above and below zero, and each of them, a line a study and metric."""
    lines = []
    studies = {
        "CIFAR-10, `laptop`": gains(cell_results(laptop(1), Results(HERE / "laptop"))),
        "the same with h-hat stopped": list(variant_gains(STOPPED).values()),
        "digits, `demo`, h-hat stopped": gains(cell_results(digits(), Results(HERE / "digits"))),
    }
    for name, found in studies.items():
        states = Counter(gain.state for gain in found)
        if found:
            counted = ", ".join(f"{states[state]} {state}" for state in ("higher", "lower", "inconclusive"))
            lines.append(f'- **{name}**: of {len(found)} comparisons of "+" with its plain method {counted}.')
        for measured in dict.fromkeys(gain.measured for gain in found):
            texts = [f"{gain.label} {gain_text(gain)}" for gain in found if gain.measured == measured]
            lines.append(f"  - {measured}: {'; '.join(texts)}")
    return "\n".join(lines) or "Nothing has run."


def what_ran() -> str:
    """A line a study: runs, measurements, time and machines."""
    studies = {
        "`laptop`": ([laptop(number) for number in (1, 4, 6, 7)], HERE / "laptop"),
        "precisions, laptop": (both_precisions(), HERE / "laptop"),
        "`demo`": ([digits()], HERE / "digits"),
        **{f"variants, {data}": ([mechanism(method, data) for method in BASES], HERE / data) for data in FLOWS},
    }
    for name, runs in (("all of CIFAR-10, each run once", HERE / "laptop"), ("all of digits", HERE / "digits")):
        studies[name] = ([table for tables, folder in studies.values() if folder == runs for table in tables], runs)
    rows = []
    for name, (tables, runs) in studies.items():
        results = Results(runs)
        cells = [(table.number, cell) for table in tables for cell in cell_results(table, results)]
        listed = finished_measurements(cells, results)
        if listed:
            trained = {one.spec.run.digest for one in listed if one.spec.run.epochs}
            machines = Counter(one.provenance.hardware for one in listed)
            commits = sorted({commit for one in listed for commit in one.provenance.commit.split(", ")})
            rows.append(
                [
                    name,
                    str(len(trained)),
                    str(len(listed)),
                    duration(wall_time_s(listed)),
                    "; ".join(f"{machine} ({count})" for machine, count in machines.items()),
                    ", ".join(commits),
                ]
            )
    titles = ("scale", "pretrainings", "measurements", "wall time, one thread each", "machine", "commits")
    return markdown(titles, rows)


def claims() -> str:
    """The paper's claims that these records have numbers for."""
    checked = zip(check_printed(), check_claims(Results(HERE / "laptop"), "laptop", 5, COPIES), strict=True)
    rows = [
        [theirs.claim.name, theirs.verdict, ours.verdict, escaped_note(ours.summary)]
        for theirs, ours in checked
        if ours.compared
    ]
    return markdown(("claim", "on the paper's own numbers", "on ours at `laptop`", "detail"), rows)


def ablation(number: int) -> str:
    """A table of the paper's ablations."""
    return filled(laptop(number), HERE / "laptop")


def lightly() -> str:
    """Ours beside lightly's."""
    rows = equivalence.finished(HERE / "equivalence.csv")
    return equivalence.summary(rows, HERE / "laptop", COPIES["cifar10"]) if rows else NOT_YET


def precisions() -> str:
    """bfloat16 beside float32, a line a method that has two pairs: the mean of both accuracies, paired over seeds.

    The first pairs set how many a method is to have.
    """
    measured = [_means(table, Results(HERE / "laptop")) for table in both_precisions()]
    found = {}
    for label in measured[0]:
        seeds = [seed for seed in measured[0][label] if seed in measured[1].get(label, {})]
        if len(seeds) > 1:
            wide, narrow = ([one[label][seed] for seed in seeds] for one in measured)
            found[label] = precision.compare(wide, narrow, SEEDS["laptop"])
    return precision.markdown(found) if found else NOT_YET


def _means(table: Table, results: Results) -> dict[str, dict[int, float]]:
    """By row that is trained and seed, the mean of a row's accuracies, in per cent."""
    cells: dict[str, list[dict[int, float]]] = {}
    trained = (one for one in cell_results(table, results) if any(spec.run.epochs for spec in one.cell.specs))
    for cell in trained:
        cells.setdefault(cell.row.label, []).append(by_seed(cell))
    return {
        label: {
            seed: statistics.fmean(one[seed] for one in ones) for seed in ones[0] if all(seed in one for one in ones)
        }
        for label, ones in cells.items()
    }


BLOCKS: dict[str, Callable[[], str]] = {  # of PAGE
    "in words": in_words,
    "what ran": what_ran,
    "table 1": lambda: filled(laptop(1), HERE / "laptop"),
    "digits": lambda: filled(digits(), HERE / "digits"),
    "pairs on digits": pairs_on_digits,
    "h-hat stopped": stopped,
    "lightly": lightly,
    "claims": claims,
    "bfloat16": precisions,
    **{f"{method}+ {data}": functools.partial(against, method, data) for method in BASES for data in get_args(Data)},
    **{f"table {number}": functools.partial(ablation, number) for number in (4, 6, 7)},
}
DEMO_BLOCKS: dict[str, Callable[[], str]] = {
    "gain on digits": lambda: filled(digits(), HERE / "digits", gains_alone=True)
}
PAGES = {PAGE: BLOCKS, DEMO_PAGE: DEMO_BLOCKS}


def render() -> None:
    """Write every block and every figure."""
    for page, blocks in PAGES.items():
        for name, block in blocks.items():
            replace_between(page, name, block())
    for picture in pictures():
        picture.write(HERE)


def main(arguments: Sequence[str] | None = None) -> None:
    """Render; or take records; or run a table of variants."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--take", nargs=2, type=Path, metavar=("RUNS", "FOLDER"))
    parser.add_argument("--run", nargs=3, metavar=("METHOD", "laptop|digits", "RUNS"))
    names = [*VARIANTS, *FLOWS["laptop"], *FLOWS["digits"]]
    parser.add_argument("--variants", nargs="+", choices=names, metavar="NAME", help="run these rows alone")
    parser.add_argument("--seeds", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    asked = parser.parse_args(arguments)
    if asked.take:
        print(f"{take(*asked.take)} records taken")
    elif asked.run:
        method, data, runs = asked.run
        table = mechanism(method, data, asked.seeds)
        if asked.variants:
            table = replace(table, rows=tuple(row for row in table.rows if row.label in asked.variants))
        run_table(table, Path(runs), Path("data"), workers=asked.workers)
    else:
        render()


if __name__ == "__main__":
    main()
