"""Rows of encoders that others trained: below a table, measured as its columns are, and said to be theirs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from compmod.cli import main
from compmod.pretrain.records.record import Record
from compmod.pretrain.specs.imported import Imported
from compmod.pretrain.specs.measurement import Evaluation
from compmod.tables.build import build_table
from compmod.tables.results.added_rows import read_rows, with_rows
from compmod.transfer.spec import Detection

DIGEST = "12ab" * 16
DEMO = build_table(1, "demo")
LIKE = next(spec for spec in DEMO.specs if spec.run.epochs)
THEIRS = Imported(dataset="digits", weights=DIGEST, train_images=LIKE.run.train_images)


def imported(runs: Path, spec: Imported, accuracy: float | None = None) -> None:
    for work in (spec, replace(LIKE, run=spec)) if accuracy is not None else (spec,):
        record = Record(runs, work)
        record.start()
        record.finish({"linear/top1": accuracy, "knn/top1": accuracy}, {})


def written(folder: Path, text: str) -> Path:
    (folder / "rows.toml").write_text(text)
    return folder / "rows.toml"


def test_a_row_shows_what_was_measured_of_the_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    imported(tmp_path, THEIRS, 0.41)
    imported(tmp_path, replace(THEIRS, seed=1), 0.43)
    imported(tmp_path, replace(THEIRS, weights="f" * 64), 0.9)
    rows = written(tmp_path, f'[[row]]\nlabel = "MoCo v2, 800 epochs"\nweights = "{DIGEST[:10]}"\n')
    main(["table", "1", "--scale", "demo", "--runs", str(tmp_path), "--rows", str(rows)])
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "(theirs)" in line and line.startswith("|")]
    assert line.startswith("| MoCo v2, 800 epochs (theirs)")
    assert line.count("42.00 ± 1.41") == 2


def test_a_column_of_other_data_says_that_no_encoder_was_imported_for_it(tmp_path: Path) -> None:
    imported(tmp_path, Imported(dataset="cifar10", weights=DIGEST))
    added = read_rows(written(tmp_path, f'[[row]]\nlabel = "MoCo"\nweights = "{DIGEST}"\n'), tmp_path)
    cells = with_rows(build_table(1), added).rows[-1].cells
    assert {cell.why_empty for cell in cells} == {
        "",
        *(f"no encoder of it was imported for {data}" for data in ("CIFAR-100", "STL-10", "Tiny ImageNet")),
    }
    (spec,) = {spec for cell in cells for spec in cell.specs}
    assert isinstance(spec, Evaluation)
    assert spec.run == Imported(dataset="cifar10", weights=DIGEST)


@pytest.mark.parametrize("number", [2, 3, 5])
def test_a_row_fits_every_table(number: int, tmp_path: Path) -> None:
    for dataset in ("imagenet", "imagenet100", "stl10"):
        imported(tmp_path, Imported(dataset=dataset, weights=DIGEST))
    added = read_rows(written(tmp_path, f'[[row]]\nlabel = "MoCo"\nweights = "{DIGEST}"\n'), tmp_path)
    table = with_rows(build_table(number), added)
    assert any(cell.specs for cell in table.rows[-1].cells)
    assert all(isinstance(spec, Detection) == (number == 5) for cell in table.rows[-1].cells for spec in cell.specs)


def test_several_encoders_of_one_file_are_told_apart_by_folders(tmp_path: Path) -> None:
    other = replace(THEIRS, mean=(0.5, 0.5, 0.5))
    imported(tmp_path, THEIRS)
    imported(tmp_path, other)
    rows = read_rows(written(tmp_path, f'[[row]]\nlabel = "MoCo"\nweights = "{DIGEST}"\n'), tmp_path)
    with pytest.raises(ValueError, match=r"MoCo has several encoders for Digits.*name one by folders"):
        with_rows(DEMO, rows)
    rows = read_rows(written(tmp_path, f'[[row]]\nlabel = "MoCo"\nfolders = ["{other.folder}"]\n'), tmp_path)
    assert {spec.run for cell in with_rows(DEMO, rows).rows[-1].cells for spec in cell.specs} == {other}


@pytest.mark.parametrize(
    "text, message",
    [
        ("row = 1", r"found row; expected \[\[row\]\] alone"),
        ('[[row]]\nlabel = "a"', "a row has label; expected label, and weights or folders"),
        ('[[row]]\nlabel = "a|b"\nweights = "12ab12ab"', "label must be at most 60 letters"),
        ('[[row]]\nlabel = "a"\nweights = "xyz"', "8 to 64 hexadecimal digits"),
        ('[[row]]\nlabel = "a"\nweights = "00000000"', "first 'compmod evaluate FILE --dataset NAME'"),
        ('[[row]]\nlabel = "a"\nfolders = ["x"]', "no imported encoder in .*x"),
        ("[[row", "Expected"),
    ],
)
def test_a_file_of_another_form_is_one_line(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"rows\.toml: .*{message}"):
        read_rows(written(tmp_path, text), tmp_path)


def test_a_file_that_is_absent_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"rows\.toml: no such file"):
        read_rows(tmp_path / "rows.toml", tmp_path)
