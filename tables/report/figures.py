"""Figures: what a picture of a report is, the style of all pictures, and sample views. matplotlib draws in memory.

Colours are from the colour-blind-safe palette of Okabe and Ito (2008); lines differ in dash as well, points in shape.
"""

from __future__ import annotations

import base64
import io
import re
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

BLUE, VERMILION = "#0072b2", "#d55e00"  # of Okabe and Ito
GREY = "#595959"  # of axes and of lines between points
INK, GROUND = "#1b1f24", "#ffffff"  # of letters, and what they stand on
DARK = {  # the same where the reader prefers a dark screen; ink and ground as in report.css
    BLUE: "#56b4e9",  # Okabe and Ito's sky blue
    VERMILION: "#ff9147",
    GREY: "#a3abb3",
    INK: "#e4e7ea",
    GROUND: "#15181c",
}
WIDTH_IN = 3.5  # of most pictures: 336 CSS pixels, as wide as a phone, which then need not shrink it
TITLE_LETTERS = 44  # in one line of the title of a picture
MEDIA = {"svg": "image/svg+xml", "png": "image/png"}
LOOK: dict[Any, Any] = {  # keys are names of matplotlib's settings
    "font.size": 8.5,
    "font.sans-serif": ["DejaVu Sans"],  # matplotlib's whole list in every letter's style is half of a picture
    "figure.titlesize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,  # not black, which stays as it is: letters on the colours of a heat map
    "axes.labelcolor": INK,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "axes.edgecolor": GREY,
    "grid.color": GREY,
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


def _rules(light: str, dark: str) -> str:
    """matplotlib writes colours into style attributes; a ground of letters is a path or a use of one, never a text."""
    shapes = f'path[style*="fill: {light}"],use[style*="fill: {light}"]'
    texts = "" if light == GROUND else f',text[style*="fill: {light}"]'
    return f'{shapes}{texts}{{fill:{dark}!important}}[style*="stroke: {light}"]{{stroke:{dark}!important}}'


_DARK_RULES = f"@media screen and (prefers-color-scheme:dark){{{''.join(map(_rules, DARK, DARK.values()))}}}".encode()


_PLACES, _DIGITS = re.compile(rb' (?:d|x|y)="[^"]*"'), re.compile(rb"(\.\d\d)\d+")


def _shorter(place: re.Match[bytes]) -> bytes:
    """Coordinates with two decimals in place of six: a hundredth of a point is not seen, and the file is smaller."""
    return _DIGITS.sub(rb"\1", place[0])


class Canvas:
    """A figure to draw on; `content` holds its file after `canvas` has closed."""

    def __init__(self, figure: Figure) -> None:
        self.figure = figure
        self.content = b""


@contextmanager
def canvas(*, width: float, height: float) -> Iterator[Canvas]:
    """A figure of this width and height in inches, in the common style, as SVG. It needs no display."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context(LOOK):
        drawing = Canvas(Figure(figsize=(width, height), layout="constrained"))
        FigureCanvasAgg(drawing.figure)
        yield drawing
        file = io.BytesIO()
        plain = dict.fromkeys(("Date", "Creator", "Format", "Type"))  # without these, equal data give equal files
        drawing.figure.savefig(file, format="svg", metadata=plain)
        drawing.content = _PLACES.sub(_shorter, file.getvalue())
        drawing.content = drawing.content.replace(b"</style>", _DARK_RULES + b"</style>", 1)


def entitle(figure: Figure, title: str) -> None:
    """Write `title` above everything, in lines that fit the width of the picture."""
    figure.suptitle(textwrap.fill(title, TITLE_LETTERS), x=0.01, ha="left")


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
    with canvas(width=0.6 * len(sources) + 0.5, height=0.63 * len(rows) + 0.1) as drawing:
        axes = drawing.figure.subplots(len(rows), len(sources), squeeze=False)
        for (label, images), line in zip(rows, axes, strict=True):
            for image, axis in zip(images, line, strict=True):
                axis.imshow(np.clip(np.moveaxis(image, 0, -1), 0, 1), interpolation="none")  # its own pixels
                axis.set(xticks=[], yticks=[])
                axis.spines[:].set_visible(False)
            line[0].set_ylabel(label)
    height, width = sources.shape[-2:]
    shown = f"{len(sources)} source images of {width} by {height} pixels in a row; under each its {len(views)} views."
    return Picture(name="views", title=title, alternative=shown, content=drawing.content)
