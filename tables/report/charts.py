"""Charts of ours against the paper's: points with error bars for every table, heat maps for the grid of Table 6.

Points, not bars: the numbers of a column lie within a few points of each other, so the axis cannot start at zero, and
a bar that starts elsewhere shows a ratio that is not there (Cleveland, The Elements of Graphing Data, 1985).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...pretrain.specs.run import PLUS
from ..paper.table import Column, Part, Table
from ..results.cells import CellResult
from .figures import BLUE, GREY, VERMILION, WIDTH_IN, Picture, canvas, entitle, slug

if TYPE_CHECKING:
    from numpy.typing import NDArray

GRID_TABLE = 6  # the one whose rows and columns are two numbers, lambda1 and lambda2
COLOURS = "cividis"  # even in lightness, and the same to readers with and without red-green blindness
DARK = 0.47  # share of that scale below which white letters are easier to read than black ones
FEW_ROWS = 2  # a table of at most so many rows is one panel
LINE_IN, FRAME_IN = 0.21, 1.05  # height of a row of points, and of everything around the rows

LabelledCells = Sequence[tuple[str, CellResult]]


def draw_charts(table: Table, cells: Sequence[CellResult]) -> tuple[Picture, ...]:
    """The pictures of one table: the panels with at least one number of ours."""
    if not any(result.seed_results.values for result in cells if is_measured(result.column)):
        return ()
    if table.number == GRID_TABLE:
        return _heat_maps(table, cells)
    panels = {title: lines for title, lines in _panels(table, cells).items() if _means(lines)}
    return tuple(_points(table, title, lines) for title, lines in panels.items())


def is_measured(column: Column) -> bool:
    """Whether a column holds measurements of ours, not settings or the paper's numbers alone."""
    return "ours" in column.parts and column.unit != "fact"


def panel_title(column: Column) -> str:
    """A column in words, such as "CIFAR-10, linear"; of two names for its data the longer one."""
    group = column.heading if column.group in column.heading else column.group
    return ", ".join(filter(None, dict.fromkeys([group, column.name])))


def _panels(table: Table, cells: Sequence[CellResult]) -> dict[str, list[tuple[str, CellResult]]]:
    """Title -> labelled cells: one panel for each measured column, or one for all columns where the rows are few."""
    panels: dict[str, list[tuple[str, CellResult]]] = {}
    for result in _in_pairs(cells):
        if not is_measured(result.column) or not (result.cell.specs or result.cell.paper):
            continue
        name = panel_title(result.column)
        if len(table.rows) > FEW_ROWS:
            panels.setdefault(name, []).append((result.row.label, result))
        else:
            label = _greek(f"{result.column.group}, {result.column.name}")
            panels.setdefault(f"Table {table.number}", []).append((label, result))
    return panels


def _in_pairs(cells: Sequence[CellResult]) -> list[CellResult]:
    """The cells with every "+" row after its plain row, and otherwise as printed."""
    groups: dict[str, list[CellResult]] = {}
    for result in cells:
        groups.setdefault(result.row.method.removesuffix(PLUS) or result.row.label, []).append(result)
    return [result for group in groups.values() for result in group]


def is_plus(result: CellResult) -> bool:
    """Whether a cell is of a method with CompMod."""
    return any(spec.run.plus for spec in result.cell.specs) or result.row.method.endswith(PLUS)


def _means(lines: LabelledCells) -> list[tuple[float, str]]:
    return [(result.seed_results.mean, label) for label, result in lines if result.seed_results.mean is not None]


def _papers(lines: LabelledCells) -> list[tuple[float, str]]:
    """The printed numbers, where the column compares ours with them."""
    compared = [(label, result) for label, result in lines if "difference" in result.column.parts]
    return [(result.cell.paper.value, label) for label, result in compared if result.cell.paper is not None]


