"""`compmod transfer FILE`: a detector trained from files that others wrote, its curves sent to a logger."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from compmod.cli import main
from compmod.pretrain.records.record import Record
from compmod.transfer.commands import transfer as command
from fake_store import stored
from foreign_files import LAYOUTS, OWN
from tiny_detections import TINY, tiny_coco


@pytest.fixture
def coco(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A few scenes, and in place of 1x a schedule of as many steps as a line of the log averages over."""
    monkeypatch.setattr(command, "detector", lambda *_: replace(TINY, iterations=20, drops=(15,)))
    tiny_coco(tmp_path / "scenes")
    return tmp_path / "scenes"


def transferred(file: Path, coco: Path, *more: str) -> Record:
    runs = file.with_suffix(".runs")
    main(["transfer", str(file), "--coco", str(coco), "--runs", str(runs), "--device", "cpu", "--workers", "0", *more])
    (found,) = runs.glob("*/detection-*/results.json")
    return Record.open(found.parent)


@pytest.mark.usefixtures("store")
def test_layouts_of_one_trunk_train_one_detector_whose_curves_go_to_a_logger(
    coco: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    curves = []
    for layout, name in (("torchvision, timm", "a.pth"), ("MoCo", "b.pth.tar"), ("Lightly", "c.ckpt")):
        torch.save(LAYOUTS[layout][0], tmp_path / name)
        monkeypatch.setenv("FAKE_STORE", str(tmp_path / f"{name}.store"))
        record = transferred(tmp_path / name, coco, "--logger", "trackio")
        told, rows = stored(tmp_path / f"{name}.store")
        assert record.status == "done"
        assert "-detection-" in told["name"]
        assert told["config"]["weights"] == record.spec.weights  # type: ignore[attr-defined]
        curves.append(rows)
    assert {"detection/loss_mask", "detection/loss_rpn_loc"} <= set(curves[0][0][1])
    assert curves == [curves[0]] * 3


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"layer1.0.se.weight": torch.ones(1)}, "the weights have besides layer1.0.se.weight of a resnet10"),
        ({"conv1.weight": OWN["conv1.weight"] * float("nan")}, "conv1.weight has values that are not finite"),
        ({"conv1.weight": OWN["conv1.weight"].long()}, "conv1.weight is torch.int64"),
    ],
    ids=["another layer", "not finite", "whole numbers"],
)
def test_a_file_of_something_else_is_one_line_that_names_it(
    changes: dict[str, torch.Tensor], words: str, coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({**OWN, **changes}, tmp_path / "odd.pth")
    with pytest.raises(SystemExit) as leave:
        transferred(tmp_path / "odd.pth", coco)
    said = capsys.readouterr().err
    assert (leave.value.code, said.count("\n")) == (2, 1)
    assert said.startswith(f"error: {tmp_path}/odd.pth: {words}")
