"""Rendered tables: golden text in every format, and honest cells whatever state the records are in.

After a meant change, renew the golden files with `COMPMOD_RENEW_GOLDEN=1 pytest tests/tables/render/test_render.py`,
and read the difference before committing it. Digests are masked in them: the recipes may move, the form may not.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from compmod.pretrain.records.fingerprint import fingerprint
from compmod.pretrain.records.record import Record
from compmod.tables.build import build_table
from compmod.tables.paper.table import Cell, Table
from compmod.tables.render.markdown import heading_frame, markdown
from compmod.tables.render.render import FORMATS, long_frame, render, render_all
from compmod.tables.results.cells import cell_results
from compmod.tables.results.results import Results
from paths import GOLDEN as GOLDEN_FOLDER

GOLDEN = GOLDEN_FOLDER / "tables"


def _spec(table: Table, label: str, column: int = 0, seed: int = 0) -> Any:
    return _cell(table, label, column).specs[seed]


def _cell(table: Table, label: str, column: int = 0) -> Cell:
    return next(row for row in table.rows if row.label == label).cells[column]


def _restate(record: Record, **entries: Any) -> None:
    """Replace entries of a record's provenance."""
    record.write_json("provenance.json", (record.provenance or {}) | entries)


def _lines(table: Table, runs: Path) -> pd.DataFrame:
    return long_frame(table, cell_results(table, Results(runs))).set_index(["row", "group", "column"])


def _column(table: Table, runs: Path, name: str, heading: int = 0) -> dict[str, str]:
    frame = heading_frame(table, cell_results(table, Results(runs)), table.headings[heading])
    return dict(zip(frame["Method"], frame[name], strict=True))


@pytest.mark.parametrize("form", FORMATS)
def test_a_table_of_every_case_renders_as_the_golden_file_has_it(
    form: Any, every_case: Table, tmp_path: Path, finish: Any
) -> None:
    runs = tmp_path / "runs"
    for number, spec in enumerate(_cell(every_case, "SimCLR", 1).specs):
        finish(spec, linear=0.900 + number / 1000, knn=0.850 + number / 50)
    for number, spec in enumerate(_cell(every_case, "SimCLR+", 1).specs):
        record = finish(spec, linear=0.930 + number / 1000, knn=0.840, hardware={"gpu": "a GPU"})
        _restate(record, source=fingerprint(spec) | {"knn_accuracy": "0" * 12})
    first, second, third = _cell(every_case, "BYOL", 1).specs
    finish(first, linear=0.9, source=None)
    finish(second, linear=0.91, knn=None)
    run = Record(runs, third.run)
    run.start()
    run.fail("loss is not finite")
    text = render(every_case, runs, form)
    for path in (str(tmp_path), str(tmp_path).replace("_", r"\_")):
        text = text.replace(path, "TMP")
    text = re.sub(r"(?<=[-\W])[0-9a-f]{12}\b", "<digest>", text)
    golden = GOLDEN / f"every-case.{form}"
    if os.environ.get("COMPMOD_RENEW_GOLDEN"):
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8"), (
        f"{golden.name} differs; if the change is meant, run COMPMOD_RENEW_GOLDEN=1 pytest {__file__}"
    )


def test_an_empty_runs_folder_prints_the_papers_numbers_and_not_run(tmp_path: Path) -> None:
    table = build_table(1)
    assert _column(table, tmp_path, "linear: paper")["SimCLR"] == "91.80"
    assert set(_column(table, tmp_path, "linear: ours").values()) == {"not run"}
    assert set(_column(table, tmp_path, "linear: difference").values()) == {""}


def test_mean_std_and_difference_are_those_of_the_seeds(tmp_path: Path, finish: Any) -> None:
    table = build_table(1, "paper", seeds=3)
    for spec, value in zip(_cell(table, "SimCLR").specs, (0.90, 0.91, 0.95), strict=True):
        finish(spec, linear=value)
    line = _lines(table, tmp_path / "runs").loc[("SimCLR", "CIFAR-10", "linear")]
    assert line["ours_mean"] == "92.0000"
    assert line["ours_std"] == f"{7**0.5:.4f}"  # deviations -2, -1, 3 over n - 1 = 2
    assert line["difference"] == "0.2000"
    assert _column(table, tmp_path / "runs", "linear: ours")["SimCLR"] == "**92.00 ± 2.65** (n=3)"
    assert _column(table, tmp_path / "runs", "linear: difference")["SimCLR"] == "+0.20"


def test_one_seed_has_no_deviation(tmp_path: Path, finish: Any) -> None:
    table = build_table(1)
    finish(_spec(table, "SimCLR"), linear=0.9)
    assert _column(table, tmp_path / "runs", "linear: ours")["SimCLR"] == "**90.00** (n=1)"
    assert _lines(table, tmp_path / "runs").loc[("SimCLR", "CIFAR-10", "linear"), "ours_std"] == ""


