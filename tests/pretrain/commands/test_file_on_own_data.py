"""Files of weights measured on images of the user's own: every layout, a logger, two processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from compmod.cli import main
from compmod.pretrain.records.record import Record
from fake_store import stored
from foreign_files import LAYOUTS, OWN
from own_images import draw
from safetensors.torch import save_file


def words(file: Path, folder: Path, runs: Path) -> list[str]:
    return [
        *("evaluate", str(file), "--dataset", "pets", "--data-folder", str(folder), "--size", "32"),
        *("--runs", str(runs), "--device", "cpu", "--workers", "0"),
    ]


def measured(runs: Path) -> Record:
    (found,) = runs.glob("imported-pets-*/*/results.json")
    return Record.open(found.parent)


def numbers(runs: Path) -> dict[str, Any]:
    return {name: value for name, value in (measured(runs).results or {}).items() if "/" in name}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return draw(tmp_path / "pets")


def test_every_layout_gives_the_numbers_of_the_plain_one(folder: Path, tmp_path: Path) -> None:
    found = {}
    for place, (layout, (value, _)) in enumerate(LAYOUTS.items()):
        torch.save(value, tmp_path / f"{place}.pth.tar")
        main([*words(tmp_path / f"{place}.pth.tar", folder, tmp_path / str(place)), "--linear-epochs", "2"])
        found[layout] = numbers(tmp_path / str(place))
    save_file(OWN, tmp_path / "plain.safetensors")
    main([*words(tmp_path / "plain.safetensors", folder, tmp_path / "plain"), "--linear-epochs", "2"])
    assert len(numbers(tmp_path / "plain")) == 5
    assert set(found) == {layout for layout in found if found[layout] == numbers(tmp_path / "plain")}


def test_the_curves_of_a_protocol_go_to_a_logger_under_the_name_of_the_weights(
    folder: Path, store: Path, tmp_path: Path
) -> None:
    torch.save(LAYOUTS["Lightly"][0], tmp_path / "last.ckpt")
    given = words(tmp_path / "last.ckpt", folder, tmp_path / "runs")
    main([*given, "--protocol", "linear", "--epochs", "2", "--logger", "trackio"])
    assert measured(tmp_path / "runs").status == "done"
    told, rows = stored(store)
    assert told["name"].startswith("imported-pets-seed0-linear-")
    assert told["config"]["run.weights"] == (measured(tmp_path / "runs").spec.run.weights)  # type: ignore[attr-defined]
    assert {"linear/loss", "linear/top1"} <= {name for _, values in rows for name in values}


@pytest.mark.slow
def test_two_processes_of_torchrun_import_once_and_give_the_numbers_of_one(folder: Path, tmp_path: Path) -> None:
    torch.save(LAYOUTS["MoCo"][0], tmp_path / "moco.pth.tar")
    for processes in (1, 2):
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        given = [*words(tmp_path / "moco.pth.tar", folder, tmp_path / str(processes)), "--linear-epochs", "2"]
        done = subprocess.run(
            [sys.executable, *(launcher if processes > 1 else []), "-m", "compmod", *given],
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.count("knn/top1") == 1
    assert numbers(tmp_path / "2") == numbers(tmp_path / "1")
    assert (measured(tmp_path / "2").provenance or {})["processes"] == 2
