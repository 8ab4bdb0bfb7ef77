"""A transfer whose detector knows the answers, so that a whole command takes a moment. On the path of every test.

Every image and mask of a COCO folder is read as in training and in scoring; what is found is the truth, so every figure
that is not 1 is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np


def transfer(arguments: Sequence[str]) -> None:
    """RUN FOLDER OUTPUT: `compmod transfer RUN --coco FOLDER` prints figures; scored pixels go to the output."""
    from compmod.cli import main
    from compmod.transfer import engine

    run, folder, output = arguments
    engine.transfer = lambda runs, spec, coco, *rest, **named: _Done(coco, Path(output))
    main(["transfer", run, "--coco", folder, "--schedule", "demo", "--device", "cpu", "--workers", "0"])


def prepare(arguments: Sequence[str]) -> None:
    """Import what a transfer needs: a server does it once for all commands."""
    from compmod.transfer import engine, scoring  # noqa: F401


class _Done:
    """Stands for a finished record."""

    def __init__(self, coco: Path, output: Path) -> None:
        self.path = output
        self.results = _figures(coco, output)


def _figures(coco: Path, output: Path) -> dict[str, float]:
    from compmod.transfer.coco import read_folder
    from compmod.transfer.examples import scored_images, training_batches
    from compmod.transfer.scoring import average_precision
    from detections import TINY

    train, val = read_folder(coco)
    for _ in training_batches(train, TINY, 0, range(len(train.images)), 0):
        pass
    figures: dict[str, float] = {}
    scored = []
    for name, split in (("train", train), ("val", val)):
        scored += [example["image"].numpy() for batch in scored_images(split, TINY, 0) for example in batch]
        found = [_found(each, image) for image in split.images for each in split.annotations[image["id"]]]
        kept = [one for one in found if one]
        figures |= {f"{name} {task}": value for task, value in average_precision(split, kept).items()}
        figures[f"{name} objects"] = float(len(found))
    np.savez(output, pixels=np.stack(scored))
    return figures


def _found(each: Any, image: Any) -> dict[str, Any] | None:
    """An object as a detection; None for a crowd, which is not to be found."""
    from pycocotools import mask as packing

    if each.get("iscrowd"):
        return None
    height, width = image["height"], image["width"]
    mask = each["segmentation"]
    if isinstance(mask, list):
        mask = packing.merge(packing.frPyObjects(mask, height, width))
    elif isinstance(mask["counts"], list):
        mask = packing.frPyObjects(mask, height, width)
    return {
        "image_id": each["image_id"],
        "category_id": each["category_id"],
        "bbox": each["bbox"],
        "segmentation": mask,
        "score": 0.9,
    }