def test_ours_that_print_alike_are_bold_alike_and_the_others_are_not(tmp_path: Path, finish: Any) -> None:
    table = build_table(1)
    for label, value in (("SimCLR", 0.900011), ("BYOL", 0.900012), ("SimCLR+", 0.88)):
        finish(_spec(table, label), linear=value)
    ours = _column(table, tmp_path / "runs", "linear: ours")
    assert (ours["SimCLR"], ours["BYOL"], ours["SimCLR+"]) == ("**90.00** (n=1)", "**90.00** (n=1)", "88.00 (n=1)")


def test_their_bold_marks_do_not_depend_on_ours(tmp_path: Path, finish: Any) -> None:
    table = build_table(1)
    finish(_spec(table, "SimCLR"), linear=0.99)
    paper = _column(table, tmp_path / "runs", "linear: paper")
    assert [label for label, text in paper.items() if text.startswith("**")] == ["BYOL+"]


def test_a_missing_seed_is_counted_and_named(tmp_path: Path, finish: Any) -> None:
    table = build_table(1, "paper", seeds=2)
    finish(_spec(table, "SimCLR"), linear=0.9)
    assert _column(table, tmp_path / "runs", "linear: ours")["SimCLR"] == "**90.00** (n=1 of 2, not run)"


def test_a_running_run_is_shown_as_running(tmp_path: Path) -> None:
    table = build_table(1)
    run = Record(tmp_path, _spec(table, "SimCLR").run)
    run.start()
    with run.lock():
        assert _column(table, tmp_path, "linear: ours")["SimCLR"] == "running"


def test_a_stopped_run_is_unfinished_and_an_erroneous_one_failed(tmp_path: Path) -> None:
    table = build_table(1)
    Record(tmp_path, _spec(table, "SimCLR").run).start()
    failed = Record(tmp_path, _spec(table, "BYOL").run)
    failed.start()
    failed.fail("loss is not finite")
    ours = _column(table, tmp_path, "linear: ours")
    assert (ours["SimCLR"], ours["BYOL"]) == ("unfinished", "failed")


def test_a_trained_run_without_probes_is_not_evaluated(tmp_path: Path) -> None:
    table = build_table(1)
    run = Record(tmp_path, _spec(table, "SimCLR").run)
    run.start()
    run.finish({"loss": 1.0}, {})
    assert _column(table, tmp_path, "linear: ours")["SimCLR"] == "not evaluated"


@pytest.mark.parametrize(
    "content",
    [
        '{"linear/top1": 0.4',
        "",
        "[]",
        '{"knn/top1": 0.4}',
        '{"linear/top1": null, "knn/top1": 0.4}',
        '{"linear/top1": NaN, "knn/top1": 0.4}',
        '{"linear/top1": true, "knn/top1": 0.4}',
        '{"linear/top1": 91.8, "knn/top1": 0.4}',
        "\x00\x00",
    ],
)
def test_a_damaged_result_is_listed_with_its_path_and_stops_nothing(content: str, tmp_path: Path, finish: Any) -> None:
    table = build_table(1)
    finish(_spec(table, "BYOL"), linear=0.8)
    file = finish(_spec(table, "SimCLR")).path / "results.json"
    file.write_text(content)
    text = render(table, tmp_path / "runs")
    assert text.count(f"- damaged record {file}: ") == 1
    ours = _column(table, tmp_path / "runs", "linear: ours")
    assert (ours["SimCLR"], ours["BYOL"]) == ("damaged", "**80.00** (n=1)")


def test_a_result_that_is_no_text_is_damaged_too(tmp_path: Path, finish: Any) -> None:
    table = build_table(1)
    file = finish(_spec(table, "SimCLR")).path / "results.json"
    file.write_bytes(b"\xff\xfe\x00")
    assert _column(table, tmp_path / "runs", "linear: ours")["SimCLR"] == "damaged"


def test_a_folder_in_place_of_the_results_is_damaged_too(tmp_path: Path, finish: Any) -> None:
    table = build_table(1)
    file = finish(_spec(table, "SimCLR")).path / "results.json"
    file.unlink()
    file.mkdir()
    assert _column(table, tmp_path / "runs", "linear: ours")["SimCLR"] == "damaged"


def test_a_run_on_a_copy_does_not_fill_the_official_cell(tmp_path: Path, finish: Any) -> None:
    from compmod.tables.table1 import table1

    copies = table1("paper", copies={"cifar10": "cifar10-jpeg"})
    finish(_spec(copies, "SimCLR"), linear=0.9)
    assert _column(build_table(1), tmp_path / "runs", "linear: ours")["SimCLR"] == "not run"
    assert _column(copies, tmp_path / "runs", "linear: ours")["SimCLR"] == "**90.00** (n=1)"
    line = _lines(copies, tmp_path / "runs").loc[("SimCLR", "CIFAR-10", "linear")]
    assert line["data"] == "CIFAR-10 (copy: cifar10-jpeg)"


