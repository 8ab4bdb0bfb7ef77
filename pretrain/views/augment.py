"""Augmented views, made in batches on the device: what torchvision's transforms draw and do for one image at a time.

A view is a function of (seed, epoch, sample index, view) and nothing else. Its random numbers are drawn on the CPU
whatever the device, so that the host knows how many samples take each operation and never waits for the device.
Order of operations on small images: W-MSE code (Ermolov et al., ICML 2021); of large ones, which `loader.py` has
already cropped, torchvision's usual: crop, flip, then the rest. Distributions: torchvision.transforms.v2.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional as F

from ..runtime.randomness import uniform
from ..specs.datasets import Dataset
from ..specs.run import Augmentation
from .colour import adjust_hue, blend_, grayscale, solarize
from .geometry import gaussian_blur, resized_crop, rotate

CROP_RATIOS = (3 / 4, 4 / 3)  # width to height; torchvision's RandomResizedCrop
CROP_TRIES = 10  # of torchvision's RandomResizedCrop, before it takes the centre
BLUR_SHARE = 0.1  # of the view's side is the blur's kernel; Chen et al., ICML 2020 (SimCLR), appendix A
SOLARIZE_THRESHOLD = 0.5  # Grill et al., NeurIPS 2020 (BYOL), appendix B

_BRIGHTNESS, _CONTRAST, _SATURATION, _HUE = range(4)
_ORDERS = tuple(itertools.permutations((_BRIGHTNESS, _CONTRAST, _SATURATION, _HUE)))
NUMBERS = 16 + 2 * CROP_TRIES  # random numbers a view; each has its place, whichever operations are used
_CHUNK = {"cpu": 1 << 18}  # floats of one piece: a mebibyte fits the cache of a core
_CHUNK_ELSEWHERE = 1 << 26  # 256 MiB: a batch of 512 at 96 px is one piece, at 224 px two


@dataclass(frozen=True)
class Draw:
    """The random parameters of a batch of views: tensors on the CPU, a row a sample."""

    blends_N43: Tensor  # each step of the colour jitter: weights of the image, its luminance, its mean luminance
    turned_N4: Tensor  # whether this step of the jitter changes the hue
    hue_N: Tensor
    grey_N: Tensor
    rotated_N: Tensor
    degrees_N: Tensor
    boxes_N4: Tensor  # top, left, height, width of what is cut out
    flipped_N: Tensor
    blurred_N: Tensor
    sigma_N: Tensor
    solarized_N: Tensor

    def part(self, rows: slice) -> Draw:
        """The parameters of some of the samples."""
        return Draw(*(getattr(self, field.name)[rows] for field in fields(self)))


class Views:
    """The maker of one view of every sample: pixels and sample indices in, normalised images out."""

    def __init__(self, augmentation: Augmentation, dataset: Dataset, seed: int, view: int) -> None:
        self.augmentation = augmentation
        self.size = augmentation.size or dataset.view_size
        self.seed = seed
        self.view = view
        self._mean_C11 = torch.tensor(dataset.mean, dtype=torch.float32)[:, None, None]
        self._std_C11 = torch.tensor(dataset.std, dtype=torch.float32)[:, None, None]

    @torch.no_grad()
    def __call__(self, pixels_NCHW: Tensor, index_N: Tensor, epoch: int) -> Tensor:
        """Views of uint8 images (images x 3 x height x width): float32, images x 3 x size x size, on the same device.

        `index_N` says which samples of the data set they are; keep it on the CPU, or the host waits for the device.
        """
        if pixels_NCHW.dtype != torch.uint8 or pixels_NCHW.shape[1:2] != (3,) or len(pixels_NCHW) != len(index_N):
            given = f"{pixels_NCHW.dtype} of shape {tuple(pixels_NCHW.shape)} with {len(index_N)} indices"
            raise ValueError(f"expected uint8 images x 3 x height x width and an index for each, not {given}")
        return self._make(pixels_NCHW, index_N, epoch, functools.partial(augment, size=self.size))

    @torch.no_grad()
    def after_crop(self, pixels_NCSS: Tensor, index_N: Tensor, epoch: int) -> Tensor:
        """Views of what `crops.RandomCrops` cut out and resized for this view: flipped first, then all the rest."""
        if pixels_NCSS.dtype != torch.uint8 or pixels_NCSS.shape != (len(index_N), 3, self.size, self.size):
            given = f"{pixels_NCSS.dtype} of shape {tuple(pixels_NCSS.shape)} with {len(index_N)} indices"
            shape = f"images x 3 x {self.size} x {self.size}"
            raise ValueError(f"expected uint8 crops, {shape}, and an index for each, not {given}")
        return self._make(pixels_NCSS, index_N, epoch, augment_crops)

    def _make(
        self, pixels_NCHW: Tensor, index_N: Tensor, epoch: int, operation: Callable[[Tensor, Draw], Tensor]
    ) -> Tensor:
        height, width = pixels_NCHW.shape[2:]
        device = pixels_NCHW.device
        numbers_NR = uniform(self.seed, epoch, index_N.cpu(), self.view, NUMBERS)
        parameters = draw(self.augmentation, numbers_NR, height, width)
        mean_C11, std_C11 = _send(self._mean_C11, device), _send(self._std_C11, device)
        out_NCSS = torch.empty(len(index_N), 3, self.size, self.size, dtype=torch.float32, device=device)
        values = 3 * max(height * width, self.size**2)
        step = max(1, _CHUNK.get(device.type, _CHUNK_ELSEWHERE) // values)
        for start in range(0, len(index_N), step):
            rows = slice(start, start + step)
            view_NCSS = operation(pixels_NCHW[rows].float().div_(255), parameters.part(rows))
            torch.sub(view_NCSS, mean_C11, out=out_NCSS[rows]).div_(std_C11)
        return out_NCSS


def draw(augmentation: Augmentation, numbers_NR: Tensor, height: int, width: int) -> Draw:
    """Turn uniform random numbers (samples x 36, on the CPU) into the parameters of views of images of this size."""
    u_NR = numbers_NR.double()
    sides_N2 = torch.tensor([[height, width]]).expand(len(u_NR), -1)
    sigma_range = augmentation.blur_sigma_max - augmentation.blur_sigma_min
    blends_N43, turned_N4, hue_N = _colour_jitter(augmentation, u_NR)
    return Draw(
        blends_N43=blends_N43,
        turned_N4=turned_N4,
        hue_N=hue_N,
        grey_N=u_NR[:, 6] < augmentation.grey,
        rotated_N=u_NR[:, 7] < augmentation.rotation,
        degrees_N=((2 * u_NR[:, 8] - 1) * augmentation.rotation_degrees).float(),
        boxes_N4=crop_boxes(augmentation, numbers_NR, sides_N2),
        flipped_N=u_NR[:, 12] < augmentation.flip,
        blurred_N=u_NR[:, 13] < augmentation.blur,
        sigma_N=(augmentation.blur_sigma_min + sigma_range * u_NR[:, 14]).float(),
        solarized_N=u_NR[:, 15] < augmentation.solarize,
    )


def _colour_jitter(augmentation: Augmentation, u_NR: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The first three fields of Draw: torchvision's ColorJitter, its four operations in random order."""
    strengths = [augmentation.brightness, augmentation.contrast, augmentation.saturation]
    strength_3 = torch.tensor(strengths, dtype=torch.float32).double()  # float32: what released views were made with
    least_3 = (1 - strength_3).clamp(min=0)
    factor_N3 = least_3 + (1 + strength_3 - least_3) * u_NR[:, 2:5]
    applied_N1 = u_NR[:, :1] < augmentation.jitter
    order_N4 = torch.tensor(_ORDERS)[(u_NR[:, 1] * len(_ORDERS)).long()]
    factor_N4 = factor_N3.gather(1, order_N4.clamp(max=_SATURATION))
    factor_N4 = torch.where(applied_N1 & (order_N4 != _HUE), factor_N4, 1)
    luminance_N4 = torch.where(order_N4 == _SATURATION, 1 - factor_N4, 0)
    mean_N4 = torch.where(order_N4 == _CONTRAST, 1 - factor_N4, 0)
    turned_N4 = applied_N1 & (order_N4 == _HUE) & (augmentation.hue > 0)
    hue_N = (2 * u_NR[:, 5] - 1) * augmentation.hue
    return torch.stack([factor_N4, luminance_N4, mean_N4], dim=2).float(), turned_N4, hue_N.float()


