"""The HTML of a table: elements closed in their place, headers that say what a cell is, links that lead somewhere."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from compmod.pretrain.recipes.scales import SCALES
from compmod.tables.build import build_table, tables_at
from compmod.tables.paper.table import Table
from compmod.tables.render.html_table import html_provenance, html_table
from compmod.tables.render.render import render, render_all
from compmod.tables.results.cells import cell_results
from compmod.tables.results.gains import gain_lines
from compmod.tables.results.results import Results

VOID = {"br", "meta"}


class Page(HTMLParser):
    """The elements of a page; `faults` are those that are not closed in their place."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.faults: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.widths: list[list[int]] = []  # of each table, the columns that each of its rows spans
        self.reaching = 0  # headers of this row that reach down into the next
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        self.found.append((tag, given))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.widths.append([])
            self.reaching = 0
        if tag == "tr":
            self.widths[-1].append(self.reaching)
            self.reaching = 0
        if tag in ("td", "th"):
            self.widths[-1][-1] += int(given.get("colspan") or 1)
            self.reaching += "rowspan" in given

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(tag)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [given for found, given in self.found if found == tag]


@pytest.fixture
def filled(every_case: Table, tmp_path: Path, finish: Any) -> tuple[Table, Path]:
    for spec in every_case.specs[:4]:
        finish(spec, linear=0.9)
    return every_case, tmp_path / "runs"


@pytest.mark.parametrize("number, scale", [(number, scale) for scale in SCALES for number in tables_at(scale)])
def test_every_table_is_whole_and_rectangular(number: int, scale: Any, tmp_path: Path) -> None:
    table = build_table(number, scale)
    page = Page(render(table, tmp_path, "html"))
    assert (page.faults, page.open) == ([], [])
    assert {len(set(widths)) for widths in page.widths} == {1}
    gains = [len(gain_lines(cell_results(table, Results(tmp_path)), heading)) for heading in table.headings]
    lines = [count for gained in gains for count in (len(table.rows), gained) if count]
    assert [len(widths) for widths in page.widths] == [2 + count for count in lines]


def test_every_table_has_a_caption_and_every_header_a_scope(filled: tuple[Table, Path]) -> None:
    page = Page(render(*filled, "html"))
    assert len(page.of("caption")) == len(page.of("table")) > 0
    assert {header.get("scope") for header in page.of("th")} == {"row", "col", "colgroup"}


def test_the_page_says_its_language_and_has_one_title_and_one_first_heading(filled: tuple[Table, Path]) -> None:
    page = Page(render(*filled, "html"))
    assert page.of("html")[0]["lang"] == "en"
    assert (len(page.of("title")), len(page.of("h1")), len(page.of("main"))) == (1, 1, 1)


def test_every_number_of_ours_links_to_its_first_run_below(filled: tuple[Table, Path]) -> None:
    table, runs = filled
    text = render(table, runs, "html")
    page = Page(text)
    links = [str(link["href"]) for link in page.of("a")]
    assert links == [f"#run-{table.specs[0].digest}"] * 2 + [f"#run-{table.specs[3].digest}"] * 2
    ids = [str(given["id"]) for _, given in page.found if "id" in given]
    assert len(ids) == len(set(ids))
    assert {link.removeprefix("#") for link in links} <= set(ids)
    assert [name for name in ids if name.startswith("run-")] == [f"run-{spec.digest}" for spec in table.specs[:4]]


def test_a_line_of_the_list_tells_all_of_a_numbers_origin(filled: tuple[Table, Path]) -> None:
    table, runs = filled
    line = html_provenance(cell_results(table, Results(runs)), table.scale).split("<tbody>")[1].split("</tr>")[0]
    words = re.findall(r">([^<>\n]+)<", line)
    spec = table.specs[0]
    assert words[:4] == [spec.digest, "0", "short", "CIFAR-10"]
    assert words[4:8] == ["0123456789ab (with changes)", "a processor, threads: 2", "15.0 s", "as now"]
    assert words[8] == spec.folder


def test_the_fragment_is_one_section_without_styles_or_the_list(filled: tuple[Table, Path]) -> None:
    table, runs = filled
    results = Results(runs)
    text = html_table(table, cell_results(table, results), results)
    assert text.startswith("<section ")
    assert text.endswith("</section>\n")
    assert text.count("<section") == 1
    assert "<style" not in text
    assert 'id="run-' not in text


def test_words_of_a_table_are_shown_and_never_taken_for_elements(every_case: Table, tmp_path: Path) -> None:
    rows = (replace(every_case.rows[0], label='<script>"&'), *every_case.rows[1:])
    table = replace(every_case, rows=rows, title="a < b & c", notes=("<i>`<b>`",))
    text = render(table, tmp_path, "html")
    assert "<script" not in text
    assert "&lt;script&gt;&quot;&amp;" in text
    assert "a &lt; b &amp; c" in text
    assert "&lt;i&gt;<code>&lt;b&gt;</code>" in text


def test_a_verdict_is_a_word_beside_its_interval(filled: tuple[Table, Path]) -> None:
    text = render(*filled, "html")
    assert (
        '<td class="verdict reproduced">reproduced<br><small class="interval">95 %: 90.00 to 90.00</small></td>' in text
    )
    assert '<td class="verdict not-run">not run</td>' in text


def test_what_plus_changes_is_a_table_of_its_own_below_its_heading(tmp_path: Path, finish: Any) -> None:
    table = build_table(1)
    for label, linear in (("BYOL", 0.9), ("BYOL+", 0.895)):
        finish(next(row for row in table.rows if row.label == label).cells[0].specs[0], linear=linear)
    text = render(table, tmp_path / "runs", "html")
    small = text.split("<caption>Gain of +, CIFAR-10</caption>")[1].split("</table>")[0]
    line = next(line for line in small.splitlines() if 'scope="row">BYOL<' in line)
    assert re.findall("<td>(.*?)</td>", line) == ["+2.23", "&minus;0.50 (n=1)", "+2.08", "+0.00 (n=1)"]


def test_several_tables_are_one_page_that_lists_a_shared_run_once(tmp_path: Path, finish: Any) -> None:
    tables = [build_table(number) for number in (1, 4, 6)]
    shared = {spec.digest for spec in tables[0].specs} & {spec.digest for spec in tables[2].specs}
    for spec in tables[0].specs:
        if spec.digest in shared:
            finish(spec)
    text = render_all(tables, tmp_path / "runs", "html")
    page = Page(text)
    assert (page.faults, page.open, text.count("<!DOCTYPE")) == ([], [], 1)
    ids = [str(given["id"]) for _, given in page.found if "id" in given]
    assert len(ids) == len(set(ids))
    assert {"table-1", "table-4", "table-6", *(f"run-{digest}" for digest in shared)} <= set(ids)
    assert "<title>Tables 1, 4, 6, scale paper: " in text
