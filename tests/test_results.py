"""The records of the study: its page shows what they say, as the commands print it, and they hold no weights."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest
from compmod.cli import main
from compmod.pretrain.records.record import Record
from compmod.tables.results.gains import Gain
from paths import ROOT

RESULTS = ROOT / "results"
BENCHMARKS = ROOT / "tests/benchmarks"
PAGES = (RESULTS / "README.md", ROOT / "docs/tables.md")
BLOCKS = [(page, name) for page in PAGES for name in re.findall(r"<!-- (.+): start -->", page.read_text("utf-8"))]
FOLDERS = sorted(path.parent for path in RESULTS.rglob("spec.json"))


@pytest.fixture(scope="module")
def study() -> ModuleType:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        return __import__("study")
    finally:
        sys.path.remove(str(BENCHMARKS))


def block(page: Path, name: str) -> str:
    text = page.read_text(encoding="utf-8")
    return text.split(f"<!-- {name}: start -->\n")[1].split(f"<!-- {name}: end -->")[0].strip()


def test_every_block_is_on_its_page_once(study: ModuleType) -> None:
    assert sorted(BLOCKS) == sorted((page, name) for page, blocks in study.PAGES.items() for name in blocks)


@pytest.mark.parametrize("page, name", [pytest.param(page, name, id=name) for page, name in BLOCKS])
def test_a_block_shows_what_the_records_say(page: Path, name: str, study: ModuleType) -> None:
    assert block(page, name) == study.PAGES[page][name]().strip()


def test_the_records_are_finished_and_hold_no_weights() -> None:
    assert FOLDERS
    for folder in FOLDERS:
        assert Record.open(folder).status == "done", folder
    assert {path.name for folder in FOLDERS for path in folder.iterdir() if path.is_file()} <= {
        "spec.json",
        "results.json",
        "provenance.json",
        "metrics.jsonl",
    }


@pytest.mark.parametrize(
    "name, words", [("table 1", "laptop --seeds 5 --copies cifar10=cifar10-jpeg"), ("digits", "demo --seeds 32")]
)
def test_the_command_prints_the_table_of_the_page(name: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = "laptop" if name == "table 1" else "digits"
    main(["table", "1", "--scale", *words.split(), "--runs", str(RESULTS / folder)])
    printed = {" ".join(line.split()) for line in capsys.readouterr().out.splitlines()}
    rows = [" ".join(line.split()) for line in block(RESULTS / "README.md", name).splitlines() if line.startswith("| ")]
    assert bool(rows) == (RESULTS / folder).is_dir()
    assert [row for row in rows if row not in printed] == []


def test_no_file_names_this_machine() -> None:
    texts = [path.read_text(encoding="utf-8") for path in RESULTS.rglob("*") if path.is_file()]
    assert not [text for text in texts if re.search(r"(?<![\w.])/(?:home|root|work|tmp|Users)/", text)]


def test_what_is_taken_is_what_is_measured_without_weights(study: ModuleType, tmp_path: Path) -> None:
    measured = next(folder for folder in FOLDERS if folder.parent in FOLDERS)
    source, kept = tmp_path / "runs", tmp_path / "kept"
    for name in (measured.parent.name, "unmeasured"):
        (source / name).mkdir(parents=True)
        for file in ("spec.json", "results.json", "provenance.json"):
            (source / name / file).write_bytes((measured.parent / file).read_bytes())
        (source / name / "encoder.safetensors").write_bytes(b"weights")
    shutil.copytree(measured, source / measured.parent.name / measured.name)
    unfinished = source / measured.parent.name / "evaluation-begun"
    unfinished.mkdir()
    (unfinished / "spec.json").write_bytes((measured / "spec.json").read_bytes())
    assert (study.take(source, kept), study.take(source, kept)) == (2, 0)
    taken = {path.relative_to(kept / measured.parent.name).as_posix() for path in kept.rglob("*") if path.is_file()}
    names = {path.name for path in measured.iterdir()}
    assert taken == {"spec.json", "results.json", "provenance.json", *(f"{measured.name}/{name}" for name in names)}


def test_the_first_pairs_scatter_sets_how_many_are_run_and_what_they_show(study: ModuleType) -> None:
    first = [-2.0, -1.0, 0.0, 1.0, 2.0]  # a deviation of 1.58; Student's 95 % quantile with 4 degrees of freedom: 2.132
    begun = study.precision.compare([0.0] * 5, first, 5)
    assert (begun["needed"], begun["equivalent"]) == (12, "not shown")
    whole = study.precision.compare([0.0] * 12, [*first, *[0.0] * 7], 5)
    assert (whole["pairs"], whole["deviation"], whole["needed"]) == (12, begun["deviation"], 12)
    assert (whole["high"], whole["equivalent"]) == (pytest.approx(2.1318 * 2.5**0.5 / 12**0.5, abs=1e-4), "shown")
    apart = study.precision.compare([0.0] * 12, [1 + one for one in [*first, *[0.0] * 7]], 5)
    assert (apart["difference"], apart["equivalent"]) == (1.0, "not shown")


def test_the_scatter_of_pairs_says_how_many_an_interval_needs(study: ModuleType) -> None:
    gain = Gain(label="", column="", plain=(0.0,) * 5, plus=(-2.0, -1.0, 0.0, 1.0, 2.0))
    pairs_for = sys.modules["study_gains"].pairs_for
    scatter, needed = pairs_for(gain, 1.0)  # Student's 97.5 % quantile with 4 degrees of freedom: 2.776
    assert (scatter, needed) == (pytest.approx(2.5**0.5), 20)
    assert pairs_for(gain, 10.0)[1] == 5
