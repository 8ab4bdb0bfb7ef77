"""Detectron2, made to run here: the one file that imports it, and copes with versions.

Detectron2 0.6 is of 2021. What it takes from Pillow, NumPy and torch that they have since renamed is given back before
the import; what its compiled operations would do, torchvision does. Everything else of ours takes Detectron2's modules
from here: `from .detectron2 import layers, modeling`. The first use of one imports Detectron2, and the import of this
file does nothing.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
import types
import warnings
from typing import Any

import numpy
import torch
from PIL import Image

from .install import MISSING, find

NAMES = ("checkpoint", "config", "data", "evaluation", "layers", "modeling", "structures", "utils")
MODULES = {  # name here -> Detectron2's module
    **{name: f"detectron2.{name}" for name in NAMES},
    "resnet": "detectron2.modeling.backbone.resnet",
    "transforms": "detectron2.data.transforms",
}


def __getattr__(name: str) -> Any:
    """One of MODULES, imported at first use. Raises ValueError where Detectron2 is absent."""
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; known: {', '.join(MODULES)}")
    load()
    return importlib.import_module(MODULES[name])


@functools.cache
def load() -> None:
    """Import Detectron2, once what it expects of other packages is there again."""
    installation = find()
    if installation is None:
        raise ValueError(MISSING)
    if installation.kind == "archive":
        sys.path.append(str(installation.folder))
    if not hasattr(Image, "LINEAR"):  # until Pillow 10 another name of it
        Image.LINEAR = Image.BILINEAR  # type: ignore[attr-defined]
    for name, kind in (("bool", bool), ("int", int), ("float", float)):  # until NumPy 1.24 other names of these
        if name not in vars(numpy):
            setattr(numpy, name, kind)
    if importlib.util.find_spec("detectron2._C") is None:  # compiled; nothing that is used here calls into it
        sys.modules["detectron2._C"] = types.ModuleType("detectron2._C")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit.script` is")  # fvcore's losses; its class depends on torch
        for module in MODULES.values():
            importlib.import_module(module)
    anchor_generator = importlib.import_module("detectron2.modeling.anchor_generator")
    anchor_generator._create_grid_offsets = _grid_offsets  # type: ignore[attr-defined]


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
