"""What is read of the runs folder: values with their sources, stale ones told, and nothing damaged that stops it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from compmod.pretrain.records.fingerprint import fingerprint
from compmod.pretrain.records.record import Record
from compmod.pretrain.specs.measurement import Evaluation, FineTuning
from compmod.pretrain.specs.run import Run
from compmod.tables.paper.table import Cell
from compmod.tables.results.results import Results, SeedResults

SPEC = Evaluation(run=Run(method="simclr+", dataset="cifar10", seed=3))
CELL = Cell(metric="linear/top1", specs=(SPEC,))


def _seed_results(runs: Path, cell: Cell = CELL) -> tuple[SeedResults, list[str]]:
    results = Results(runs)
    return results.seed_results(cell), list(results.damaged)


def _restate(record: Record, **entries: Any) -> None:
    """Replace entries of a record's provenance."""
    record.write_json("provenance.json", (record.provenance or {}) | entries)


def test_the_source_of_a_number_tells_where_it_comes_from(tmp_path: Path, finish: Any) -> None:
    finish(SPEC, linear=0.9)
    found, damaged = _seed_results(tmp_path / "runs")
    (provenance,) = found.provenances
    assert (provenance.digest, provenance.folder, provenance.seed) == (SPEC.digest, SPEC.folder, 3)
    assert (provenance.commit, provenance.dirty, provenance.checkout) == (
        "0123456789ab",
        True,
        "0123456789ab (with changes)",
    )
    assert (provenance.data, provenance.hardware, provenance.seconds) == ("CIFAR-10", "a processor, threads: 2", 15.0)
    assert (provenance.stale, provenance.unknown, damaged) == ((), False, [])


def test_sources_are_in_the_order_of_the_values_and_skip_seeds_that_are_not_done(tmp_path: Path, finish: Any) -> None:
    specs = tuple(replace(SPEC, run=replace(SPEC.run, seed=seed)) for seed in range(3))
    for spec, value in ((specs[0], 0.1), (specs[2], 0.3)):
        finish(spec, linear=value)
    found, _ = _seed_results(tmp_path / "runs", Cell(metric="linear/top1", specs=specs))
    assert found.values == pytest.approx((10.0, 30.0))
    assert tuple(provenance.seed for provenance in found.provenances) == (0, 2)
    assert tuple(provenance.digest for provenance in found.provenances) == found.digests
    assert found.states == ("done", "not run", "done")


def test_a_measurement_by_another_commit_than_its_run_names_both(tmp_path: Path, finish: Any) -> None:
    _restate(finish(SPEC), git={"commit": "f" * 40, "dirty": False})
    (provenance,) = _seed_results(tmp_path / "runs")[0].provenances
    assert (provenance.commit, provenance.dirty) == ("0123456789ab, ffffffffffff", True)


def test_a_fine_tuning_has_its_source_too(tmp_path: Path) -> None:
    spec = FineTuning(run=SPEC.run)
    for each in (spec.run, spec):
        record = Record(tmp_path, each)
        record.start()
        record.finish({"top1": 0.7}, {"seconds": 2.0, "source": fingerprint(each)})
    found, _ = _seed_results(tmp_path, Cell(metric="top1", specs=(spec,)))
    assert found.values == pytest.approx((70.0,))
    assert (found.provenances[0].folder, found.provenances[0].stale, found.provenances[0].unknown) == (
        spec.folder,
        (),
        False,
    )


@pytest.mark.parametrize(
    "run_changes, own_changes, stale",
    [
        (["Views"], [], ("augment",)),
        ([], ["knn_accuracy"], ("knn",)),
        (["ResNet", "Objective"], ["ResNet"], ("resnet", "objective")),
    ],
)
def test_a_number_is_stale_when_a_file_of_its_run_or_its_measurement_has_changed(
    run_changes: list[str], own_changes: list[str], stale: tuple[str, ...], tmp_path: Path, finish: Any
) -> None:
    record = finish(SPEC)
    for each, changes in ((Record(tmp_path / "runs", SPEC.run), run_changes), (record, own_changes)):
        _restate(each, source=fingerprint(each.spec) | dict.fromkeys(changes, "0" * 12))
    (provenance,) = _seed_results(tmp_path / "runs")[0].provenances
    assert tuple(Path(file).stem for file in provenance.stale) == stale
    assert not provenance.unknown


@pytest.mark.parametrize("recorded", [None, {}, [], "a", 3, {"pretrain/views.py": "0123456789ab"}])
@pytest.mark.parametrize("of_run", [True, False])
def test_a_record_without_a_fingerprint_makes_the_source_unknown(
    of_run: bool, recorded: object, tmp_path: Path, finish: Any
) -> None:
    record = finish(SPEC)
    _restate(Record(tmp_path / "runs", SPEC.run) if of_run else record, source=recorded)
    found, damaged = _seed_results(tmp_path / "runs")
    assert (found.provenances[0].unknown, found.provenances[0].stale) == (True, ())
    assert [sentence.partition("json: ")[2][:8] for sentence in damaged] == ["'source'"] * (recorded in ([], "a", 3))


def test_a_number_without_provenance_stands_with_a_blank_source(tmp_path: Path, finish: Any) -> None:
    record = finish(SPEC, linear=0.9)
    for folder in (record.path, record.path.parent):
        (folder / "provenance.json").unlink()
    found, damaged = _seed_results(tmp_path / "runs")
    assert (found.values, damaged) == ((90.0,), [])
    (provenance,) = found.provenances
    assert (provenance.commit, provenance.dirty, provenance.hardware, provenance.seconds, provenance.unknown) == (
        "",
        False,
        "",
        None,
        True,
    )


