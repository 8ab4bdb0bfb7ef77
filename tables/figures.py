"""Figures of a report: curves of the losses, and source images with their views. matplotlib, drawn to a file.

Colours are from the colour-blind-safe palette of Okabe and Ito (2008); lines differ in dash as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..pretrain.run import PLUS, Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

PLAIN_STYLE: dict[str, Any] = {"color": "#0072B2", "linestyle": "-"}  # Okabe and Ito, blue
PLUS_STYLE: dict[str, Any] = {"color": "#D55E00", "linestyle": (0, (5, 2))}  # Okabe and Ito, vermilion
WINDOW_SHARE = 40  # a curve is averaged over a 1/40 of its points: enough to see the trend, little enough to see kinks
DPI = 150

Curve = tuple["NDArray[np.float64]", "NDArray[np.float64]"]  # epochs, values


def draw_losses(runs: Path, specs: Sequence[Run], path: Path) -> Path:
    """Training loss above and online 5-nn accuracy below, one column a method, plain and "+" together.

    A "+" line shows the method's own loss without CompMod's terms, so that the two compare. Faint: every logged
    step; strong: a running mean. Runs without metrics leave their panel empty.
    """
    from matplotlib.lines import Line2D

    methods = list(dict.fromkeys(spec.base_method for spec in specs))
    with _figure(path, width=3.1 * max(len(methods), 2), height=5.2) as figure:
        axes = figure.subplots(2, max(len(methods), 1), squeeze=False, sharex="col")
        for column, method in enumerate(methods):
            upper, lower = axes[0, column], axes[1, column]
            for spec in specs:
                if spec.base_method == method:
                    _draw_run(upper, lower, Path(runs) / spec.folder / "metrics.jsonl", plus=spec.plus)
            upper.set_title(next(spec.label for spec in specs if spec.base_method == method).removesuffix(PLUS))
            lower.set_xlabel("epoch")
        axes[0, 0].set_ylabel("loss of the method")
        axes[1, 0].set_ylabel("online 5-nn accuracy (%)")
        _same_range(axes[1])
        for axis in axes.flat:
            axis.grid(alpha=0.25, linewidth=0.6)
            axis.spines[["top", "right"]].set_visible(False)
        lines = [Line2D([], [], linewidth=2, **style) for style in (PLAIN_STYLE, PLUS_STYLE)]
        figure.legend(
            lines, ["the method alone", "with CompMod (+)"], loc="outside lower center", ncols=2, frameon=False
        )
    return path


def draw_views(sources: NDArray[np.uint8], views: Sequence[NDArray[np.floating[Any]]], path: Path) -> Path:
    """A grid of pictures: a row of source images and under it one row a view.

    `sources` is images x 3 x height x width, 0 to 255; each of `views` the same with values 0 to 1, not normalised.
    """
    rows: list[tuple[str, NDArray[Any]]] = [("source", sources / 255)]
    rows += [(f"view {count}", view) for count, view in enumerate(views, start=1)]
    with _figure(path, width=1.0 * len(sources) + 0.7, height=1.05 * len(rows) + 0.1) as figure:
        axes = figure.subplots(len(rows), len(sources), squeeze=False)
        for (label, images), line in zip(rows, axes, strict=True):
            for image, axis in zip(images, line, strict=True):
                axis.imshow(np.clip(np.moveaxis(image, 0, -1), 0, 1), interpolation="nearest")
                axis.set_xticks([])
                axis.set_yticks([])
                axis.spines[:].set_visible(False)
            line[0].set_ylabel(label)
    return path


def read_metrics(path: Path, kind: str) -> list[dict[str, Any]]:
    """The lines of one kind in a metrics.jsonl, the last of each step where a resumed run wrote it twice.

    A line cut short by a kill is left out.
    """
    lines: dict[Any, dict[str, Any]] = {}
    for text in path.read_text().splitlines() if path.is_file() else ():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and line.get("kind") == kind:
            lines[line.get("step", line.get("epoch"))] = line
    return list(lines.values())


def running_mean(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Centred mean over at most `window` values, over fewer at the ends."""
    half = max(window, 1) // 2
    total = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    first, last = np.maximum(index - half, 0), np.minimum(index + half + 1, len(values))
    mean: NDArray[np.float64] = (total[last] - total[first]) / (last - first)
    return mean


def _draw_run(upper: Any, lower: Any, metrics: Path, *, plus: bool) -> None:
    style = PLUS_STYLE if plus else PLAIN_STYLE
    epochs, losses = _curve(read_metrics(metrics, "train"), ("loss_ssl", "loss"))
    if len(losses):
        upper.plot(epochs, losses, color=style["color"], alpha=0.2, linewidth=0.7)
        upper.plot(epochs, running_mean(losses, len(losses) // WINDOW_SHARE), linewidth=1.8, **style)
    epochs, accuracies = _curve(read_metrics(metrics, "online"), ("knn/top1",))
    if len(accuracies):
        lower.plot(epochs, 100 * accuracies, linewidth=1.8, marker="o", markersize=3, **style)


def _curve(lines: list[dict[str, Any]], names: tuple[str, ...]) -> Curve:
    """Epochs and the first of `names` that each line has."""
    points = []
    for line in lines:
        name = next((name for name in names if name in line), None)
        if name is not None:
            points.append((float(line["epoch"]), float(line[name])))
    array = np.array(points, dtype=np.float64).reshape(-1, 2)
    return array[:, 0], array[:, 1]


def _same_range(axes: Sequence[Any]) -> None:
    """One vertical range for all, so that accuracies compare across methods."""
    filled = [axis for axis in axes if axis.lines]
    if filled:
        low = min(axis.get_ylim()[0] for axis in filled)
        high = max(axis.get_ylim()[1] for axis in filled)
        for axis in axes:
            axis.set_ylim(low, high)


@contextmanager
def _figure(path: Path, *, width: float, height: float) -> Iterator[Figure]:
    """A figure that is saved to `path` and closed. The Agg canvas needs no display and no global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    yield figure
    figure.savefig(path, dpi=DPI)
