"""Reading: the weights that a detector starts from, of any file of `pretrain/weights`, and of Detectron2's R-50.pkl."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from torch import Tensor

from ...pretrain.weights.names import trunk_of
from ...pretrain.weights.read import read_tensors
from ...pretrain.weights.recognise import completed
from .caffe import SUFFIX as MSRA_SUFFIX
from .caffe import read_msra

MOVES_NO_NUMBER = "reads weights, and their checksum is in the spec's digest"


def read_weights(path: Path) -> dict[str, Tensor]:
    """The weights of the trunk in a file, under torchvision's names.

    Raises ValueError, which names the file, on one that could run code, or holds anything else.
    """
    if path.suffix != MSRA_SUFFIX:
        stored = read_tensors(path)
        try:
            return completed(trunk_of(stored.tensors).state)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
    if not path.is_file():
        raise ValueError(f"no weights at {path}")
    return read_msra(path)


def pixels_of(path: Path) -> Literal["rgb", "msra"]:
    """The pixels that the weights of a file were trained on, and no others go with them: MSRA's are their own."""
    return "msra" if path.suffix == MSRA_SUFFIX else "rgb"