def _points(table: Table, title: str, lines: LabelledCells) -> Picture:
    """One line a row with a number: ours as a disc with a bar of a sample standard deviation, the paper's as a diamond.

    The marks of "+" are filled and its labels bold, those of the others hollow.
    """
    drawn = [line for line in lines if _means([line]) or _papers([line])]
    with canvas(width=WIDTH_IN, height=LINE_IN * len(drawn) + FRAME_IN) as drawing:
        axis = drawing.figure.subplots()
        for height, line in enumerate(drawn):
            (paper, _), *_ = [*_papers([line]), (None, "")]
            _mark(axis, height, line[1], paper)
        axis.set_yticks(range(len(drawn)), [label for label, _ in drawn])
        for tick, (_, result) in zip(axis.get_yticklabels(), drawn, strict=True):
            tick.set_fontweight("bold" if is_plus(result) else "normal")
        axis.set_ylim(len(drawn) - 0.4, -0.6)
        axis.margins(x=0.08)
        axis.grid(visible=True)
        axis.tick_params(axis="y", length=0)
        if all(label.isdigit() for label, _ in drawn):
            axis.set_ylabel("row of the table")
        axis.set_xlabel("average precision" if lines[0][1].column.unit == "AP" else "accuracy (%)")
        entitle(drawing.figure, title)
        _legend(drawing.figure, drawn)
    whole = f"Table {table.number}"
    name = slug(title if title == whole else f"{whole} {title}")
    return Picture(name=name, title=title, alternative=describe_points(title, lines), content=drawing.content)


def _mark(axis: Any, height: int, result: CellResult, paper: float | None) -> None:
    seed_results = result.seed_results
    if paper is not None:
        axis.plot(paper, height, zorder=2, **_theirs(is_plus(result)))
    if paper is not None and seed_results.mean is not None:
        axis.plot([paper, seed_results.mean], [height, height], color=GREY, linewidth=0.8, zorder=1)
    if seed_results.mean is not None:
        axis.errorbar(seed_results.mean, height, xerr=seed_results.std, capsize=2.5, zorder=3, **_ours(is_plus(result)))


def _ours(plus: bool) -> dict[str, Any]:
    return {"marker": "o", "ms": 5, "linewidth": 0, "elinewidth": 1.2} | _filled(BLUE, plus)


def _theirs(plus: bool) -> dict[str, Any]:
    return {"marker": "D", "ms": 5.5, "linewidth": 0} | _filled(VERMILION, plus)


def _filled(colour: str, plus: bool) -> dict[str, Any]:
    return {"color": colour, "mfc": colour if plus else "white", "mec": colour, "mew": 1.4}


def _legend(figure: Any, lines: LabelledCells) -> None:
    """The marks that occur: ours before theirs, plain before "+"."""
    from matplotlib.lines import Line2D

    marks, names = [], []
    for whose, style, shown in (("ours", _ours, True), ("paper", _theirs, bool(_papers(lines)))):
        for plus in sorted({is_plus(result) for _, result in lines}) if shown else ():
            marks.append(Line2D([], [], **{key: value for key, value in style(plus).items() if key != "elinewidth"}))
            names.append(f"{whose}, “+”" if plus else whose)
    figure.legend(marks, names, loc="outside lower center", ncols=len(names), handletextpad=0.1, columnspacing=0.9)


def describe_points(title: str, lines: LabelledCells) -> str:
    """What the points show, in figures: how many there are, the least, the greatest and the largest difference."""
    ours, theirs = _means(lines), _papers(lines)
    (low, worst), (high, best) = min(ours), max(ours)
    text = f"{title}: ours in {len(ours)} of {len(lines)} rows, from {low:.2f} ({worst}) to {high:.2f} ({best})"
    if theirs:
        (least, last), (most, first) = min(theirs), max(theirs)
        text += f"; the paper's from {least:.2f} ({last}) to {most:.2f} ({first})"
    gaps = [(result.difference, label) for label, result in lines if result.difference is not None]
    if gaps:
        gap, where = max(gaps, key=lambda pair: abs(pair[0]))
        text += f"; the largest difference is {gap:+.2f} ({where})"
    return text + "."


