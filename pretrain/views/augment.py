"""Augmented views, made in batches on the device: what torchvision's transforms draw and do for one image at a time.

A view is a function of (seed, epoch, sample index, view) and nothing else. Its random numbers are drawn on the CPU
whatever the device, so that the host knows how many samples take each operation and never waits for the device; a GPU
makes all views of one size together, and gets their parameters in one copy.
Order of operations on small images: W-MSE code (Ermolov et al., ICML 2021); of large ones, which `loader.py` has
already cropped, torchvision's usual: crop, flip, then the rest. Distributions: torchvision.transforms.v2.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional as F

from ..runtime.copies import send_all
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
_CHUNK_ELSEWHERE = 1 << 25  # 128 MiB: two views of a batch of 512 at 96 px are one piece, at 224 px five

Changes = dict[str, list[Tensor]]  # by operation: the rows of the images that it changes, and its parameters for them
Operation = Callable[[Tensor, Changes, int], Tensor]


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

    @staticmethod
    def joined(draws: Sequence[Draw]) -> Draw:
        """The parameters of one batch after another."""
        return Draw(*(torch.cat([getattr(one, field.name) for one in draws]) for field in fields(Draw)))

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

    def __call__(self, pixels_NCHW: Tensor, index_N: Tensor, epoch: int) -> Tensor:
        """Views of uint8 images (images x 3 x height x width): float32, images x 3 x size x size, on the same device.

        `index_N` says which samples of the data set they are; keep it on the CPU, or the host waits for the device.
        """
        return make_views([self], pixels_NCHW, index_N, epoch)[0]

    def after_crop(self, pixels_NCSS: Tensor, index_N: Tensor, epoch: int) -> Tensor:
        """Views of what `crops.RandomCrops` cut out and resized for this view: flipped first, then all the rest."""
        return make_views_of_crops([self], [pixels_NCSS], index_N, epoch)[0]


def make_views(views: Sequence[Views], pixels_NCHW: Tensor, index_N: Tensor, epoch: int) -> tuple[Tensor, ...]:
    """Several views of the same images, as `Views.__call__` makes one."""
    if pixels_NCHW.dtype != torch.uint8 or pixels_NCHW.shape[1:2] != (3,) or len(pixels_NCHW) != len(index_N):
        given = f"{pixels_NCHW.dtype} of shape {tuple(pixels_NCHW.shape)} with {len(index_N)} indices"
        raise ValueError(f"expected uint8 images x 3 x height x width and an index for each, not {given}")
    return _by_size(views, [pixels_NCHW] * len(views), index_N, epoch, augment)


def make_views_of_crops(
    views: Sequence[Views], crops_NCSS: Sequence[Tensor], index_N: Tensor, epoch: int
) -> tuple[Tensor, ...]:
    """Several views of the same samples, of crops that were cut for each, as `Views.after_crop` makes one."""
    for view, pixels_NCSS in zip(views, crops_NCSS, strict=True):
        if pixels_NCSS.dtype != torch.uint8 or pixels_NCSS.shape != (len(index_N), 3, view.size, view.size):
            given = f"{pixels_NCSS.dtype} of shape {tuple(pixels_NCSS.shape)} with {len(index_N)} indices"
            shape = f"images x 3 x {view.size} x {view.size}"
            raise ValueError(f"expected uint8 crops, {shape}, and an index for each, not {given}")
    return _by_size(views, crops_NCSS, index_N, epoch, augment_crops)


def _by_size(
    views: Sequence[Views], pixels_NCHW: Sequence[Tensor], index_N: Tensor, epoch: int, operation: Operation
) -> tuple[Tensor, ...]:
    """All views, each of its own pixels; on a GPU those of one size by the same launches."""
    alone = pixels_NCHW[0].device.type == "cpu"  # where the pieces that fit a cache are parts of one view
    groups: dict[int, list[int]] = {}
    for number, view in enumerate(views):
        groups.setdefault(number if alone else view.size, []).append(number)
    made: dict[int, Tensor] = {}
    for members in groups.values():
        group = [views[number] for number in members]
        out_MCSS = _together(group, [pixels_NCHW[number] for number in members], index_N, epoch, operation)
        made |= zip(members, out_MCSS.chunk(len(members)), strict=True)
    return tuple(made[number] for number in range(len(views)))


@torch.no_grad()
def _together(
    views: Sequence[Views], pixels_NCHW: Sequence[Tensor], index_N: Tensor, epoch: int, operation: Operation
) -> Tensor:
    """Views of one size, one after another: M = views x images rows."""
    first, device, (height, width) = views[0], pixels_NCHW[0].device, pixels_NCHW[0].shape[2:]
    draws = []
    for view in views:
        numbers_NR = uniform(view.seed, epoch, index_N.cpu(), view.view, NUMBERS)
        draws.append(draw(view.augmentation, numbers_NR, height, width))
    parameters = draws[0] if len(draws) == 1 else Draw.joined(draws)
    pixels_MCHW = pixels_NCHW[0] if len(views) == 1 else torch.cat(list(pixels_NCHW))
    out_MCSS = torch.empty(len(pixels_MCHW), 3, first.size, first.size, dtype=torch.float32, device=device)
    values = 3 * max(height * width, first.size**2)
    step = max(1, _CHUNK.get(device.type, _CHUNK_ELSEWHERE) // values)
    for start in range(0, len(pixels_MCHW), step):
        rows = slice(start, start + step)
        changes = _changes(parameters.part(rows), first, device)
        mean_C11, std_C11 = changes["normalise"]
        view_MCSS = operation(pixels_MCHW[rows].float().div_(255), changes, first.size)
        torch.sub(view_MCSS, mean_C11, out=out_MCSS[rows]).div_(std_C11)
    return out_MCSS


def _changes(parameters: Draw, view: Views, device: torch.device) -> Changes:
    """What the operations take, sent to the device in one copy."""
    host: Changes = {
        "normalise": [view._mean_C11, view._std_C11],
        "blend": [parameters.blends_N43.permute(1, 2, 0).contiguous()],
        **{f"hue {turn}": _chosen(parameters.turned_N4[:, turn], parameters.hue_N) for turn in range(len(_ORDERS[0]))},
        "grey": _chosen(parameters.grey_N),
        "rotate": _chosen(parameters.rotated_N, parameters.degrees_N),
        "crop": [*parameters.boxes_N4.T.contiguous(), parameters.flipped_N],
        "flip": _chosen(parameters.flipped_N),
        "blur": _chosen(parameters.blurred_N, parameters.sigma_N),
        "solarize": _chosen(parameters.solarized_N),
    }
    sent = iter(send_all([tensor for tensors in host.values() for tensor in tensors], device))
    return {name: [next(sent) for _ in tensors] for name, tensors in host.items()}


def _chosen(chosen_N: Tensor, *parameters_N: Tensor) -> list[Tensor]:
    """Which rows an operation changes (int64), and its parameters for them."""
    rows = chosen_N.nonzero()[:, 0]
    return [rows, *(values[rows] for values in parameters_N)]


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


def augment(x_NCHW: Tensor, changes: Changes, size: int) -> Tensor:
    """Make views of side `size` from images in [0, 1], in recipe S's order; the images are overwritten."""
    _recolour(x_NCHW, changes)
    top_N, left_N, height_N, width_N, flipped_N = changes["crop"]
    view_NCSS = resized_crop(x_NCHW, top_N, left_N, height_N, width_N, flipped_N, size).clamp_(0, 1)
    _blur_and_solarize(view_NCSS, changes)
    return view_NCSS