def test_the_demo_takes_no_difference_from_the_paper(tmp_path: Path, finish: Any) -> None:
    table = build_table(1, "demo")
    for spec in table.specs:
        finish(spec)
    assert set(_lines(table, tmp_path / "runs")["difference"]) == {""}


def test_the_csv_has_the_gain_in_the_plus_rows_alone(tmp_path: Path, finish: Any) -> None:
    table = build_table(1, "paper", seeds=3)
    for label, values in (("SimCLR", (0.50, 0.60, 0.40)), ("SimCLR+", (0.52, 0.62, 0.43))):
        for spec, value in zip(_cell(table, label).specs, values, strict=True):
            finish(spec, linear=value)
    lines = _lines(table, tmp_path / "runs")[["gain_paper", "gain", "gain_low", "gain_high", "gain_n"]]
    half = 4.302653 / 3  # t of 2 degrees of freedom; deviation 1 / sqrt(3)
    expected = ["2.11", "2.3333", f"{7 / 3 - half:.4f}", f"{7 / 3 + half:.4f}", 3]
    assert list(lines.loc[("SimCLR+", "CIFAR-10", "linear")]) == expected
    assert list(lines.loc[("BYOL+", "CIFAR-10", "linear")]) == ["2.23", "", "", "", 0]
    assert set(lines.loc[("SimCLR", "CIFAR-10", "linear")]) == {""}


def test_rows_folded_away_take_their_gains_with_them(tmp_path: Path, finish: Any) -> None:
    table = build_table(1)
    results = Results(tmp_path / "runs")
    folded = markdown(table, cell_results(table, results), results, folded=True)
    shown, whole = folded.split("<details>")
    assert (shown.count("| Gain of +"), whole.count("| Gain of +")) == (0, 4)
    for label in ("SimCLR", "SimCLR+", "BYOL+"):
        finish(_spec(table, label))
    results = Results(tmp_path / "runs")
    shown, _ = markdown(table, cell_results(table, results), results, folded=True).split("<details>")
    (gains,) = shown.split("| Gain of +")[1:]
    assert [line.split("|")[1].strip() for line in gains.splitlines()[2:] if line.startswith("|")] == ["SimCLR"]


def test_the_csv_names_the_evaluations_behind_each_number(tmp_path: Path, finish: Any) -> None:
    table = build_table(1, "paper", seeds=2)
    specs = _cell(table, "SimCLR").specs
    for spec in specs:
        finish(spec)
    line = _lines(table, tmp_path / "runs").loc[("SimCLR", "CIFAR-10", "linear")]
    assert line["digests"] == " ".join(spec.digest for spec in specs)
    assert (line["status"], line["n"]) == ("done", 2)


def test_with_provenance_markdown_lists_where_each_number_comes_from(tmp_path: Path, finish: Any) -> None:
    table = build_table(1)
    spec = _spec(table, "SimCLR")
    _restate(finish(spec), source=fingerprint(spec) | {"knn_accuracy": "0" * 12})
    assert spec.digest not in render(table, tmp_path / "runs")
    (line,) = [line for line in render(table, tmp_path / "runs", provenance=True).splitlines() if spec.digest in line]
    assert [word.strip() for word in line.strip("|").split("|")] == [
        f"`{spec.digest}`",
        "0",
        "CIFAR-10",
        "0123456789ab (with changes)",
        "a processor, threads: 2",
        "15.0",
        "pretrain/evaluate/knn.py",
        f"`{spec.folder}`",
    ]


def test_without_numbers_the_list_of_sources_says_so(tmp_path: Path) -> None:
    assert render(build_table(1), tmp_path, provenance=True).endswith("\nNo number of ours yet.\n")


def test_a_record_damaged_in_one_table_is_not_listed_under_another(tmp_path: Path, finish: Any) -> None:
    tables = [build_table(1), build_table(6)]
    file = finish(_spec(tables[0], "BYOL")).path / "results.json"
    file.write_text("{")
    first, second = render_all(tables, tmp_path / "runs").split("### Table 6")
    assert str(file) in first
    assert "damaged" not in second


def test_a_full_table_says_nothing_of_filling_it(tmp_path: Path, finish: Any) -> None:
    table = build_table(1, "demo")
    assert "To fill it" in render(table, tmp_path / "runs")
    for spec in table.specs:
        finish(spec)
    assert "To fill it" not in render(table, tmp_path / "runs")


def test_an_unknown_format_lists_the_valid_ones(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown format 'pdf'; known: md, html, latex, csv"):
        render(build_table(1), tmp_path, "pdf")  # type: ignore[arg-type]
