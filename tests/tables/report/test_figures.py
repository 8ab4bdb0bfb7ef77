"""Pictures: their files, their addresses, and the grid of views."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from compmod.tables.report.figures import BLUE, DARK, INK, Picture, canvas, draw_views, slug
from PIL import Image


def test_a_picture_of_views_says_what_it_shows() -> None:
    sources = np.zeros((4, 3, 8, 8), dtype=np.uint8)
    picture = draw_views(sources, [np.ones((4, 3, 8, 8)), np.ones((4, 3, 8, 8))], "views")
    shown = re.findall(r"data:image/png;base64,\s*([^\"]+)", picture.content.decode())
    sizes = {Image.open(io.BytesIO(base64.b64decode(text))).size for text in shown}
    assert (len(shown), sizes) == (3 * 4, {(8, 8)})  # each with its own pixels
    assert picture.alternative == "4 source images of 8 by 8 pixels in a row; under each its 2 views."


@pytest.mark.parametrize("form, media", [("svg", "image/svg+xml"), ("png", "image/png")])
def test_the_address_of_a_picture_holds_its_whole_content(form: str, media: str) -> None:
    picture = Picture(name="a", title="", alternative="", content=b"\x00<svg>", form=form)  # type: ignore[arg-type]
    start, _, encoded = picture.data_uri.partition(",")
    assert (start, base64.b64decode(encoded)) == (f"data:{media};base64", b"\x00<svg>")


def test_a_picture_is_written_under_its_name_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    Picture(name="a", title="", alternative="", content=b"<svg>").write(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.svg": b"<svg>"}


def test_a_drawing_has_no_date_and_its_letters_are_letters() -> None:
    with canvas(width=2, height=1) as drawing:
        drawing.figure.suptitle("words")
    assert b">words</text>" in drawing.content
    assert b"dc:date" not in drawing.content


@pytest.mark.parametrize(
    "text, expected",
    [("SimCLR+, CIFAR-10", "simclr-plus-cifar-10"), ("λ = 0.5", "0-5"), ("the paper's", "the-paper-s")],
)
def test_a_slug_keeps_plain_letters_and_figures(text: str, expected: str) -> None:
    assert slug(text) == expected


def test_a_picture_has_its_colours_for_dark_screens_and_no_black_letters_on_its_ground() -> None:
    with canvas(width=2, height=1) as drawing:
        axis = drawing.figure.subplots()
        axis.plot([0, 1], color=BLUE)
        axis.set_xlabel("words")
    content = drawing.content.decode()
    assert "@media screen and (prefers-color-scheme:dark){" in content
    for light, dark in DARK.items():
        assert f'[style*="stroke: {light}"]{{stroke:{dark}!important}}' in content
    texts = re.findall(r'<text style="([^"]*)"', content)
    assert [style for style in texts if f"fill: {INK}" not in style] == []


def test_coordinates_are_shortened_and_words_are_not() -> None:
    with canvas(width=2, height=1) as drawing:
        drawing.figure.subplots().set_xlabel("lambda1 = 0.001")
    assert b">lambda1 = 0.001</text>" in drawing.content
    assert re.findall(rb' d="[^"]*\.\d{3}', drawing.content) == []