def _heat_maps(table: Table, cells: Sequence[CellResult]) -> tuple[Picture, ...]:
    """Ours and the paper's grid, on one colour scale where they are of the same data."""
    ours, theirs = _grid(table, cells, "ours"), _grid(table, cells, "paper")
    compared = any(result.difference is not None for result in cells)
    both = np.concatenate([ours[1].ravel(), theirs[1].ravel()])
    scales = {"ours": both if compared else ours[1], "the paper's": both if compared else theirs[1]}
    return tuple(
        _heat_map(table, whose, columns, values, (float(np.nanmin(scales[whose])), float(np.nanmax(scales[whose]))))
        for whose, (columns, values) in (("ours", ours), ("the paper's", theirs))
        if not np.isnan(values).all()
    )


def _grid(table: Table, cells: Sequence[CellResult], part: Part) -> tuple[list[str], NDArray[np.float64]]:
    """Column names, and rows x columns of our means or of the printed numbers, NaN where there is none."""
    columns = [column for column in table.columns if part in column.parts and column.unit != "fact"]
    values = np.full((len(table.rows), len(columns)), np.nan)
    for result in cells:
        if result.column in columns:
            paper = result.cell.paper.value if result.cell.paper else None
            value = result.seed_results.mean if part == "ours" else paper
            row, column = table.rows.index(result.row), columns.index(result.column)
            values[row, column] = np.nan if value is None else value
    return [column.name for column in columns], values


def _heat_map(
    table: Table, whose: str, columns: Sequence[str], values: NDArray[np.float64], limits: tuple[float, float]
) -> Picture:
    """One grid with its numbers in the cells; a cell without a number says "not run"."""
    title = f"Table {table.number}, {whose}: top-1 accuracy (%)"
    rows, columns = [_greek(row.label) for row in table.rows], [_greek(name) for name in columns]
    low, high = limits
    with canvas(width=WIDTH_IN, height=0.42 * len(rows) + 0.8) as drawing:
        axis = drawing.figure.subplots()
        axis.pcolormesh(values, cmap=COLOURS, vmin=low, vmax=max(high, low + 1e-9), edgecolors="white", linewidth=1.5)
        for (row, column), value in np.ndenumerate(values):
            text = "not run" if np.isnan(value) else f"{value:.2f}"
            light = not np.isnan(value) and value - low < DARK * (high - low)
            axis.text(column + 0.5, row + 0.5, text, ha="center", va="center", color="white" if light else "black")
        axis.set_xticks(np.arange(len(columns)) + 0.5, columns)
        axis.set_yticks(np.arange(len(rows)) + 0.5, rows)
        axis.invert_yaxis()
        axis.spines[:].set_visible(False)
        axis.tick_params(length=0)
        entitle(drawing.figure, title)
    text = describe_grid(title, rows, columns, values)
    name = f"table-{table.number}-{slug(whose)}"
    return Picture(name=name, title=title, alternative=text, content=drawing.content)


def describe_grid(title: str, rows: Sequence[str], columns: Sequence[str], values: NDArray[np.float64]) -> str:
    """What a grid shows, in figures: how much of it is filled, its best and its worst cell."""
    text = f"{title}, {int((~np.isnan(values)).sum())} of {values.size} cells"
    for word, index in (("best", np.nanargmax(values)), ("worst", np.nanargmin(values))):
        row, column = (int(number) for number in np.unravel_index(index, values.shape))
        text += f"; {word} {values[row, column]:.2f} at {rows[row]}, {columns[column]}"
    return text + "."


def _greek(name: str) -> str:
    return name.replace("lambda", "λ").replace("alpha", "α").replace("=", " = ")
