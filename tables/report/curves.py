"""Training curves: the loss and the online accuracy of finished and unfinished runs, from their metrics.jsonl.

One small picture for a method on a data set, plain and "+" together; a page can show many of them side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...pretrain.files.stored_fields import LOGGED, check_fields
from ...pretrain.files.stored_json import read_lines
from ...pretrain.records.files import METRICS_FILE
from ...pretrain.specs.run import PLUS, Run
from .figures import BLUE, VERMILION, WIDTH_IN, Picture, canvas, entitle, slug

if TYPE_CHECKING:
    from numpy.typing import NDArray

PLAIN_STYLE: dict[str, Any] = {"color": BLUE, "linestyle": "-"}
PLUS_STYLE: dict[str, Any] = {"color": VERMILION, "linestyle": (0, (5, 2))}
AXIS_TITLE: dict[str, Any] = {"loc": "left", "fontsize": 8.5}  # what a wide name has no room for beside the axis
LOSSES = {  # what a method's loss is, as its file in pretrain/methods/ has it; nats where it is a logarithm to base e
    "simclr": "InfoNCE (nats)",
    "moco": "InfoNCE against the queue (nats)",
    "cmc": "contrast of both halves (nats)",
    "byol": "2 - 2 cos, both directions (0 to 8)",
    "simsiam": "-cos to the other view (-1 to 1)",
    "swav": "cross-entropy of codes (nats)",
    "dcl": "contrastive loss (nats)",
    "relic": "cross-entropy + penalty (nats)",
    "ssl_hsic": "γ√HSIC(Z, Z) - HSIC(Z, Y)",
    "icl_msr": "InfoNCE, unregularised (nats)",
    "barlow_twins": "(C - identity)², weighted sum",
    "vicreg": "weighted sum of three terms",
    "w_mse": "2 - 2 cos, whitened (0 to 4)",
    "supervised": "cross-entropy (nats)",
    "mec": "-coding length an image",
    "tcr": "-coding rate - alignment",
}
WINDOW_SHARE = 40  # a curve is averaged over a 1/40 of its points: long enough for the trend, short enough for kinks
MOST_POINTS = 240  # of one line in a picture: more than its width in pixels can show
FEW = 2  # of at most so many lines of one kind, the logged steps are shown too


@dataclass(frozen=True)
class Curve:
    """Values over epochs."""

    epochs: NDArray[np.float64]
    values: NDArray[np.float64]


@dataclass(frozen=True)
class TrainingCurves:
    """The curves of one run: the method's own loss, and the 5-nn accuracy in per cent."""

    run: Run
    loss: Curve
    accuracy: Curve


def read_training_curves(runs: Path, run: Run, damage: Callable[[str], None] | None = None) -> TrainingCurves:
    """The curves of `run` below `runs`; empty ones where it logged nothing. `damage` as in `read_metrics`.

    A "+" run's loss is the method's own, without CompMod's terms, so that it can be compared with the plain run's.
    """
    train, online = read_metrics(Path(runs) / run.folder / METRICS_FILE, ("train", "online"), damage)
    loss, accuracy = _curve(train, ("loss_ssl", "loss")), _curve(online, ("knn/top1",))
    return TrainingCurves(run=run, loss=loss, accuracy=Curve(accuracy.epochs, 100 * accuracy.values))


def draw_training_curves(title: str, trainings: Sequence[TrainingCurves]) -> Picture:
    """Training loss above and online 5-nn accuracy below, one line a run.

    Strong: a running mean; faint, where lines are few: the logged steps.
    """
    from matplotlib.lines import Line2D

    with canvas(width=WIDTH_IN, height=3.8) as drawing:
        upper, lower = drawing.figure.subplots(2, 1, sharex=True)
        for training in trainings:
            alike = sum(other.run.plus == training.run.plus for other in trainings)
            _draw(upper, lower, training, faint=alike <= FEW)
        entitle(drawing.figure, title)
        upper.set_title(f"loss: {LOSSES.get(trainings[0].run.base_method, 'of the method')}", **AXIS_TITLE)
        lower.set_title("5-nn accuracy (%)", **AXIS_TITLE)
        lower.set_xlabel("epoch of pretraining")
        for axis in (upper, lower):
            axis.grid(visible=True)
        kinds = [plus for plus in (False, True) if any(training.run.plus is plus for training in trainings)]
        lines = [Line2D([], [], linewidth=2, **(PLUS_STYLE if plus else PLAIN_STYLE)) for plus in kinds]
        names = ["with CompMod (+)" if plus else "the method alone" for plus in kinds]
        drawing.figure.legend(lines, names, loc="outside lower center", ncols=2)
    name = f"curves-{slug(title)}"
    return Picture(name=name, title=title, alternative=describe(title, trainings), content=drawing.content)


