"""Damaged records: whatever one file of a runs folder holds, what is sound is printed and what is not is one remark."""

from __future__ import annotations

import io
import json
import os
import random
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from compmod.pretrain.records.record import Record
from compmod.pretrain.specs.run import Run
from compmod.slurm.status.read import StatusReader
from compmod.tables.claims.checked_claims import claims_markdown
from compmod.tables.commands.demo import demo_table
from compmod.tables.commands.plan import plan_text
from compmod.tables.commands.table import table_command
from compmod.tables.paper.table import Table
from compmod.tables.plan.measured_rates import measured_rates
from compmod.tables.plan.plan import plan
from compmod.tables.render.html_table import html_provenance
from compmod.tables.render.render import FORMATS, render_all
from compmod.tables.report import contents
from compmod.tables.report.curves import read_training_curves
from compmod.tables.report.figures import Picture
from compmod.tables.report.report import write_report
from compmod.tables.results.cells import cell_results
from compmod.tables.results.measurements import finished_measurements, wall_time_s
from compmod.tables.results.results import Results
from made_up_runs import make_up

SEED = 11
WRONG: tuple[Any, ...] = (  # as JSON text, in place of a value
    '"text"',
    "[1, [2]]",
    '{"a": {"b": 1}}',
    "true",
    "-1",
    "-0.5",
    "1e308",
    "9223372036854775807",
    "NaN",
    "Infinity",
    "1e999",
    "1" * 320,
    '"\\ud800"',
    '"\\u001b[2J<script>|`\\n# x"',
    "0",
    "0.0",
    "null",
)
CONTENTS: tuple[bytes, ...] = (b"", bytes(300), b"[]", b"null", b"\xff\xfe{}", b"\xef\xbb\xbf{}", b"[" * 10_000, b"{")


@pytest.fixture(scope="module")
def table() -> Table:
    return demo_table()


