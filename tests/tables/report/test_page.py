"""The page: what it holds, where its links lead, and what a reader without eyes is told; read by a parser."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from compmod.tables.build import build_table
from compmod.tables.report import wording
from compmod.tables.report.contents import Report, full_report
from compmod.tables.report.page import page
from compmod.tables.report.report import markdown_report
from made_up_runs import make_up

VOID = {"meta", "img", "br", "link", "hr", "input"}


class Outline(HTMLParser):
    """The elements of a page with their attributes, and the words inside those that are headings or list items."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.misnested: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attributes}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.misnested.append(tag)

    def of(self, *tags: str) -> list[dict[str, str]]:
        """The attributes of every element of these kinds."""
        return [attributes for tag, attributes in self.elements if tag in tags]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Two tables filled, the others not, one record damaged."""
    runs = tmp_path_factory.mktemp("runs")
    tables = [build_table(number, seeds=2) for number in (1, 6)]
    make_up(tables, runs, logged=2)
    (runs / tables[0].specs[0].folder / "results.json").write_text("{")
    return full_report(runs, seeds=2)


@pytest.fixture(scope="module")
def text(report: Report) -> str:
    return page(report)


@pytest.fixture(scope="module")
def outline(text: str) -> Outline:
    return Outline(text)


def test_every_element_that_is_opened_is_closed_in_its_place(outline: Outline) -> None:
    assert (outline.open, outline.misnested) == ([], [])


def test_no_name_is_given_twice(outline: Outline) -> None:
    names = Counter(attributes["id"] for _, attributes in outline.elements if "id" in attributes)
    assert [name for name, count in names.items() if count > 1] == []


def test_every_link_leads_to_a_place_on_the_page(outline: Outline) -> None:
    names = {attributes["id"] for _, attributes in outline.elements if "id" in attributes}
    targets = {attributes["href"] for attributes in outline.of("a")}
    assert {target for target in targets if target.removeprefix("#") not in names} == set()
    assert len([target for target in targets if target.startswith("#run-")]) > 50


def test_every_label_of_a_region_is_on_the_page(outline: Outline) -> None:
    names = {attributes["id"] for _, attributes in outline.elements if "id" in attributes}
    assert {a["aria-labelledby"] for _, a in outline.elements if "aria-labelledby" in a} <= names


def test_the_page_names_no_address_outside_itself(text: str, outline: Outline) -> None:
    addresses = [value for _, a in outline.elements for name, value in a.items() if name in ("src", "href", "action")]
    assert {address.split(",")[0] for address in addresses if not address.startswith("#")} == {
        "data:image/svg+xml;base64"
    }
    without_pictures = re.sub(r'src="data:[^"]+"', "", text)
    assert re.findall(r"url\(|@import|https?://|<script|<link|<iframe", without_pictures) == []


def test_the_language_is_set_and_the_width_is_the_devices(outline: Outline) -> None:
    assert outline.of("html") == [{"lang": "en"}]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in outline.of("meta")


def test_headings_descend_by_one_from_a_single_first(outline: Outline) -> None:
    levels = [int(tag[1]) for tag, _ in outline.elements if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1
    assert all(below - above <= 1 for above, below in zip([0, *levels], levels, strict=False))


def test_the_page_has_one_header_navigation_and_main_part_and_a_way_to_skip(outline: Outline) -> None:
    assert [len(outline.of(tag)) for tag in ("header", "nav", "main")] == [1, 1, 1]
    assert outline.of("a")[0] == {"class": "skip", "href": f"#{outline.of('main')[0]['id']}"}


def test_every_table_has_a_caption_and_every_header_a_scope(outline: Outline) -> None:
    assert len(outline.of("table")) == len(outline.of("caption")) > 15
    assert {attributes.get("scope") for attributes in outline.of("th")} <= {"col", "row", "colgroup", "rowgroup"}


def test_every_picture_says_in_figures_what_it_shows(outline: Outline) -> None:
    words = [attributes["alt"] for attributes in outline.of("img")]
    assert len(words) > 10
    assert [alternative for alternative in words if not re.search(r"\d\.\d", alternative)] == []


def test_a_damaged_record_is_listed_with_its_path(report: Report, text: str) -> None:
    (sentence,) = report.damaged
    assert text.count(str(report.results.path / report.sections[0].table.specs[0].folder)) >= 1
    assert sentence.split(": ")[0] in text


def test_what_records_say_is_escaped(report: Report) -> None:
    first = report.measurements[0]
    hostile = replace(first, provenance=replace(first.provenance, hardware="<script>alert(1)</script>"))
    text = page(replace(report, measurements=(hostile,)))
    assert "<script>" not in text
    assert "&lt;script&gt;" in text


def test_a_report_of_nothing_is_a_whole_page(tmp_path: Path) -> None:
    outline = Outline(page(full_report(tmp_path / "nowhere")))
    assert (outline.open, outline.misnested, outline.of("img")) == ([], [], [])


def test_markdown_has_every_part_of_the_page(report: Report) -> None:
    text = markdown_report(report)
    parts = ["Summary", "What the paper claims", "Training curves", "What each row is", "What is missing"]
    for part in [*parts, "Where the numbers come from", "Damaged records"]:
        assert f"\n## {part}" in text
    for section in report.sections:
        assert f"\n## Table {section.table.number}, scale paper" in text


def test_every_line_of_a_markdown_table_has_as_many_cells_as_its_header(report: Report) -> None:
    blocks: list[list[str]] = [[]]
    for line in markdown_report(report).splitlines():
        if line.startswith("|"):
            blocks[-1].append(line)
        elif blocks[-1]:
            blocks.append([])
    cells: list[Any] = [{len(re.split(r"(?<!\\)\|", line)) for line in block} for block in blocks if block]
    assert len(cells) > 15
    assert [found for found in cells if len(found) > 1] == []


def test_the_first_picture_is_what_plus_changes(outline: Outline, report: Report) -> None:
    assert outline.of("img")[0]["alt"] == report.gain_pictures[0].alternative
    assert report.gain_pictures[0].alternative.startswith("What “+” changes")
    text = markdown_report(report)
    assert text.index(report.gain_pictures[0].file) < text.index("## Summary")


def test_rows_without_a_number_of_ours_stand_in_the_folded_table_alone(tmp_path: Path, finish: Any) -> None:
    table = build_table(1)
    finish(table.rows[0].cells[0].specs[0])
    report = full_report(tmp_path / "runs")
    printed = [cell.paper_text for row in table.rows for cell in row.cells]
    for text in (page(report), markdown_report(report)):
        start = re.search(r"Table 1, scale paper", text)
        assert start
        section = text[start.end() : text.index("Table 2, scale paper", start.end())]
        above, folded = section.split("<details>")
        assert ("VICReg" in above, "VICReg" in folded) == (False, True)
        assert "86 of 88 cells have no number of ours, 10 whole rows among them" in section
        assert [number for number in printed if number not in folded] == []


def test_a_claim_is_one_line_that_says_where_nothing_has_run(report: Report, text: str, outline: Outline) -> None:
    assert len(outline.of("summary")) >= len(report.claims) > 30
    states = [wording.claim_state(ours) for _, ours in report.claims]
    assert {"inconclusive", "not run"} <= set(states)
    lines = re.findall(r"<summary><strong>(.*?)</strong>", text)
    assert lines == [wording.verdict_with_symbol(state) for state in states]
    assert f"{states.count('not run')} not run." in text
    assert {"open" in attributes for attributes in outline.of("details")} == {False}
