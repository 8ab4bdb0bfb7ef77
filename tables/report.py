"""Report: one table with what its rows mean, where its numbers come from, loss curves and sample views, as markdown.

Missing or damaged records leave gaps that say so; torch is imported only to draw the views.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..pretrain.methods import METHODS
from ..pretrain.record import Record, write_whole
from ..pretrain.run import PLUS, Evaluation, Run
from .curves import by_panel, draw_courses, read_course
from .figures import Picture, draw_views
from .render import render
from .table import Row, Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHOWN = 10  # source images in the picture of views


def write_report(table: Table, runs: Path, path: Path) -> Path:
    """Write the report of `table` to `path` with its pictures beside it, and return `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = [
        f"# Report: Table {table.number}, scale {table.scale}",
        render(table, runs).replace("### ", "## ", 1),
        "## What each row is",
        "\n".join(_meanings(table)),
    ]
    pictures = curves([table], runs)
    if pictures:
        parts += ["## Loss curves", _LOSS_TEXT, *(_shown(picture) for picture in pictures)]
    digits = next((spec.run for spec in table.specs if spec.run.epochs and spec.run.dataset == "digits"), None)
    if digits:
        pictures += (draw_views(*sample_views(digits), title=_views_title(digits)),)
        parts += ["## Sample views", _views_title(digits), _shown(pictures[-1])]
    parts += ["## Where the numbers come from", _provenance_text(table, runs)]
    for picture in pictures:
        picture.write(path.parent)
    write_whole(path, ("\n\n".join(part.strip("\n") for part in parts) + "\n").encode())
    return path


def curves(tables: Sequence[Table], runs: Path) -> tuple[Picture, ...]:
    """The curves of every run of `tables` that logged any, a picture a method and data set."""
    panels = by_panel((table.number, spec.run) for table in tables for spec in table.specs)
    read = {title: [read_course(runs, run) for run in some] for title, some in panels.items()}
    began = {title: [course for course in some if len(course.loss.values)] for title, some in read.items()}
    return tuple(draw_courses(title, courses) for title, courses in began.items() if courses)


def _shown(picture: Picture) -> str:
    return f"![{picture.alternative}]({picture.file})"


def _views_title(run: Run) -> str:
    return f"{SHOWN} images of {run.data_label}, and two views of each as {run.label} sees them."


_LOSS_TEXT = (
    "Above, the loss of the method itself: a “+” line leaves CompMod's own terms out, so the two lines compare, but "
    "losses of different methods do not. Faint: logged steps; strong: their running mean. Below, 5-nn accuracy while "
    "training."
)


def _meanings(table: Table) -> list[str]:
    lines = []
    for row in table.rows:
        if any(cell.why_empty for cell in row.cells):
            continue
        lines.append(f"- **{row.label}**: {row.meaning or _method_meaning(row)}")
    empty = [row.label for row in table.rows if any(cell.why_empty for cell in row.cells)]
    if empty:
        lines.append(f"- {', '.join(empty)}: the paper's numbers only.")
    return lines


def _method_meaning(row: Row) -> str:
    entry = METHODS[row.method.removesuffix(PLUS)]
    if row.method.endswith(PLUS):
        return f"CompMod around {entry.label}, every other setting as in its plain row."
    return f"{entry.source}."


def sample_views(run: Run) -> tuple[NDArray[np.uint8], list[NDArray[np.float32]]]:
    """Images of the digits and the views that `run` makes of them in its first epoch, values 0 to 1."""
    import torch

    from ..pretrain.data import DATASETS, load
    from ..pretrain.views import Views

    dataset = DATASETS[run.dataset]
    images = load(run.dataset, "pretrain", Path())
    index = np.linspace(0, len(images) - 1, SHOWN).astype(np.int64)
    sources = images.pixels[index]
    mean, std = (np.array(values, dtype=np.float32)[:, None, None] for values in (dataset.mean, dataset.std))
    views = []
    for number, augmentation in enumerate(run.views):
        view = Views(augmentation, dataset, run.seed, number)
        normalised = view(torch.from_numpy(sources), torch.from_numpy(index), 0)
        views.append(normalised.numpy() * std + mean)
    return sources, views


def _provenance_text(table: Table, runs: Path) -> str:
    """Wall times, machine and commit of every spec, as a markdown table."""
    lines = []
    labels = {spec.digest: row.label for row in table.rows for cell in row.cells for spec in cell.specs}
    for spec in table.specs:
        training, probes = _provenance(runs, spec.run), _provenance(runs, spec)
        lines.append(
            {
                "row": labels[spec.digest],
                "seed": str(spec.run.seed),
                "epochs": str(spec.run.epochs),
                "training, s": _seconds(training),
                "probes, s": _seconds(probes),
                "machine": _machine(training or probes),
                "commit": _commit(training or probes),
                "folder": f"`{spec.run.folder}`",
            }
        )
    seconds = sum(
        float(found.get("seconds", 0))
        for spec in table.specs
        for found in (_provenance(runs, spec.run), _provenance(runs, spec))
    )
    text = str(pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True)) if lines else "Nothing to run."
    return f"Together {seconds:.0f} s of wall time; a blank has not run.\n\n{text}"


def _provenance(runs: Path, spec: Run | Evaluation) -> dict[str, Any]:
    try:
        return Record(runs, spec).provenance or {}
    except (ValueError, OSError):
        return {}  # the table above lists the damaged record with its path


def _seconds(found: dict[str, Any]) -> str:
    return f"{found['seconds']:.1f}" if "seconds" in found else ""


def _machine(found: dict[str, Any]) -> str:
    hardware = found.get("hardware", {})
    if not hardware:
        return ""
    return str(hardware.get("gpu") or f"{hardware.get('cpu', '?')}, threads: {hardware.get('threads', '?')}")


def _commit(found: dict[str, Any]) -> str:
    git = found.get("git", {})
    return str(git.get("commit", ""))[:12] + (" (with changes)" if git.get("dirty") else "")