def crop_boxes(augmentation: Augmentation, numbers_NR: Tensor, sides_N2: Tensor) -> Tensor:
    """Top, left, height, width of what is cut out of each image, whose height and width are a row of `sides_N2`.

    Torchvision's RandomResizedCrop: the first of ten tries that fits, or the centre; the whole image where it is off.
    """
    u_NR = numbers_NR.double()
    height_N1, width_N1 = sides_N2.split(1, dim=1)
    area_NT, ratio_NT = u_NR[:, 16:].tensor_split(2, dim=1)
    least, most = (math.log(ratio) for ratio in CROP_RATIOS)
    share_NT = augmentation.crop_min + (augmentation.crop_max - augmentation.crop_min) * area_NT
    target_NT = height_N1 * width_N1 * share_NT
    ratio_NT = (least + (most - least) * ratio_NT).exp()
    widths_NT = (target_NT * ratio_NT).sqrt().round().long()
    heights_NT = (target_NT / ratio_NT).sqrt().round().long()
    fits_NT = (widths_NT > 0) & (widths_NT <= width_N1) & (heights_NT > 0) & (heights_NT <= height_N1)
    first_N1 = fits_NT.int().argmax(1, keepdim=True)
    fits_N1 = fits_NT.any(1, keepdim=True)
    centre_height_N1 = torch.minimum(height_N1, (width_N1.double() / CROP_RATIOS[0]).round().long())
    centre_width_N1 = torch.minimum(width_N1, (height_N1.double() * CROP_RATIOS[1]).round().long())
    tall_N1 = torch.where(fits_N1, heights_NT.gather(1, first_N1), centre_height_N1)
    wide_N1 = torch.where(fits_N1, widths_NT.gather(1, first_N1), centre_width_N1)
    room_N2 = sides_N2 - torch.cat([tall_N1, wide_N1], dim=1)
    corner_N2 = torch.where(fits_N1, (u_NR[:, 10:12] * (room_N2 + 1)).long(), room_N2 // 2)
    box_N4 = torch.cat([corner_N2, tall_N1, wide_N1], dim=1)
    return torch.where(u_NR[:, 9:10] < augmentation.crop, box_N4, F.pad(sides_N2, (2, 0)))


def augment(x_NCHW: Tensor, parameters: Draw, size: int) -> Tensor:
    """Make views of side `size` from images in [0, 1], in recipe S's order; the images are overwritten."""
    _recolour(x_NCHW, parameters)
    top_N, left_N, height_N, width_N = _send(parameters.boxes_N4.T.contiguous(), x_NCHW.device).unbind(0)
    flipped_N = _send(parameters.flipped_N, x_NCHW.device)
    view_NCSS = resized_crop(x_NCHW, top_N, left_N, height_N, width_N, flipped_N, size).clamp_(0, 1)
    _blur_and_solarize(view_NCSS, parameters)
    return view_NCSS


def augment_crops(x_NCSS: Tensor, parameters: Draw) -> Tensor:
    """Make views from crops in [0, 1], in torchvision's usual order, flip first; the crops are overwritten."""
    _apply_to(x_NCSS, parameters.flipped_N, functools.partial(torch.flip, dims=(3,)))
    _recolour(x_NCSS, parameters)
    _blur_and_solarize(x_NCSS, parameters)
    return x_NCSS


def _recolour(x_NCHW: Tensor, parameters: Draw) -> None:
    """Colour jitter, grey and rotation, in place."""
    blends_43N = _send(parameters.blends_N43.permute(1, 2, 0).contiguous(), x_NCHW.device)
    for turn, (image_N, luminance_N, mean_N) in enumerate(blends_43N):
        blend_(x_NCHW, image_N, luminance_N, mean_N)
        _apply_to(x_NCHW, parameters.turned_N4[:, turn], adjust_hue, parameters.hue_N)
    _apply_to(x_NCHW, parameters.grey_N, grayscale)
    _apply_to(x_NCHW, parameters.rotated_N, rotate, parameters.degrees_N)


def _blur_and_solarize(x_NCSS: Tensor, parameters: Draw) -> None:
    """Gaussian blur and solarize, in place."""
    size = x_NCSS.shape[3]
    blur = functools.partial(gaussian_blur, kernel_size=max(3, int(BLUR_SHARE * size) // 2 * 2 + 1))
    _apply_to(x_NCSS, parameters.blurred_N, blur, parameters.sigma_N)
    _apply_to(x_NCSS, parameters.solarized_N, functools.partial(solarize, threshold=SOLARIZE_THRESHOLD))


def _apply_to(x_NCHW: Tensor, chosen_N: Tensor, operation: Callable[..., Tensor], *parameters_N: Tensor) -> None:
    """Overwrite the chosen images by `operation` of them and their parameters; choice and parameters are on the CPU."""
    rows = chosen_N.nonzero()[:, 0]
    if not len(rows):
        return
    device = x_NCHW.device
    sent_rows = _send(rows, device)
    sent_parameters = [_send(values[rows], device) for values in parameters_N]
    x_NCHW.index_copy_(0, sent_rows, operation(x_NCHW.index_select(0, sent_rows), *sent_parameters))


def _send(values: Tensor, device: torch.device) -> Tensor:
    """Copy from the CPU without making the host wait for the device."""
    return values if device.type == "cpu" else values.pin_memory().to(device, non_blocking=True)
