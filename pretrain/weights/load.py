"""Load: an encoder as a PyTorch module, from the folder of a run, a folder that was exported, or a file of others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor, nn

from ..files.stored_json import read_object
from ..networks.build import build_backbone
from ..networks.encoder import finished_backbone
from ..networks.resnet import ResNet
from ..records.files import SPEC_FILE
from ..records.record import Record
from ..specs.datasets import DATASETS, Dataset
from ..specs.run import Run, Stem
from .imported import read_foreign

CONFIG, MODEL = "config.json", "model.safetensors"  # of an exported folder, as the Hugging Face hub names them


@dataclass(frozen=True)
class Preprocess:
    """What makes an image into what an encoder takes: the same steps as before a probe."""

    mean: tuple[float, ...]  # per channel, of pixels in 0..1
    std: tuple[float, ...]
    resize: int = 0  # of the shorter side, bicubic, pixels; 0 = not resized
    crop: int = 0  # side of the centre that is cut out after that, pixels

    @classmethod
    def of(cls, entry: Dataset) -> Preprocess:
        """As the data set says."""
        return cls(entry.mean, entry.std, entry.test_resize, entry.view_size if entry.test_resize else 0)

    def __call__(self, image: Any) -> Tensor:
        """Float32 (3 x S x S, or N of them) of uint8: a PIL image, an array (H x W x 3) or a tensor (N x 3 x H x W).

        Raises ValueError on pixels of another type or number of channels.
        """
        from torchvision.transforms.v2 import functional as vision

        pixels = image if isinstance(image, Tensor) else vision.to_image(image).as_subclass(Tensor)
        if pixels.ndim < 3 or pixels.shape[-3] != 3 or str(pixels.dtype) != "torch.uint8":
            raise ValueError(f"an image of {pixels.dtype}, {tuple(pixels.shape)}; expected uint8 of three channels")
        if self.resize:
            bicubic = vision.InterpolationMode.BICUBIC
            pixels = vision.resize(pixels, [self.resize], interpolation=bicubic, antialias=True)
            pixels = vision.center_crop(pixels, [self.crop])
        scaled = pixels.float() / 255
        mean, std = (scaled.new_tensor(np.array(values)).view(3, 1, 1) for values in (self.mean, self.std))
        return (scaled - mean) / std


def load_encoder(path: Path | str, *, stem: Stem | None = None) -> nn.Module:
    """An encoder in evaluation mode: images (N x 3 x H x W, by its `preprocess`) to N x `features`.

    `path` is the folder of a finished run, a folder that `compmod export --to hub` wrote, or a file of weights that
    others trained, whose images are normalised as ImageNet's are; `stem` says what such a file does not. No pickle runs
    code. Raises ValueError where there is no encoder, or it is damaged.
    """
    path = Path(path)
    if path.is_file():
        foreign = read_foreign(path, stem)
        trunk: nn.Module = ResNet(foreign.backbone, foreign.backbone.width)
        trunk.load_state_dict(foreign.state)
        imagenet = DATASETS["imagenet"]
        whole = Preprocess(imagenet.mean, imagenet.std)
        return _ready(trunk, Preprocess.of(imagenet) if foreign.backbone.stem == "large" else whole)
    if stem:
        raise ValueError("stem is for a file of weights; a run has its own")
    if (path / SPEC_FILE).is_file():
        path = path.resolve()
        run = Record.run_in(path)
        return _ready(finished_backbone(path.parent, run), Preprocess.of(run.data))
    if not (path / CONFIG).is_file():
        raise ValueError(f"no encoder at {path}; expected a run's folder, an exported folder or a file of weights")
    run = _exported_run(path / CONFIG)
    return _ready(_exported(path / MODEL, run), Preprocess.of(run.data))


def _ready(trunk: nn.Module, preprocess: Preprocess) -> nn.Module:
    trunk.preprocess = preprocess  # type: ignore[assignment]  # no module and no tensor
    return trunk.eval()


def _exported_run(config: Path) -> Run:
    """Raises ValueError, which begins with the path, on a file that `compmod export` does not write."""
    stored = read_object(config) or {}
    try:
        return Run.from_dict(stored["spec"])
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        reason = "has no spec" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"{config}: {reason}; expected what 'compmod export --to hub' writes") from error


def _exported(file: Path, run: Run) -> nn.Module:
    trunk = build_backbone(run.backbone, run.views[0].size or run.data.view_size, run.data)
    try:
        trunk.load_state_dict(safetensors.torch.load_file(file))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ValueError(f"cannot read {file}: {' '.join(str(error).split())}") from error
    return trunk
