"""Patterns: how words of a sentence, such as "improves" or "varies little", become comparisons of printed cells."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import permutations

from ...pretrain.specs.run import PLUS
from ..paper.printed import FACTS, paper_table, printed
from .comparison import Comparison, PrintedCell, Relation


def printed_cells(table: int, group: str = "", column: str = "", metric: str = "") -> tuple[PrintedCell, ...]:
    """The measured numbers that a table prints, all or those of one group, column or metric."""
    wanted = (group, column, metric)
    return tuple(
        PrintedCell(table, *key)
        for key, number in paper_table(table).items()
        if number
        and key[3] not in FACTS
        and all(not want or want == name for want, name in zip(wanted, key[1:], strict=True))
    )


def improves(of: Iterable[PrintedCell], bound: float = 0.0, *methods: str) -> tuple[Comparison, ...]:
    """Each row with CompMod is above its plain row, for every method or for `methods`, named without "+"."""
    return tuple(
        Comparison(cell, plain(cell), bound=bound)
        for cell in of
        if cell.row.endswith(PLUS) and (not methods or _joined(cell.row).removesuffix(PLUS) in methods)
    )


def plain(cell: PrintedCell) -> PrintedCell:
    """The cell of the same column in the row without CompMod. The paper writes both BarlowTwins and Barlow Twins."""
    return next(
        other
        for other in printed_cells(cell.table)
        if other[2:] == cell[2:] and _joined(other.row) == _joined(cell.row).removesuffix(PLUS)
    )


def superior(of: Iterable[PrintedCell]) -> tuple[Comparison, ...]:
    """In each column the highest printed row with CompMod is at least at every row without CompMod.

    The paper's number chooses the row, not ours, so that no comparison over seeds is chosen by its own result.
    """
    comparisons: list[Comparison] = []
    for column in _columns(of):
        highest = max((cell for cell in column if cell.row.endswith(PLUS)), key=lambda cell: cell.value)
        comparisons += against_each(highest, (cell for cell in column if not cell.row.endswith(PLUS)), "at least")
    return tuple(comparisons)


def best_in_bold(of: Iterable[PrintedCell]) -> tuple[Comparison, ...]:
    """Each cell printed in bold is at least at every other cell of its column."""
    comparisons: list[Comparison] = []
    for column in _columns(of):
        for marked in column:
            if (number := printed(*marked)) and number.bold:
                comparisons += against_each(marked, (cell for cell in column if cell != marked), "at least")
    return tuple(comparisons)


def varies_less(of: Iterable[PrintedCell], plus: PrintedCell) -> tuple[Comparison, ...]:
    """Any two of the cells differ by less than `plus` gains over its plain row."""
    return tuple(Comparison(*pair, relation="below", gain=(plus, plain(plus))) for pair in permutations(of, 2))


def above(of: Iterable[PrintedCell], right: PrintedCell) -> tuple[Comparison, ...]:
    """Each of the cells is above `right`."""
    return tuple(Comparison(cell, right) for cell in of)


def against_each(
    left: PrintedCell, others: Iterable[PrintedCell], relation: Relation = "above"
) -> tuple[Comparison, ...]:
    """One cell compared with each of the others."""
    return tuple(Comparison(left, other, relation) for other in others)


def cifar10(row: str) -> PrintedCell:
    """Linear accuracy on CIFAR-10 of a row of Table 1; the ablations are compared with such rows."""
    return PrintedCell(1, row, "CIFAR-10", "linear", "top1")


def _columns(of: Iterable[PrintedCell]) -> tuple[list[PrintedCell], ...]:
    columns: dict[tuple[object, ...], list[PrintedCell]] = {}
    for cell in of:
        columns.setdefault((cell.table, *cell[2:]), []).append(cell)
    return tuple(columns.values())


def _joined(label: str) -> str:
    return label.replace(" ", "")
