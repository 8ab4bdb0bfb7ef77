"""Detections of seconds, the finished runs that they start from, and small COCO folders. On the path of every test."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from compmod.pretrain.run import Backbone, Run
from compmod.pretrain.session import Session
from compmod.transfer.coco import Split, read_folder
from compmod.transfer.scenes import write_scenes
from compmod.transfer.spec import Detection, Detector, detector
from torch import nn

RUN = Run(method="simclr", dataset="digits", backbone=Backbone(name="resnet10", width=2), batch_size=20)
TINY: Detector = replace(
    detector("demo", "digit-scenes"),
    batch_size=2,
    iterations=6,
    warmup_iterations=2,
    drops=(4,),
    train_proposals=(30, 10),
    test_proposals=(30, 10),
    regions=8,
    precise_bn=2,
    detections=5,
)
SPEC = Detection(run=RUN, detector=TINY, copy="tiny")
QUIET = Session(device="cpu", quiet=True, workers=0)


def tiny_coco(folder: Path, train: int = 4, val: int = 2) -> tuple[Split, Split]:
    """A few scenes as a COCO folder, read."""
    return read_folder(write_scenes(folder, {"train2017": train, "val2017": val}))


def with_polygons(folder: Path) -> None:
    """Turn every mask of a folder into the polygon of its box."""
    for file in (folder / "annotations").glob("*.json"):
        document = json.loads(file.read_text())
        for each in document["annotations"]:
            left, top, width, height = each["bbox"]
            right, bottom = left + width, top + height
            each["segmentation"] = [[left, top, right, top, right, bottom, left, bottom]]
        file.write_text(json.dumps(document))


def draw_norms(trunk: nn.Module) -> None:
    """Give every batch norm weights and running statistics that differ from their start."""
    for module in trunk.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.8, 1.2)  # type: ignore[arg-type]
