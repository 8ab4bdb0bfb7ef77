"""Readings: how the words of a sentence become comparisons of printed places, such as "improves" or "varies little"."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import permutations

from ...pretrain.specs.run import PLUS
from ..paper.printed import FACTS, paper_table, printed
from .comparison import Comparison, Place, Relation


def places(table: int, group: str = "", column: str = "", metric: str = "") -> tuple[Place, ...]:
    """The printed measurements of a table, all or those of one group, column or metric."""
    wanted = (group, column, metric)
    return tuple(
        Place(table, *key)
        for key, number in paper_table(table).items()
        if number
        and key[3] not in FACTS
        and all(not want or want == has for want, has in zip(wanted, key[1:], strict=True))
    )


def gains(of: Iterable[Place], bound: float = 0.0, *methods: str) -> tuple[Comparison, ...]:
    """Each row with CompMod against its plain row, of every such method or of `methods`, named without "+"."""
    return tuple(
        Comparison(place, plain(place), bound=bound)
        for place in of
        if place.row.endswith(PLUS) and (not methods or _joined(place.row).removesuffix(PLUS) in methods)
    )


def plain(place: Place) -> Place:
    """The same column in the row without CompMod. The paper writes BarlowTwins and Barlow Twins."""
    return next(
        other
        for other in places(place.table)
        if other[2:] == place[2:] and _joined(other.row) == _joined(place.row).removesuffix(PLUS)
    )


def superior(of: Iterable[Place]) -> tuple[Comparison, ...]:
    """In each column the row with CompMod that is printed highest, at least at every row without it.

    The row is chosen by the paper's number and not by ours, so that no comparison over seeds is chosen by its outcome.
    """
    comparisons: list[Comparison] = []
    for column in _columns(of):
        highest = max((place for place in column if place.row.endswith(PLUS)), key=lambda place: place.value)
        comparisons += against_each(highest, (place for place in column if not place.row.endswith(PLUS)), "at least")
    return tuple(comparisons)


def bold(of: Iterable[Place]) -> tuple[Comparison, ...]:
    """Each place that the paper prints in bold, at least at every other of its column."""
    comparisons: list[Comparison] = []
    for column in _columns(of):
        for marked in column:
            if (number := printed(*marked)) and number.bold:
                comparisons += against_each(marked, (place for place in column if place != marked), "at least")
    return tuple(comparisons)


def swings(of: Iterable[Place], plus: Place) -> tuple[Comparison, ...]:
    """Any two of the places differ by less than `plus` lies above its plain row."""
    return tuple(Comparison(*pair, relation="below", gain=(plus, plain(plus))) for pair in permutations(of, 2))


def above(of: Iterable[Place], right: Place) -> tuple[Comparison, ...]:
    """Each place lies above one other."""
    return tuple(Comparison(place, right) for place in of)


def against_each(left: Place, others: Iterable[Place], relation: Relation = "above") -> tuple[Comparison, ...]:
    """One place against each of the others."""
    return tuple(Comparison(left, other, relation) for other in others)


def cifar10(row: str) -> Place:
    """Linear accuracy on CIFAR-10 of a row of Table 1, the plain rows that the ablations are held against."""
    return Place(1, row, "CIFAR-10", "linear", "top1")


def _columns(of: Iterable[Place]) -> tuple[list[Place], ...]:
    columns: dict[tuple[object, ...], list[Place]] = {}
    for place in of:
        columns.setdefault((place.table, *place[2:]), []).append(place)
    return tuple(columns.values())


def _joined(label: str) -> str:
    return label.replace(" ", "")
