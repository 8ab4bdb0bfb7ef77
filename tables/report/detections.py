"""Detections: the pictures of finished detections, with boxes, masks and scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...pretrain.files.stored_json import read_regular
from ...transfer.data.pictures import LEAST_SCORE, SHEET, SHEET_IMAGES
from ...transfer.spec import Detection
from ..paper.table import Cell, Table
from ..results.results import Results
from .figures import Picture, slug

PNG = b"\x89PNG\r\n\x1a\n"  # the first bytes of such a file
SENTENCE = (
    f"The first {SHEET_IMAGES} test images and the objects detected on them: box, mask, category and score, where the "
    f"score is at least {LEAST_SCORE}."
)


def detections(tables: Sequence[Table], results: Results) -> tuple[Picture, ...]:
    """The picture of the first finished seed of every row of detections."""
    return tuple(
        picture for table in tables for row in table.rows for picture in _of_row(row.label, row.cells, results)
    )


def _of_row(label: str, cells: Sequence[Cell], results: Results) -> Iterator[Picture]:
    figures = []
    for cell in cells:
        seed_results = results.seed_results(cell)
        if seed_results.values and isinstance(cell.specs[0], Detection):
            figures.append((cell, seed_results))
    if not figures:
        return
    first = figures[0][1].provenances[0]
    file = results.path / first.folder / SHEET
    try:
        content = read_regular(file)
    except ValueError as error:
        results.damage(str(error))
        return
    if content is None:  # as in a record that was copied without its picture
        return
    if not content.startswith(PNG):
        results.damage(f"{file}: not a PNG image")
        return
    scores = ", ".join(f"{cell.metric.replace('/', ' ')} {seeds.values[0]:.1f}" for cell, seeds in figures)
    title = f"{label}, seed {first.seed}"
    yield Picture(
        name=f"detections-{slug(label)}",
        title=title,
        alternative=f"Detections of {title}, on {SHEET_IMAGES} images. Over all test images: {scores}.",
        content=content,
        form="png",
    )