def describe(title: str, trainings: Sequence[TrainingCurves]) -> str:
    """What the curves show, in figures: first and last loss, last accuracy, plain and "+" apart."""
    texts = []
    for plus in (False, True):
        some = [training for training in trainings if training.run.plus is plus and len(training.loss.values)]
        if not some:
            continue
        name = "with CompMod" if plus else "the method alone"
        first = _range((training.loss.values[0] for training in some), 3)
        last = _range((_smooth(training.loss.values)[-1] for training in some), 3)
        count = f" ({len(some)} runs)" if len(some) > 1 else ""
        texts.append(f"{name}{count}: loss from {first} to {last}")
        ends = [training.accuracy.values[-1] for training in some if len(training.accuracy.values)]
        if ends:
            texts[-1] += f", 5-nn accuracy at the end {_range(ends, 1)} %"
    epochs = max((training.loss.epochs[-1] for training in trainings if len(training.loss.epochs)), default=0.0)
    return f"{title}, {epochs:.0f} epochs; {'; '.join(texts)}."


def read_metrics(
    path: Path, kinds: Sequence[str], damage: Callable[[str], None] | None = None
) -> tuple[list[dict[str, Any]], ...]:
    """The lines of each of `kinds` in a metrics.jsonl, the last of each step where a resumed run wrote it twice.

    A last line that a kill cut short is left out. Damaged lines are left out too, and `damage` is called with one
    sentence about them.
    """
    lines: dict[str, dict[Any, dict[str, Any]]] = {kind: {} for kind in kinds}
    faults: list[str] = []
    try:
        for number, (text, line) in enumerate(read_lines(path), start=1):
            try:
                if line is not None:
                    check_fields(line, LOGGED, f"line {number}")
            except ValueError as error:
                faults.append(str(error))
                continue
            if line is None and text.endswith(b"\n"):
                faults.append(f"line {number}: not a JSON object")
            elif line is not None and line.get("kind") in lines:
                lines[line["kind"]][line.get("step", line.get("epoch"))] = line
    except ValueError as error:
        if damage:
            damage(str(error))
    if faults and damage:
        damage(f"{path}: {faults[0]}" + (f"; {len(faults) - 1} more like it" if len(faults) > 1 else ""))
    return tuple(list(of_kind.values()) for of_kind in lines.values())


def running_mean(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Centred mean over at most `window` values, over fewer at the ends."""
    half = max(window, 1) // 2
    total = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    first, last = np.maximum(index - half, 0), np.minimum(index + half + 1, len(values))
    mean: NDArray[np.float64] = (total[last] - total[first]) / (last - first)
    return mean


def by_panel(wanted: Iterable[tuple[int, Run]]) -> dict[str, list[Run]]:
    """Runs by the title of their picture, each run once; `wanted` pairs a table's number with a run that it needs.

    Runs that differ from their method's first on the same data by more than seed and "+" are a table's own variants
    and get a picture that names the table.
    """
    panels: dict[str, list[Run]] = {}
    first: dict[tuple[str, str], int] = {}
    seen: set[str] = set()
    for number, run in wanted:
        if run.digest in seen or not run.epochs:
            continue
        seen.add(run.digest)
        first_table = first.setdefault((run.base_method, run.data_label), number)
        title = f"{run.label.removesuffix(PLUS)}, {run.data_label}"
        panels.setdefault(title if number <= first_table else f"{title}: Table {number}", []).append(run)
    return panels


def _draw(upper: Any, lower: Any, training: TrainingCurves, *, faint: bool) -> None:
    style = PLUS_STYLE if training.run.plus else PLAIN_STYLE
    loss, accuracy = _thinned(training.loss), training.accuracy
    if len(loss.values):
        if faint:
            upper.plot(loss.epochs, loss.values, color=style["color"], alpha=0.25, linewidth=0.6)
        mean = _thinned(Curve(training.loss.epochs, _smooth(training.loss.values)))
        upper.plot(mean.epochs, mean.values, linewidth=1.6 if faint else 0.9, **style)
    if len(accuracy.values):
        lower.plot(accuracy.epochs, accuracy.values, linewidth=1.6 if faint else 0.9, marker="o", ms=2.5, **style)


def _curve(lines: list[dict[str, Any]], names: tuple[str, ...]) -> Curve:
    """Epochs and the first of `names` that each line has; a line with neither, or with no number there, is left out."""
    points = []
    for line in lines:
        value = next((line[name] for name in names if name in line), None)
        if value is not None and line.get("epoch") is not None:
            points.append((float(line["epoch"]), float(value)))
    array = np.array(points, dtype=np.float64).reshape(-1, 2)
    return Curve(array[:, 0], array[:, 1])


def _smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return running_mean(values, len(values) // WINDOW_SHARE)


def _thinned(curve: Curve) -> Curve:
    """At most MOST_POINTS of a curve, evenly chosen, its ends among them."""
    if len(curve.values) <= MOST_POINTS:
        return curve
    kept = np.linspace(0, len(curve.values) - 1, MOST_POINTS).round().astype(np.int64)
    return Curve(curve.epochs[kept], curve.values[kept])


def _range(values: Iterable[float], digits: int) -> str:
    """The least and the greatest of `values`; one number where they print alike."""
    listed = list(values)
    low, high = (f"{value:.{digits}g}" if digits > 1 else f"{value:.1f}" for value in (min(listed), max(listed)))
    return low if low == high else f"{low} to {high}"
