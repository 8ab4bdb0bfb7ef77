"""Figures: what a picture of a report is, the style of all pictures, and sample views. matplotlib draws in memory.

Colours are from the colour-blind-safe palette of Okabe and Ito (2008); lines differ in dash as well, points in shape.
"""

from __future__ import annotations

import base64
import io
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ...pretrain.files.whole_file import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

BLUE, VERMILION, GREY = (
    "#0072B2",
    "#D55E00",
    "#595959",
)  # the first two of Okabe and Ito; grey for axes and lines between points
WIDTH_IN = 3.5  # of most pictures: 336 CSS pixels, as wide as a phone, which then need not shrink it
TITLE_LETTERS = 40  # in one line of the title of a picture
DPI = 150  # of PNG pictures
MEDIA = {"svg": "image/svg+xml", "png": "image/png"}
LOOK: dict[Any, Any] = {  # keys are names of matplotlib's settings
    "font.size": 8.5,
    "axes.titlesize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "svg.hashsalt": "compmod",  # so that equal data give equal files
    "svg.fonttype": "none",  # text stays text, a quarter of the size; the reader's fonts are no wider than ours
}


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A finished picture. `alternative` says in words and figures what it shows."""

    name: str  # of its file, without the ending
    title: str
    alternative: str
    content: bytes
    form: Literal["svg", "png"] = "svg"

    @property
    def file(self) -> str:
        """Name of its file."""
        return f"{self.name}.{self.form}"

    @property
    def data_uri(self) -> str:
        """The picture as an address that holds it, for a page without other files."""
        return f"data:{MEDIA[self.form]};base64,{base64.b64encode(self.content).decode()}"

    def write(self, folder: Path) -> Path:
        """Write the picture, whole or not at all, into `folder`."""
        write_whole(folder / self.file, self.content)
        return folder / self.file


class Canvas:
    """A figure to draw on; `content` holds its file after `canvas` has closed."""

    def __init__(self, figure: Figure) -> None:
        self.figure = figure
        self.content = b""


@contextmanager
def canvas(*, width: float, height: float, form: Literal["svg", "png"] = "svg") -> Iterator[Canvas]:
    """A figure of this width and height in inches, in the common style. It needs no display."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context(LOOK):
        drawing = Canvas(Figure(figsize=(width, height), layout="constrained"))
        FigureCanvasAgg(drawing.figure)
        yield drawing
        file = io.BytesIO()
        plain = {"Date": None} if form == "svg" else None  # a date would make equal pictures differ
        drawing.figure.savefig(file, format=form, dpi=DPI, metadata=plain)
        drawing.content = file.getvalue()


def wrapped(title: str) -> str:
    """`title` in lines that fit the width of a picture."""
    return textwrap.fill(title, TITLE_LETTERS)


def slug(text: str) -> str:
    """`text` as part of a file's name: small letters, digits and hyphens; "+" as the word plus."""
    words = text.lower().replace("+", "-plus")
    kept = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in words)
    return "-".join(filter(None, kept.split("-")))


def draw_views(sources: NDArray[np.uint8], views: Sequence[NDArray[np.floating[Any]]], title: str) -> Picture:
    """A grid of pictures: a row of source images and under it one row a view.

    `sources` is images x 3 x height x width, 0 to 255; each of `views` the same with values 0 to 1, not normalised.
    """
    rows: list[tuple[str, NDArray[Any]]] = [("source", sources / 255)]
    rows += [(f"view {count}", view) for count, view in enumerate(views, start=1)]
    with canvas(width=0.6 * len(sources) + 0.5, height=0.63 * len(rows) + 0.1, form="png") as drawing:
        axes = drawing.figure.subplots(len(rows), len(sources), squeeze=False)
        for (label, images), line in zip(rows, axes, strict=True):
            for image, axis in zip(images, line, strict=True):
                axis.imshow(np.clip(np.moveaxis(image, 0, -1), 0, 1), interpolation="nearest")
                axis.set(xticks=[], yticks=[])
                axis.spines[:].set_visible(False)
            line[0].set_ylabel(label)
    height, width = sources.shape[-2:]
    shown = f"{len(sources)} source images of {width} by {height} pixels in a row; under each its {len(views)} views."
    return Picture(name="views", title=title, alternative=shown, content=drawing.content, form="png")
