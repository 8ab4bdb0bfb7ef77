"""The Python API: its names come lazily, and each function gives what its command prints."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import compmod
import pytest
from compmod.cli import main
from compmod.pretrain.recipes.presets import preset
from paths import ROOT
from small_runs import small

LIGHT = ("Run", "preset", "pretrain", "table", "plan")


def test_the_public_names_are_there_and_an_unknown_one_lists_them() -> None:
    assert {"Run", "preset", "pretrain", "evaluate", "load_encoder", "table", "plan"} <= set(dir(compmod))
    assert all(callable(getattr(compmod, name)) for name in compmod._HOME)
    with pytest.raises(AttributeError, match="public names: Run, evaluate, load_encoder"):
        compmod.pretrian  # noqa: B018


def test_the_light_names_import_no_torch() -> None:
    code = (
        f"import sys, compmod; [getattr(compmod, name) for name in {LIGHT}]; compmod.plan(1, scale='demo')\n"
        "heavy = {'torch', 'matplotlib'} & set(sys.modules); sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stderr == ""


def test_a_table_has_the_lines_that_the_command_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["table", "1", "--scale", "demo", "--format", "csv", "--runs", str(tmp_path)])
    printed = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    frame = compmod.table(1, "demo", runs=tmp_path)
    assert frame.astype(str).to_dict("records") == printed


def test_a_plan_has_the_steps_that_the_command_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["plan", "2", "--scale", "demo", "--json", "--runs", str(tmp_path)])
    printed = json.loads(capsys.readouterr().out)["steps"]
    steps = compmod.plan(2, scale="demo", runs=tmp_path).steps
    assert [step.spec.digest for step in steps] == [step["digest"] for step in printed]


def test_a_run_is_pretrained_evaluated_and_loaded(tmp_path: Path) -> None:
    import torch

    run = replace(small("simclr+"), dataset="digits", epochs=1, train_images=32)
    record = compmod.pretrain(run, runs=tmp_path, data=tmp_path, device="cpu", quiet=True)
    assert compmod.pretrain(run, runs=str(tmp_path), device="cpu", quiet=True).results == record.results
    found = compmod.evaluate(record.path, linear_epochs=1)
    assert 0 <= found["linear/top1"] <= 1
    assert 0 <= found["knn/top1"] <= 1
    encoder = compmod.load_encoder(record.path)
    assert not encoder.training
    assert torch.isfinite(encoder(torch.rand(2, 3, 16, 16))).all()


def test_a_wrong_option_of_a_session_is_named(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="colour"):
        compmod.pretrain(preset("simclr", "digits"), runs=tmp_path, colour="red")


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    notebook = json.loads((ROOT / "docs" / "python.ipynb").read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    code = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    names: dict[str, object] = {}
    for part in code:
        exec(compile(part, "python.ipynb", "exec"), names)
    assert {"record", "features", "table", "plan"} <= set(names)
