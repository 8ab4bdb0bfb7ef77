"""What `compmod doctor` says of this machine, and of one that lacks things."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec

import pytest
import torch
from compmod.cli import main
from compmod.transfer.commands import doctor
from compmod.transfer.detector import detectron2
from compmod.transfer.detector.install import find


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
    assert said(capsys)["detectron2"].startswith("absent: `make detectron2` installs it")


def test_an_absent_pycocotools_is_said_with_the_way_to_get_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", without("pycocotools"))
    doctor.doctor_command()
    assert said(capsys)["pycocotools"].startswith("absent: pip install 'compmod[detection]'")


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
