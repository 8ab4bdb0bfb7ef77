"""Build: the trunk that a Backbone describes."""

from __future__ import annotations

from ..specs.datasets import Dataset
from ..specs.run import Backbone
from .resnet import Pixels, ResNet
from .two_trunks import TwoTrunks


def build_backbone(spec: Backbone, size: int, dataset: Dataset | None = None) -> ResNet | TwoTrunks | Pixels:
    """The trunk of `spec` for images of side `size` pixels, normalised with the mean and deviation of `dataset`.

    Its attribute `features` is the width of its output. Raises ValueError on colours that the spec cannot split.
    """
    if spec.colours == "rgb":
        return Pixels(size) if spec.name == "pixels" else ResNet(spec, spec.width)
    if spec.name == "pixels":
        raise ValueError(f"backbone pixels has no trunks for {spec.colours}; expected colours rgb")
    if spec.width % 2:
        raise ValueError(f"backbone width {spec.width} must be even, for two trunks of half of it")
    if dataset is None:
        raise ValueError(f"colours {spec.colours} need the data set whose normalisation is to be undone")
    return TwoTrunks(spec, dataset)
