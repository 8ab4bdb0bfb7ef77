"""Detectron2, made to run here: the one file that imports it, and copes with versions.

Detectron2 0.6 is of 2021. What it takes from Pillow, NumPy and torch that they have since renamed is given back before
the import; what its compiled operations would do, torchvision does. Everything else of ours takes Detectron2's modules
from here: `from .detectron import layers, modeling`. Importing this file raises ValueError where Detectron2 is absent.
"""

from __future__ import annotations

import importlib.util
import sys
import types
import warnings
from typing import Any

import numpy
import torch
from PIL import Image

from .install import MISSING, find


def _prepare() -> None:
    """Put Detectron2 on the path and give back what it expects of other packages."""
    found = find()
    if found is None:
        raise ValueError(MISSING)
    if found.kind == "archive":
        sys.path.append(str(found.folder))
    if not hasattr(Image, "LINEAR"):  # until Pillow 10 another name of it
        Image.LINEAR = Image.BILINEAR  # type: ignore[attr-defined]
    for name, kind in (("bool", bool), ("int", int), ("float", float)):  # until NumPy 1.24 other names of these
        if name not in vars(numpy):
            setattr(numpy, name, kind)
    if importlib.util.find_spec("detectron2._C") is None:  # compiled; nothing that is used here calls into it
        sys.modules["detectron2._C"] = types.ModuleType("detectron2._C")


_prepare()
with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "`torch.jit.script`", DeprecationWarning)  # fvcore's losses
    from detectron2 import checkpoint, config, data, engine, evaluation, layers, modeling, solver, structures, utils
    from detectron2.data import transforms
    from detectron2.modeling import anchor_generator, roi_heads
    from detectron2.modeling.backbone import fpn, resnet

__all__ = [
    "checkpoint",
    "config",
    "data",
    "engine",
    "evaluation",
    "fpn",
    "layers",
    "modeling",
    "resnet",
    "roi_heads",
    "solver",
    "structures",
    "transforms",
    "utils",
]


def _grid_offsets(size: list[int], stride: int, offset: float, place: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Where anchors stand on a map; Detectron2's own leaves out the order of axes, of which torch warns.

    `place` is a device in 0.6, and a tensor on it since.
    """
    device = place.device if isinstance(place, torch.Tensor) else place
    columns, rows = (
        torch.arange(offset * stride, cells * stride, step=stride, dtype=torch.float32, device=device)
        for cells in reversed(size)
    )
    row_of, column_of = torch.meshgrid(rows, columns, indexing="ij")
    return column_of.reshape(-1), row_of.reshape(-1)


anchor_generator._create_grid_offsets = _grid_offsets
