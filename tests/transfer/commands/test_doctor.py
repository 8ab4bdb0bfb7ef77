"""What `compmod doctor` says of this machine, and of one that lacks things."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
import torch
from compmod import __version__
from compmod.cli import main
from compmod.pretrain.specs.datasets import DATASETS
from compmod.transfer.commands import doctor
from compmod.transfer.detector import detectron2
from compmod.transfer.detector.install import find
from paths import ROOT


def said(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """Subject and rest of every line printed."""
    return dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())


def without(package: str) -> Callable[[str], ModuleSpec | None]:
    """A finder of modules that does not see one package."""
    look = importlib.util.find_spec
    return lambda name, *rest: None if name == package else look(name, *rest)


def test_it_names_the_detectron2_that_is_here_and_its_folder(capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor"])
    found = find()
    assert found is not None
    line = said(capsys)["detectron2"]
    assert line.startswith(f"{found.version}, ")
    assert line.endswith(f"in {found.folder}")


def test_it_names_torch_and_python_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    doctor.doctor_command()
    lines = said(capsys)
    assert lines["torch"].startswith(f"{torch.__version__}, ")
    assert sys.executable in lines["python"]


def test_an_absent_detectron2_is_said_with_the_way_to_get_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "find", lambda: None)
    doctor.doctor_command()
    assert said(capsys)["detectron2"].startswith("absent: python -m compmod.transfer.detector.install (")


def test_an_absent_pycocotools_is_said_with_the_way_to_get_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", without("pycocotools"))
    doctor.doctor_command()
    assert said(capsys)["pycocotools"].startswith(f"absent: pip install -e '{ROOT}[detection]' (")


def test_an_installation_that_is_no_checkout_installs_the_packages_of_an_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    needed = ["torch>=2.11", "yacs>=0.1.8; extra == 'detection'", 'pycocotools>=2; extra == "detection"', "ruff; extra"]
    monkeypatch.setattr(doctor, "ROOT", tmp_path)
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: needed)
    assert doctor.installing("detection") == "pip install 'yacs>=0.1.8' 'pycocotools>=2'"


def test_it_tells_memory_disk_versions_and_the_data_below_a_folder(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    main(["doctor", "--data", str(tmp_path)])
    lines = said(capsys)
    assert list(lines) == [*doctor.LOOKS, "data"]
    assert lines["compmod"].startswith(f"{__version__}, commit ")
    assert re.fullmatch(r"\d+ cores?, [\d.]+ [GT]B of memory", lines["machine"])
    assert re.fullmatch(rf"[\d.]+ [MGT]B free in {Path.cwd()}", lines["disk"])
    assert lines["data"] == f"none below {tmp_path}: compmod data cifar10 --data {tmp_path}; digits are embedded"
    (tmp_path / DATASETS["stl10"].folder).mkdir()
    main(["doctor", "--data", str(tmp_path)])
    assert said(capsys)["data"] == f"stl10 below {tmp_path}"


def test_a_gpu_that_this_torch_cannot_use_is_said_with_the_way_to_use_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    doctor.doctor_command()
    assert said(capsys)["gpu"] == "this torch has no CUDA: pip install --force-reinstall torch torchvision"


def test_extras_are_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", without("wandb"))
    doctor.doctor_command()
    line = said(capsys)["extras"]
    assert "wandb" in line.partition("pip install")[2]
    assert "wandb" not in line.partition("pip install")[0]


def test_what_is_there_and_broken_fails_after_every_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> str:
        raise RuntimeError("operator torchvision::nms\ndoes not exist")

    monkeypatch.setitem(doctor.LOOKS, "torchvision", broken)
    with pytest.raises(SystemExit) as left:
        main(["doctor"])
    shown = capsys.readouterr()
    assert left.value.code == 2
    assert shown.err == "error: does not work here: torchvision\n"
    assert "torchvision  FAULTY: RuntimeError: operator torchvision::nms does not exist\n" in shown.out
    assert "slurm " in shown.out


def test_a_detectron2_that_does_not_load_is_faulty(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise ImportError("undefined symbol")

    monkeypatch.setattr(detectron2, "load", broken)
    with pytest.raises(SystemExit):
        main(["doctor"])
    assert said(capsys)["detectron2"] == "FAULTY: ImportError: undefined symbol"