@pytest.fixture(scope="module")
def sound(table: Table, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished table."""
    runs = tmp_path_factory.mktemp("sound") / "runs"
    make_up([table], runs)
    return runs


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports without pictures, which take seconds; what they are drawn from is read all the same."""
    monkeypatch.setattr(contents, "draw_charts", lambda *_: ())
    monkeypatch.setattr(
        contents, "draw_training_curves", lambda title, _: Picture(name="a", title=title, alternative="", content=b"")
    )
    monkeypatch.setattr(contents, "_views", lambda _: None)


@pytest.fixture
def runs(sound: Path, tmp_path: Path) -> Path:
    shutil.copytree(sound, tmp_path / "runs")
    return tmp_path / "runs"


def _read(table: Table, runs: Path) -> tuple[list[str], dict[str, float]]:
    """What every command that reads the folder says, and the means of the table by digest."""
    results = Results(runs)
    texts = [render_all([table], results, form, provenance=True) for form in FORMATS]
    cells = cell_results(table, results)
    listed = finished_measurements(((1, cell) for cell in cells), results)
    texts += [html_provenance(cells, table.scale), str(wall_time_s(listed))]
    for spec in table.specs:
        read_training_curves(runs, spec.run, results.damage)
    found = plan([table], results, measured_rates(runs))
    texts += [plan_text(found, table.scale, 1), found.to_json()]
    StatusReader([table], runs).read(ask=False)
    values = {
        f"{digest} {cell.cell.metric}": value
        for cell in cells
        for digest, value in zip(cell.seed_results.digests, cell.seed_results.values, strict=True)
    }
    return [*texts, *results.damaged], values


def _json_files(runs: Path, table: Table) -> list[Path]:
    spec = next(spec for spec in table.specs if spec.run.method == "simclr" and spec.run.epochs)
    names = ("spec.json", "results.json", "provenance.json")
    return [runs / folder / name for folder in (spec.folder, spec.run.folder) for name in names]


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    for name, part in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from _places(part, (*path, name))


def _with(value: Any, path: tuple[Any, ...], text: str) -> str:
    """The JSON text of `value` with `text` at `path`."""
    copy = json.loads(json.dumps(value))
    part = copy
    for name in path[:-1]:
        part = part[name]
    part[path[-1]] = "HERE"
    return json.dumps(copy).replace('"HERE"', text)


def _check(texts: list[str], found: dict[str, float], right: dict[str, float], file: Path, damaged: list[str]) -> None:
    for name, value in found.items():
        assert value == right[name], f"a wrong number: {name}"
    for text in texts:
        tag = [r"(?<!\\)<script"] if text.startswith(("###", "<!DOCTYPE")) else []
        for bad in (r"\x1b", r"\bnan\b", r"\binf\b", *tag):
            assert not re.search(bad, text), f"{bad} in {text[:400]}"
    assert len([each for each in damaged if str(file) in each]) == len(damaged) <= 1


def test_one_damaged_value_is_a_right_result_or_one_remark(table: Table, sound: Path, runs: Path) -> None:
    dice = random.Random(SEED)
    _, right = _read(table, sound)
    for file in _json_files(runs, table):
        content = file.read_bytes()
        places = list(_places(json.loads(content)))
        tried = [(path, text) for path in places if "source" not in path[:-1] for text in WRONG]
        for path, text in dice.sample(tried, min(len(tried), 12)):
            file.write_text(_with(json.loads(content), path, text))
            texts, found = _read(table, runs)
            damaged = [each for each in texts if each.startswith("damaged record")]
            _check(texts, found, right, file, damaged)
        file.write_bytes(content)


@pytest.mark.parametrize("name", ["results.json", "provenance.json", "spec.json", "failed.json", "metrics.jsonl"])
def test_a_file_of_another_form_is_a_right_result_or_one_remark(
    name: str, table: Table, sound: Path, runs: Path
) -> None:
    _, right = _read(table, sound)
    spec = next(spec for spec in table.specs if spec.run.method == "simclr" and spec.run.epochs)
    file = runs / spec.run.folder / name
    if name == "failed.json":
        (runs / spec.run.folder / "results.json").unlink()
        shutil.rmtree(runs / spec.folder)
    for content in CONTENTS:
        file.write_bytes(content)
        texts, found = _read(table, runs)
        _check(texts, found, right, file, [each for each in texts if each.startswith("damaged record")])


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _circle(path: Path) -> None:
    path.symlink_to(path)


def _dangling(path: Path) -> None:
    path.symlink_to(path.with_name("nothing"))


def _huge(path: Path) -> None:
    with open(path, "wb") as handle:
        handle.truncate(2**40)


@pytest.mark.parametrize("make", [Path.mkdir, _pipe, _circle, _dangling, _huge])
def test_what_is_no_file_is_one_remark_and_nobody_waits(
    make: Callable[[Path], None], table: Table, sound: Path, runs: Path
) -> None:
    _, right = _read(table, sound)
    spec = next(spec for spec in table.specs if spec.run.method == "simclr" and spec.run.epochs)
    for name in ("results.json", "provenance.json", "metrics.jsonl", "failed.json", "lock"):
        file = runs / spec.run.folder / name
        content = file.read_bytes() if file.is_file() else None
        file.unlink(missing_ok=True)
        make(file)
        texts, found = _read(table, runs)
        _check(texts, found, right, file, [each for each in texts if each.startswith("damaged record")])
        file.unlink() if not file.is_dir() or file.is_symlink() else file.rmdir()
        if content is not None:
            file.write_bytes(content)


@pytest.mark.parametrize(
    "field, value",
    [
        ("seconds", "NaN"),
        ("seconds", "-5"),
        ("seconds", "true"),
        ("seconds", "1e999"),
        ("seconds", "1" * 320),
        ("processes", "0"),
        ("processes", "1.5"),
        ("hardware", "[]"),
        ("hardware", '{"cpu": "a", "threads": 0}'),
        ("hardware", '{"cpu": "a", "threads": "2"}'),
        ("hardware", '{"gpu": ["a"]}'),
        ("git", '"a"'),
        ("source", '{"a": 1}'),
    ],
)
def test_a_wrong_field_of_a_provenance_is_named_and_makes_no_rate(
    field: str, value: str, table: Table, runs: Path
) -> None:
    spec = next(spec for spec in table.specs if spec.run.method == "simclr" and spec.run.epochs)
    for each in table.specs:
        if each.run != spec.run:
            shutil.rmtree(runs / each.run.folder, ignore_errors=True)
    for folder in (spec.folder, spec.run.folder):
        file = runs / folder / "provenance.json"
        file.write_text(_with({**json.loads(file.read_text()), field: 1}, (field,), value))
    rates = measured_rates(runs)
    assert (rates.images_per_second, rates.hours) == ({}, {})
    found = plan([table], runs, rates)
    assert len(found.remarks) == 2
    for remark in found.remarks:
        assert remark in plan_text(found, "demo", 1)
        assert "provenance.json: " in remark
    named = [field in remark or "NaN" in remark or "64 bits" in remark for remark in found.remarks]
    assert all(named), found.remarks


def test_a_spec_of_another_folder_makes_no_rate(table: Table, runs: Path) -> None:
    one, other = ([spec for spec in table.specs if spec.run.method == name][-1] for name in ("simclr", "byol"))
    shutil.copy(runs / one.run.folder / "spec.json", runs / other.run.folder / "spec.json")
    said = measured_rates(runs).damaged
    assert said == (f"{runs / other.run.folder}/spec.json: of another folder, {one.run.folder}",)


def test_results_copied_from_another_folder_are_no_result(table: Table, runs: Path) -> None:
    one, other = ([spec for spec in table.specs if spec.run.method == name][-1] for name in ("simclr", "byol"))
    for spec in (one, other):
        record = Record(runs, spec)
        provenance = record.provenance
        assert provenance is not None
        record.write_json("provenance.json", provenance | {"digest": spec.digest})
    shutil.rmtree(runs / other.folder)
    shutil.copytree(runs / one.folder, runs / other.folder)
    texts, found = _read(table, runs)
    assert not [name for name in found if name.startswith(other.digest)]
    assert [text for text in texts if text.startswith("damaged record") and other.folder in text]


def test_a_checkpoint_of_a_strange_name_says_nothing_of_progress(table: Table, runs: Path) -> None:
    spec = next(spec for spec in table.specs if spec.run.method == "simclr" and spec.run.epochs)
    (runs / spec.run.folder / "results.json").unlink()
    shutil.rmtree(runs / spec.folder)
    (runs / spec.run.folder / "checkpoints").mkdir()
    for name in ("step-²².pt", "step-٣.pt", f"step-{'9' * 240}.pt", "step-.pt", "step--1.pt"):
        (runs / spec.run.folder / "checkpoints" / name).touch()
    found = plan([table], runs, measured_rates(runs))
    assert [step.progress for step in found.steps if isinstance(step.spec, Run)] == [0.0]
    StatusReader([table], runs).read(ask=False)


def test_every_command_goes_on_over_a_damaged_record_and_names_it(
    table: Table, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], undrawn: None
) -> None:
    spec = next(spec for spec in table.specs if spec.run.method == "simclr" and spec.run.epochs)
    damaged = runs / spec.folder / "provenance.json"
    damaged.write_text('{"seconds": 1e999}')
    lines = (runs / spec.run.folder / "metrics.jsonl").read_bytes()
    (runs / spec.run.folder / "metrics.jsonl").write_bytes(
        b'{"kind": [], "step": [1], "epoch": 1}\n'
        + lines
        + b'{"kind": "train", "step": [], "epoch": 1, "loss": true}\n'
    )
    report = write_report(table, runs, tmp_path / "report.md").read_text()
    assert report.count(f"damaged record {damaged}: a number too large") == 2  # below the table and at the end
    assert "metrics.jsonl: line 1: 'kind' is \\[\\], not text; 1 more like it" in report
    for form in FORMATS:
        table_command(1, scale="demo", format=form, runs=runs)
        assert "a number too large for 64 bits" in "".join(capsys.readouterr()).replace(r"\_", "_")
    assert str(damaged) in claims_markdown(Results(runs), "demo")