@pytest.mark.parametrize("content", ["{", "[]", "", "\x00", '"a"'])
def test_a_damaged_provenance_is_listed_and_takes_nothing_from_the_number(
    content: str, tmp_path: Path, finish: Any
) -> None:
    record = finish(SPEC, linear=0.9)
    (record.path / "provenance.json").write_text(content)
    found, damaged = _seed_results(tmp_path / "runs")
    assert (found.values, found.state, found.provenances[0].unknown) == ((90.0,), "done", True)
    assert [sentence.split(": ")[0] for sentence in damaged] == [f"damaged record {record.path / 'provenance.json'}"]


@pytest.mark.parametrize(
    "entries",
    [
        {"git": "a commit", "hardware": ["a GPU"], "seconds": "long"},
        {"git": {"commit": None, "dirty": None}, "hardware": {}, "seconds": None},
        {"git": {"commit": 7}, "hardware": {"gpu": 1}, "seconds": {}},
    ],
)
def test_provenance_of_another_form_stops_nothing(entries: dict[str, Any], tmp_path: Path, finish: Any) -> None:
    finish(SPEC, linear=0.9, **entries)
    found, _ = _seed_results(tmp_path / "runs")
    assert found.values == (90.0,)
    assert found.provenances[0].seconds is None


def _loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _text(content: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_text(content)

    return write


@pytest.mark.parametrize("damage", [_loop, _folder, _text("[" * 100_000), _text('{"linear/top1": 0.9'), _text("[1]")])
def test_results_that_cannot_be_read_are_damaged_and_listed_with_their_path(
    damage: Callable[[Path], None], tmp_path: Path, finish: Any
) -> None:
    file = finish(SPEC).path / "results.json"
    damage(file)
    found, damaged = _seed_results(tmp_path / "runs")
    assert (found.values, found.state) == ((), "damaged")
    assert len(damaged) == 1
    assert damaged[0].startswith(f"damaged record {file}: ")


def test_a_damaged_pretraining_under_a_missing_measurement_is_listed(tmp_path: Path, finish: Any) -> None:
    record = finish(SPEC)
    for file in record.path.iterdir():
        file.unlink()
    record.path.rmdir()
    (record.path.parent / "results.json").write_text("{")
    found, damaged = _seed_results(tmp_path / "runs")
    assert found.state == "damaged"
    assert str(record.path.parent / "results.json") in damaged[0]


def test_a_file_in_place_of_a_runs_folder_is_a_run_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / SPEC.run.folder).write_text("")
    assert _seed_results(tmp_path)[0].state == "not run"


def test_a_file_in_place_of_the_runs_directory_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(NotADirectoryError):
        _seed_results(tmp_path / "runs")


def test_reading_writes_nothing(tmp_path: Path, finish: Any) -> None:
    finish(SPEC)
    Record(tmp_path / "runs", replace(SPEC.run, seed=0)).start()
    other = replace(SPEC, run=replace(SPEC.run, seed=0))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*")}
    _seed_results(tmp_path / "runs", Cell(metric="linear/top1", specs=(SPEC, other)))
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*")} == before


RENDERING = """
import os, sys
from pathlib import Path
from compmod.tables.build import build_table
from compmod.tables.render.render import render

runs = Path(sys.argv[1])
table, texts = build_table(1, "demo"), []
while not (runs / "enough").exists():
    texts.append(render(table, runs))
    (runs / f"began-{os.getpid()}").touch()
print(len(texts), all("running" in text or "unfinished" in text for text in texts))
"""


def test_two_processes_that_render_keep_no_trainer_from_starting(tmp_path: Path) -> None:
    from compmod.tables.build import build_table

    run = Record(tmp_path, build_table(1, "demo").specs[3].run)
    run.start()
    with run.lock():
        pass
    command = [sys.executable, "-c", RENDERING, str(tmp_path)]
    readers = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    deadline, starts = time.monotonic() + 60, 0
    while len(list(tmp_path.glob("began-*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    until = time.monotonic() + 2
    while time.monotonic() < until:
        with run.lock():  # as a trainer does first; raises when it is refused
            run.start()
            starts += 1
        time.sleep(0.002)
    (tmp_path / "enough").touch()
    said = [reader.communicate(timeout=60) for reader in readers]
    assert [error for _, error in said] == ["", ""]
    assert starts > 1
    for output, _ in said:
        count, whole = output.split()
        assert int(count) > 1
        assert whole == "True"


def test_a_number_that_was_changed_afterwards_is_damaged_and_not_shown(tmp_path: Path, finish: Any) -> None:
    """Another share from 0 to 1 could not be told from a true one but by the checksum in the provenance."""
    record = finish(SPEC, linear=0.5)
    assert _seed_results(tmp_path / "runs")[0].values == (50.0,)
    file = record.path / "results.json"
    file.write_text(file.read_text().replace("0.5", "0.7"))
    seed_results, damaged = _seed_results(tmp_path / "runs")
    assert (seed_results.state, seed_results.values) == ("damaged", ())
    assert [sentence for sentence in damaged if f"{file}: not what was measured" in sentence]