def augment_crops(x_NCSS: Tensor, changes: Changes, size: int) -> Tensor:
    """Make views from crops in [0, 1], in torchvision's usual order, flip first; the crops are overwritten."""
    _apply_to(x_NCSS, changes["flip"], functools.partial(torch.flip, dims=(3,)))
    _recolour(x_NCSS, changes)
    _blur_and_solarize(x_NCSS, changes)
    return x_NCSS


def _recolour(x_NCHW: Tensor, changes: Changes) -> None:
    """Colour jitter, grey and rotation, in place."""
    (blends_43N,) = changes["blend"]
    for turn, (image_N, luminance_N, mean_N) in enumerate(blends_43N):
        blend_(x_NCHW, image_N, luminance_N, mean_N)
        _apply_to(x_NCHW, changes[f"hue {turn}"], adjust_hue)
    _apply_to(x_NCHW, changes["grey"], grayscale)
    _apply_to(x_NCHW, changes["rotate"], rotate)


def _blur_and_solarize(x_NCSS: Tensor, changes: Changes) -> None:
    """Gaussian blur and solarize, in place."""
    size = x_NCSS.shape[3]
    blur = functools.partial(gaussian_blur, kernel_size=max(3, int(BLUR_SHARE * size) // 2 * 2 + 1))
    _apply_to(x_NCSS, changes["blur"], blur)
    _apply_to(x_NCSS, changes["solarize"], functools.partial(solarize, threshold=SOLARIZE_THRESHOLD))


def _apply_to(x_NCHW: Tensor, change: Sequence[Tensor], operation: Callable[..., Tensor]) -> None:
    """Overwrite the images of the first of `change`, their rows, by `operation` of them and the rest of it."""
    rows, *parameters_N = change
    if len(rows):
        x_NCHW.index_copy_(0, rows, operation(x_NCHW.index_select(0, rows), *parameters_N))