def test_what_others_wrote_is_letters_in_every_format(table: Table, runs: Path, tmp_path: Path, undrawn: None) -> None:
    evil = "a|b`c`<script>alert(1)</script>\n# x\x1b[2J_y_ *z* [l](u)\\ %&$#{}~^"
    spec = next(spec for spec in table.specs if spec.run.method == "simclr" and spec.run.epochs)
    for folder in (spec.folder, spec.run.folder):
        file = runs / folder / "provenance.json"
        entries = {"hardware": {"gpu": evil, "cpu": evil, "threads": 1}, "git": {"commit": "`<b>|", "dirty": True}}
        file.write_text(json.dumps(json.loads(file.read_text()) | entries))
    texts = [render_all([table], runs, form, provenance=True) for form in ("md", "html", "latex")]
    texts.append(write_report(table, runs, tmp_path / "report.md").read_text())
    for text in texts:
        assert "<script" not in text.replace("\\<script", "")
        assert "\x1b" not in text
        assert "\n# x" not in text
    for text in (texts[0], texts[3]):
        line = next(line for line in text.splitlines() if "alert" in line)
        assert r"a\|b\`c\`\<script\>alert(1)\</script\>\\n# x\\x1b\[2J_y\_ \*z\* \[l\](u)\\ %\&\$#{}\~^" in line
        bare = [
            len(re.findall(r"(?<!\\)\|", each)) for each in text.splitlines() if each.startswith(("| `", "| digest"))
        ]
        assert len(set(bare)) == 1
    import pandas as pd

    frame = pd.read_csv(io.StringIO(render_all([table], runs, "csv")))
    assert any("alert(1)" in str(text) for text in frame["hardware"])


def test_the_time_of_a_damaged_provenance_is_left_out(table: Table, runs: Path) -> None:
    spec = next(spec for spec in table.specs if spec.run.method == "simclr" and spec.run.epochs)

    def seconds() -> float:
        results = Results(runs)
        return wall_time_s(finished_measurements(((1, cell) for cell in cell_results(table, results)), results))

    before = seconds()
    (runs / spec.run.folder / "provenance.json").write_text('{"seconds": true}')
    assert seconds() == before - 14_400
