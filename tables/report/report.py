"""Report: the contents written as markdown and as one web page, with pictures that say in words what they show.

Several processes may write reports at once: every file appears whole, and no file is read again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...pretrain.files.whole_file import write_whole
from ...pretrain.recipes.scales import Scale
from ...pretrain.specs.run import Precision
from ..render.amounts import duration
from ..render.markdown import escaped, escaped_note, markdown
from . import wording
from .contents import Report, TableSection, full_report, report_on
from .detections import SENTENCE
from .figures import Picture

if TYPE_CHECKING:
    from ..paper.table import Table


def write_report(table: Table, runs: Path, path: Path) -> Path:
    """Write the report of `table` alone as markdown to `path` with its pictures beside it, and return `path`."""
    return _write_markdown(report_on([table], runs), path)


def write_reports(
    runs: Path,
    folder: Path,
    scale: Scale = "paper",
    seeds: int = 1,
    copies: Mapping[str, str] | None = None,
    precision: Precision | None = None,
) -> tuple[Path, Path]:
    """Write the report of all tables into `folder`: index.html, report.md and the pictures of the latter."""
    from .page import page

    report = full_report(runs, scale, seeds, copies, precision)
    written = _write_markdown(report, folder / "report.md")
    write_whole(folder / "index.html", page(report).encode())
    return folder / "index.html", written


def _write_markdown(report: Report, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures = [picture for section in report.sections for picture in section.pictures]
    pictures += [*report.gain_pictures, *report.curves, *report.detections]
    for picture in [*pictures, *([report.views] if report.views else [])]:
        picture.write(path.parent)
    write_whole(path, markdown_report(report).encode())
    return path


def markdown_report(report: Report) -> str:
    """The whole report as markdown; its pictures are files beside it."""
    parts = [f"# {wording.title(report)}", f"{report.headline} {wording.subtitle(report)}"]
    if report.gain_pictures:
        parts += ["## What “+” changes", wording.gains_sentence(report), *map(_shown, report.gain_pictures)]
        parts += [wording.gains_legend(report)]
    if report.claims or report.missing:
        parts += ["## Summary", _grid("table", wording.summary(report))]
        parts += ["\n".join(f"- {escaped_note(sentence)}" for sentence in wording.sentences(report))]
    for section in report.sections:
        parts += _section(section, report)
    if report.claims:
        parts += ["## What the paper claims", wording.CLAIMS, _claims(report)]
    if report.curves:
        parts += ["## Training curves", wording.CURVES, wording.RISING, *map(_shown, report.curves)]
    if report.detections:
        parts += ["## Detections", SENTENCE]
        parts += [text for picture in report.detections for text in (f"**{escaped(picture.title)}**", _shown(picture))]
    if report.views:
        parts += ["## Sample views", report.views.title, _shown(report.views)]
    parts += ["## What each row is", "\n".join(f"- **{label}**: {meaning}" for label, meaning in report.meanings)]
    if report.missing:
        parts += ["## What is missing, and what it would cost", escaped_note(wording.missing_sentence(report.missing))]
        if report.missing.steps:
            parts += [_grid("method and data", wording.missing(report.missing))]
    parts += ["## Where the numbers come from", wording.finished_sentence(report), _finished(report)]
    if report.damaged:
        parts += ["## Damaged records", "\n".join(f"- {escaped(sentence)}" for sentence in report.damaged)]
    return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"


def _section(section: TableSection, report: Report) -> list[str]:
    text = markdown(section.table, list(section.cells), report.results, folded=True).replace("### ", "## ", 1)
    if not section.pictures:
        return [text]
    return [text, *map(_shown, section.pictures), wording.legend(section)]


def _shown(picture: Picture) -> str:
    return f"![{escaped(picture.alternative)}]({picture.file})"


def _claims(report: Report) -> str:
    """A line a claim, and folded below them what each says and its figures."""
    lines, details = [], []
    for theirs, ours in report.claims:
        states = (wording.claim_state(ours), theirs.verdict)
        lines.append((theirs.claim.name, *map(wording.verdict_with_symbol, states)))
        figures = escaped_note(f"Read as: {theirs.claim.reading}. Ours: {ours.summary}. Paper: {theirs.summary}.")
        details.append(f"- **{theirs.claim.name}**: “{theirs.claim.sentence}” ({theirs.claim.where}). {figures}")
    table = _table(("claim", f"on ours, scale {report.scale}", "on the paper's numbers"), lines, numbers=())
    folded = ["<details>", "<summary>The sentences, how they are read, and the figures</summary>", "", *details]
    return "\n".join([table, "", *folded, "", "</details>"])


def _finished(report: Report) -> str:
    lines = [
        (
            f"`{measurement.provenance.folder}`",
            measurement.name,
            escaped(measurement.provenance.data),
            measurement.measured,
            " ".join(map(str, measurement.tables)),
            str(measurement.provenance.seed),
            duration(measurement.pretraining_s),
            duration(measurement.measuring_s),
            escaped(measurement.provenance.hardware),
            escaped(measurement.provenance.checkout),
            escaped(wording.code_state(measurement.provenance)),
        )
        for measurement in report.measurements
    ]
    return _table(wording.FINISHED_COLUMNS, lines, numbers=(5, 6, 7)) if lines else ""


def _grid(first: str, lines: wording.SummaryTable) -> str:
    rows = [(escaped(label), *texts) for label, texts in lines.lines] + [("all", *lines.total)]
    return _table((first, *lines.columns), rows, numbers=range(1, len(lines.columns) + 1))


def _table(columns: Sequence[str], lines: Sequence[Sequence[str]], numbers: Sequence[int]) -> str:
    """A markdown table with its columns of numbers aligned to the right; texts from outside are escaped already."""
    rule = ["--:" if position in numbers else ":--" for position in range(len(columns))]
    return "\n".join(f"| {' | '.join(line)} |" for line in [columns, rule, *lines])
