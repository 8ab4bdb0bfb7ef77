"""Bench: what this package costs beside published packages, in one run on the CPU; writes docs/performance.{md,json}.

    python tests/benchmarks/on_cpu.py [PART ...] [--rounds N] [--threads 2] [--tiny] [--dry-run]

A part is a subject (steps, views, hypergradient, knn, probe, loader) or one of its cases (steps/simclr, float32). Parts
that are not measured keep the figures of the last run. `make bench` installs the packages and runs this.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from typing import Any

import page
from rounds import Subject, measure, version

PARTS = ("steps", "views", "hypergradient", "knn", "probe", "loader")
MARKER = "benchmarks on a CPU"
SHARED = ("torch", "torchvision")  # packages whose versions decide all figures


def main() -> None:
    """Measure what is asked for, write the figures after every case, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", default=list(PARTS))
    parser.add_argument("--rounds", type=int, default=0, help="timed calls of each contestant; 0 = the subject's own")
    parser.add_argument("--threads", type=int, default=0, help="of each process; 0 = the subject's own")
    parser.add_argument("--tiny", action="store_true", help="sizes of the smoke test, to see that all of it runs")
    parser.add_argument("--dry-run", action="store_true", help="print the tables and write nothing")
    asked = parser.parse_args()
    for part, cases in chosen(asked.parts).items():
        subject = load(part)
        rounds, threads = asked.rounds or subject.rounds, asked.threads or subject.threads
        with tempfile.TemporaryDirectory() as scratch:
            sizes = dict(subject.tiny if asked.tiny else subject.sizes)
            made_by = {"machine": page.machine(), "date": page.today(), "threads": threads, "sizes": sizes}
            made_by["load"] = round(os.getloadavg()[0], 1)  # before the first call; of an idle machine about 0
            made_by["versions"] = {name: version(name) for name in SHARED}
            started = time.perf_counter()
            for case, measured in zip(
                cases, measure(subject, cases, sizes | {"scratch": scratch}, rounds, threads), strict=True
            ):
                print(f"\n{part}/{case}\n{table(subject, measured)}", flush=True)
                if not (asked.tiny or asked.dry_run):
                    figures = page.read_figures(page.FIGURES)
                    figures.setdefault("cpu", {}).setdefault(part, {})[case] = {**made_by, "figures": measured}
                    page.write_figures(page.FIGURES, figures)
                    page.replace_between(page.PAGE, MARKER, tables(figures["cpu"]))
        print(f"\n{part}: {time.perf_counter() - started:.0f} s")


def chosen(asked: list[str]) -> dict[str, list[str]]:
    """Parts, and the cases of each to measure. Exits with one line on an unknown one."""
    cases: dict[str, list[str]] = {}
    for name in asked:
        part, _, wanted = name.partition("/")
        if part not in PARTS:
            sys.exit(f"error: unknown part {part!r}; known: {', '.join(PARTS)}")
        known = load(part).cases
        matching = [case for case in known if case.startswith(wanted)]
        if not matching:
            sys.exit(f"error: {part} has no case {wanted!r}; known: {'; '.join(known)}")
        cases.setdefault(part, []).extend(matching)
    return cases


def load(part: str) -> Subject:
    subject: Subject = importlib.import_module(part).SUBJECT
    return subject


def table(subject: Subject, measured: Mapping[str, Any]) -> str:
    """The figures of one case; in place of a contestant that did not run, the reason."""
    ours = measured[subject.contestants[0].name]
    rows = []
    for name, figures in measured.items():
        if "not_run" in figures:
            rows.append([f"{name}: not run ({figures['not_run']})", *[""] * len(subject.columns)])
            continue
        number = figures["version"] if figures["package"] not in ("compmod", *SHARED) else ""
        shown = [show(figures, ours) for show in subject.columns.values()]
        rows.append([f"{name} ({number})" if number else name, *shown])
    return page.markdown(["", *subject.columns], rows)


def tables(cpu: Mapping[str, Any]) -> str:
    """All figures as markdown, under a heading a subject; machine, date and versions are named once where equal."""
    text = []
    for part in PARTS:
        if part not in cpu:
            continue
        subject, said = load(part), ""
        text.append(f"### {subject.title}\n")
        for case in (case for case in subject.cases if case in cpu[part]):
            stored = cpu[part][case]
            versions = ", ".join(f"{name} {number}" for name, number in stored["versions"].items())
            threads = f"{stored['threads']} thread{'s' * (stored['threads'] > 1)} a process"
            where = f"{stored['machine']}, {threads}, {versions}, {stored['date']}, others' load {stored['load']:g}"
            if where != said:
                text.append(f"{subject.text.format(**stored['sizes'])} Measured on {where}.\n")
                said = where
            title = f"**{case}**\n\n" if len(subject.cases) > 1 else ""
            text.append(f"{title}{table(subject, stored['figures'])}\n")
    return "\n".join(text)


if __name__ == "__main__":
    main()
