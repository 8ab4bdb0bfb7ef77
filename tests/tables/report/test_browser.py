"""The report in a real browser: at the width of a phone and of a desk, by day and by night."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from browser import DARK, LIGHT, printed_pages, visit
from compmod.tables.build import build_table
from compmod.tables.report.contents import full_report
from compmod.tables.report.page import page
from made_up_runs import make_up

pytestmark = pytest.mark.browser
FILLED = (1, 4, 6)
WIDTHS = (360, 1280)  # CSS pixels of a small phone and of a desk


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with all seven tables, three of them filled for the most part."""
    folder = tmp_path_factory.mktemp("report")
    make_up([build_table(number, "paper", seeds=2) for number in FILLED], folder / "runs", share=0.8, logged=24)
    path = folder / "index.html"
    path.write_text(page(full_report(folder / "runs", "paper", seeds=2)), encoding="utf-8")
    return path


@pytest.fixture(scope="module", params=WIDTHS)
def seen(request: pytest.FixtureRequest, report: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the browser finds at one width."""
    found = visit(report, request.param, tmp_path_factory.mktemp("visit"))
    assert found["width"] == request.param
    return found


def test_the_page_never_scrolls_sideways_and_wide_tables_scroll_in_their_own_box(seen: dict[str, Any]) -> None:
    assert seen["content"] <= seen["width"]
    assert (seen["boxes"] > 20, seen["wideBoxes"]) == (True, 0)


def test_a_box_that_scrolls_can_be_reached_by_keyboard(seen: dict[str, Any]) -> None:
    assert seen["unreachable"] == 0


def test_every_picture_is_shown_and_has_words(seen: dict[str, Any]) -> None:
    assert (seen["pictures"] > 15, seen["broken"], seen["withoutWords"]) == (True, 0, 0)


def test_the_page_fetches_nothing(seen: dict[str, Any]) -> None:
    assert seen["fetched"] == []


def test_letters_are_large_enough_to_read(seen: dict[str, Any]) -> None:
    assert seen["letters"] >= 11


@pytest.mark.parametrize("prefers", [LIGHT, DARK])
def test_all_words_stand_out_from_their_ground(prefers: str, report: Path, tmp_path: Path) -> None:
    found = visit(report, 1280, tmp_path, prefers)
    assert found["ground"] == ("rgb(255, 255, 255)" if prefers == LIGHT else "rgb(21, 24, 28)")
    assert found["faint"] == []


def test_what_is_folded_on_a_screen_is_printed(report: Path, tmp_path: Path) -> None:
    text = report.read_text(encoding="utf-8")
    folded, opened = tmp_path / "folded.html", tmp_path / "opened.html"
    folded.write_text(text.replace("details::details-content", "unused"), encoding="utf-8")
    opened.write_text(text.replace("<details>", "<details open>"), encoding="utf-8")
    pages = [printed_pages(path, tmp_path) for path in (folded, report, opened)]
    assert pages[0] < pages[1] == pages[2]
