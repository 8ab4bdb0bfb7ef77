"""That other programs load what is exported, by the very lines that are printed, and get our features out of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from compmod.cli import main
from compmod.pretrain.networks.build import build_backbone
from compmod.pretrain.records.record import Record
from compmod.pretrain.specs.datasets import DATASETS
from compmod.pretrain.specs.measurement import Evaluation
from compmod.pretrain.specs.run import Backbone, Run
from compmod.transfer.commands.export import TARGETS, Target, check_holds, export
from compmod.transfer.detector import detectron2 as detectron
from safetensors.torch import save_file
from small_runs import small
from tiny_detections import draw_norms
from torch import Tensor, nn

RESNET18 = Backbone(name="resnet18", stem="large")
RESNET50 = Backbone(name="resnet50", stem="large")
FILES = [target for target in TARGETS if target != "hub"]


def finished(runs: Path, backbone: Backbone) -> tuple[Path, nn.Module]:
    """The folder of a run whose encoder has weights and running statistics of all kinds, and that encoder."""
    run = dataclasses.replace(small("simclr"), backbone=backbone)
    torch.manual_seed(5)
    trunk = build_backbone(backbone, 32, DATASETS["digits"]).eval()
    draw_norms(trunk)
    record = Record(runs, run)
    record.start()
    save_file(trunk.state_dict(), record.path / "encoder.safetensors", metadata={"digest": run.digest})
    record.finish({"epochs": run.epochs}, {})
    return record.path, trunk


def loaded(lines: str, **given: Any) -> nn.Module:
    """The model that the printed lines make."""
    names = dict(given)
    exec(lines, names)
    model: nn.Module = names["model"].eval()
    return model


def difference(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.fixture
def image() -> Tensor:
    return torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("target", ["torchvision", "timm"])
@pytest.mark.parametrize(
    "backbone",
    [RESNET18, RESNET50, *(Backbone(stem=stem) for stem in ("small", "small-pool", "small-padded"))],  # type: ignore[arg-type]
    ids=["resnet18", "resnet50", "small", "small-pool", "small-padded"],
)
def test_the_program_loads_it_and_has_our_features(
    tmp_path: Path, image: Tensor, target: Target, suffix: str, backbone: Backbone
) -> None:
    folder, ours = finished(tmp_path / "runs", backbone)
    model = loaded(export(folder, target, tmp_path / f"encoder{suffix}"))
    with torch.no_grad():
        assert difference(model(image), ours(image)) <= 1e-5


@pytest.mark.parametrize("target", ["torchvision", "timm"])
@pytest.mark.parametrize(
    "backbone", [Backbone(name="resnet34", stem="large"), Backbone(name="resnet50", inner=2)], ids=["34", "wide"]
)
def test_the_program_loads_trunks_that_are_imported(
    tmp_path: Path, image: Tensor, target: Target, backbone: Backbone
) -> None:
    folder, ours = finished(tmp_path / "runs", backbone)
    model = loaded(export(folder, target, tmp_path / "encoder.safetensors"))
    with torch.no_grad():
        assert difference(model(image[..., :32, :32]), ours(image[..., :32, :32])) <= 1e-5


@pytest.mark.parametrize("architecture", ["c4", "fpn"])
def test_detectron2s_own_model_loads_it_and_has_our_features(tmp_path: Path, image: Tensor, architecture: str) -> None:
    folder, ours = finished(tmp_path / "runs", RESNET50 if architecture == "c4" else RESNET18)
    cfg = detectron.config.get_cfg()
    cfg.MODEL.DEVICE, cfg.MODEL.MASK_ON = "cpu", True
    if architecture == "fpn":
        stages = ["res2", "res3", "res4", "res5"]
        cfg.MODEL.RESNETS.OUT_FEATURES = cfg.MODEL.FPN.IN_FEATURES = stages
        cfg.MODEL.BACKBONE.NAME, cfg.MODEL.ROI_HEADS.NAME = "build_resnet_fpn_backbone", "StandardROIHeads"
        cfg.MODEL.RPN.IN_FEATURES = cfg.MODEL.ROI_HEADS.IN_FEATURES = ["p2", "p3", "p4", "p5"]
        cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[32], [64], [128], [256]]
        cfg.MODEL.ROI_BOX_HEAD.NAME, cfg.MODEL.ROI_BOX_HEAD.NUM_FC = "FastRCNNConvFCHead", 1
        cfg.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION = 7
    lines = export(folder, "detectron2", tmp_path / "encoder.pth")
    model: Any = loaded(lines, cfg=cfg)
    with torch.no_grad():
        if architecture == "c4":
            last = model.roi_heads.res5(model.backbone(image)["res4"])
        else:
            last = model.backbone.bottom_up(image)["res5"]
        assert difference(last.mean(dim=(2, 3)), ours(image)) <= 1e-5
    statistics = [round(255 * share, 3) for share in DATASETS["digits"].mean]
    assert model.pixel_mean.flatten().tolist() == pytest.approx(statistics)


@pytest.mark.parametrize(
    "backbone",
    [
        Backbone(name="resnet10", width=8, stem="small-pool"),
        Backbone(name="resnet34", width=4, stem="small-padded"),
        Backbone(name="resnet50", width=4, stem="large", inner=2),
    ],
    ids=["resnet10", "resnet34", "wide"],
)
def test_a_trunk_of_ours_alone_loads_into_its_twin_of_detectron2s_blocks(
    tmp_path: Path, image: Tensor, backbone: Backbone
) -> None:
    folder, ours = finished(tmp_path / "runs", backbone)
    model: Any = loaded(export(folder, "detectron2", tmp_path / "encoder.pth"))
    with torch.no_grad():
        assert difference(model(image)["res5"].mean(dim=(2, 3)), ours(image)) <= 1e-5


def test_what_is_exported_for_detectron2_is_read_without_running_code(tmp_path: Path) -> None:
    folder, _ = finished(tmp_path / "runs", Backbone(name="resnet10", width=4))
    export(folder, "detectron2", tmp_path / "encoder.pth")
    stored = torch.load(tmp_path / "encoder.pth", weights_only=True)
    assert stored["matching_heuristics"] is True
    assert "stem.conv1.norm.running_var" in stored["model"]


@pytest.mark.parametrize("target", ["torchvision", "timm"])
@pytest.mark.parametrize(
    "backbone",
    [Backbone(stem="small", width=32), Backbone(stem="large", width=32), Backbone(name="resnet10", stem="large")],
    ids=["small stem", "narrow", "resnet10"],
)
def test_a_trunk_that_the_program_has_no_model_for_is_refused(target: Target, backbone: Backbone) -> None:
    with pytest.raises(ValueError, match=f"{target} has no model for a {backbone.name} of width {backbone.width}"):
        check_holds(target, backbone)


@pytest.mark.parametrize("target", FILES)
def test_a_pair_of_trunks_is_refused(target: Target) -> None:
    with pytest.raises(ValueError, match="holds one trunk on RGB images; this run has two, on the parts of lab"):
        check_holds(target, Backbone(name="resnet50", stem="large", colours="lab"))


@pytest.mark.parametrize("target", FILES)
def test_pixels_are_refused(target: Target) -> None:
    with pytest.raises(ValueError, match="backbone pixels has no weights to export"):
        check_holds(target, Backbone(name="pixels"))


def test_an_unfinished_run_is_refused(tmp_path: Path) -> None:
    record = Record(tmp_path, small("simclr"))
    record.start()
    with pytest.raises(ValueError, match="is unfinished, not done"):
        export(record.path, "detectron2", tmp_path / "encoder.pth")


def test_an_evaluation_is_refused_and_its_run_named(tmp_path: Path) -> None:
    run: Run = small("simclr")
    record = Record(tmp_path, Evaluation(run=run))
    record.start()
    with pytest.raises(ValueError, match=rf"is no run; give the folder of the run, .*{run.folder.replace('+', '.')}$"):
        export(record.path, "detectron2", tmp_path / "encoder.pth")


def test_a_damaged_encoder_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    folder, _ = finished(tmp_path / "runs", Backbone(name="resnet10", width=4))
    digest = Record.open(folder).spec.digest
    save_file({"conv1.weight": torch.zeros(4, 3, 3, 3)}, folder / "encoder.safetensors", metadata={"digest": digest})
    with pytest.raises(ValueError, match=r"encoder\.safetensors.*the weights lack bn1\.bias"):
        export(folder, "detectron2", tmp_path / "encoder.pth")
    assert not (tmp_path / "encoder.pth").exists()


@pytest.mark.parametrize("target, name", [("detectron2", "encoder.safetensors"), ("timm", "encoder.pkl")])
def test_a_name_that_the_program_does_not_read_is_refused(tmp_path: Path, target: Target, name: str) -> None:
    with pytest.raises(ValueError, match=f"{target} does not read '{name}'; expected a name in .pth"):
        export(tmp_path, target, tmp_path / name)


def test_the_command_writes_the_file_and_prints_how_to_load_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], image: Tensor
) -> None:
    folder, ours = finished(tmp_path / "runs", RESNET18)
    main(["export", str(folder), "--to", "torchvision", "-o", str(tmp_path / "encoder.pth")])
    with torch.no_grad():
        assert difference(loaded(capsys.readouterr().out)(image), ours(image)) <= 1e-5
