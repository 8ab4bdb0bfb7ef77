"""Comparability: whether the numbers of a column come from the same conditions and the same images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...pretrain.data.identity import SHOWN
from ...pretrain.specs.measurement import Measurement
from ...transfer.spec import Detection
from ..paper.table import Column, Table
from .cells import CellResult

ASPECTS = ("data", "backbone", "length of pretraining", "measurement", "images scored")
Conditions = tuple[str, ...]  # in words, one text for each of ASPECTS


def condition_warnings(table: Table) -> list[str]:
    """A sentence for each aspect in which the rows of a column differ; it names columns, conditions and rows.

    Columns that differ alike share a sentence. A row whose network was never trained, such as raw pixels, is named by
    its label, and only its data are compared.
    """
    columns: dict[str, list[str]] = {}
    for position, column in enumerate(table.columns):
        for sentence in _differences(table, position):
            columns.setdefault(sentence, []).append(_name(column))
    return [f"{', '.join(dict.fromkeys(names))}: {sentence}" for sentence, names in columns.items()]


def content_warnings(cells: Sequence[CellResult]) -> list[str]:
    """A sentence for each split of one name that holds different images for different numbers of a column.

    It names columns, digests, rows and seeds; columns that differ alike share it. A record that does not tell its
    images gives no sentence.
    """
    columns: dict[str, list[str]] = {}
    for column in dict.fromkeys(result.column for result in cells):
        for sentence in _contents_of([result for result in cells if result.column is column]):
            columns.setdefault(sentence, []).append(_name(column))
    return [f"{', '.join(dict.fromkeys(names))}: {sentence}" for sentence, names in columns.items()]


def differing_splits(cells: Sequence[CellResult]) -> dict[tuple[str, str], dict[str, list[str]]]:
    """(data, split) -> content digest -> the numbers made from it, where a column's numbers have several digests."""
    seen: dict[tuple[str, str], dict[str, list[str]]] = {}
    for result in cells:
        for provenance in result.seed_results.provenances:
            number = f"{result.row.label} seed {provenance.seed}"
            for data, split, digest in provenance.contents:
                seen.setdefault((data, split), {}).setdefault(digest, []).append(number)
    return {split: numbers for split, numbers in seen.items() if len(numbers) > 1}


def _contents_of(cells: Sequence[CellResult]) -> Iterator[str]:
    done: set[tuple[str, ...]] = set()
    for (data, split), numbers in differing_splits(cells).items():
        if (data, *numbers) in done:  # the pretraining images are often the training images
            continue
        done.add((data, *numbers))
        usual = max(numbers, key=lambda digest: len(numbers[digest]))
        others = "; ".join(
            f"{digest[:SHOWN]} ({', '.join(dict.fromkeys(some))})"
            for digest, some in numbers.items()
            if digest != usual
        )
        yield (
            f"numbers come from different {split} images that are all called {data}, and cannot be compared: "
            f"content {usual[:SHOWN]}, but {others}."
        )


def _differences(table: Table, position: int) -> Iterator[str]:
    rows: dict[Conditions, dict[str, None]] = {}
    untrained: dict[Conditions, dict[str, None]] = {}
    for row in table.rows:
        for spec in row.cells[position].specs:
            group = rows if spec.run.epochs else untrained
            group.setdefault(conditions(spec), {})[row.label] = None
    for aspect, name in enumerate(ASPECTS):
        labels: dict[str, dict[str, None]] = {}
        for settings in (rows, untrained) if aspect == 0 else (rows,):
            for words, some in settings.items():
                labels.setdefault(words[aspect], {}).update(some)
        if len(labels) > 1:
            usual = max(labels, key=lambda words: len(labels[words]))
            others = "; ".join(f"{words} ({', '.join(some)})" for words, some in labels.items() if words != usual)
            yield f"rows differ in {name}: {usual}, but {others}."


def conditions(spec: Measurement) -> Conditions:
    """What must be the same of two numbers that are compared, in words, one for each of ASPECTS."""
    run = spec.run
    trunk = f"{run.backbone.name} of width {run.backbone.width} on {run.backbone.colours}"
    protocol, scored = spec.protocol, f"{spec.split} set"
    if isinstance(spec, Detection):
        protocol = f"{spec.detector.architecture} of {spec.updates} steps of {spec.batch_size} images"
        scored = f"{spec.data_label}, {scored}"
    return (run.data_label, trunk, f"{run.epochs} epochs", protocol, scored)


def _name(column: Column) -> str:
    return " ".join(dict.fromkeys(filter(None, (column.group, column.name))))
