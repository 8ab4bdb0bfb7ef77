"""Geometric operations on batches: each image with its own box, angle or width, equal to torchvision's functionals.

Images are float tensors, images x channels x height x width. Cropping, resizing, flipping and blurring are separable
and linear, so each is one small matrix an image and axis, applied by batched matrix products. Bicubic kernel: Keys,
IEEE Trans. ASSP 1981, with coefficient -0.5 and stretched when it shrinks an image, as Pillow and torchvision do.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

_FAR = 1e6  # pixels: outside the support of every kernel


@contextlib.contextmanager
def _float32_products() -> Iterator[None]:
    """Full precision whatever the training step uses: a view must not depend on TF32 or autocast."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast("cuda", enabled=False), torch.autocast("cpu", enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


@_float32_products()
def resized_crop(
    x_NCHW: Tensor, top_N: Tensor, left_N: Tensor, height_N: Tensor, width_N: Tensor, flip_N: Tensor, size: int
) -> Tensor:
    """Cut a box out of each image, resize it to a square of side `size` (bicubic, antialiased), mirror where `flip_N`.

    Boxes are whole pixels inside the image. Bicubic overshoots: the result may leave [0, 1] a little.
    """
    rows_NSH = _resize_matrix(top_N, height_N, torch.zeros_like(flip_N), x_NCHW.shape[2], size, x_NCHW.dtype)
    columns_NSW = _resize_matrix(left_N, width_N, flip_N, x_NCHW.shape[3], size, x_NCHW.dtype)
    return _apply_separably(x_NCHW, rows_NSH, columns_NSW)


@_float32_products()
def rotate(x_NCHW: Tensor, degrees_N: Tensor) -> Tensor:
    """Turn each image counter-clockwise about its centre: bilinear, black outside the old image."""
    height, width = x_NCHW.shape[2:]
    angle_N = torch.deg2rad(degrees_N.to(x_NCHW.dtype))
    cos_N, sin_N, zero_N = angle_N.cos(), angle_N.sin(), torch.zeros_like(angle_N)
    # affine_grid measures each axis in half its own length, hence the ratios where the axes mix.
    theta_N23 = torch.stack([cos_N, -sin_N * height / width, zero_N, sin_N * width / height, cos_N, zero_N], dim=1)
    grid_NHW2 = F.affine_grid(theta_N23.view(-1, 2, 3), list(x_NCHW.shape), align_corners=False)
    return F.grid_sample(x_NCHW, grid_NHW2, mode="bilinear", padding_mode="zeros", align_corners=False)


@_float32_products()
def gaussian_blur(x_NCHW: Tensor, sigma_N: Tensor, kernel_size: int) -> Tensor:
    """Blur each image with a Gaussian of `sigma_N` pixels, cut to `kernel_size` (odd); borders are reflected."""
    height, width = x_NCHW.shape[2:]
    if kernel_size % 2 == 0 or kernel_size // 2 >= min(height, width):
        raise ValueError(f"kernel_size must be odd and below twice the side of {height} x {width}, not {kernel_size}")
    offset_K = torch.arange(kernel_size, device=x_NCHW.device) - kernel_size // 2
    weight_NK = torch.softmax(-0.5 * (offset_K / sigma_N[:, None].to(x_NCHW.dtype)) ** 2, dim=1)
    return _apply_separably(x_NCHW, _blur_matrix(weight_NK, height), _blur_matrix(weight_NK, width))


def _resize_matrix(
    start_N: Tensor, length_N: Tensor, flip_N: Tensor, extent: int, size: int, dtype: torch.dtype
) -> Tensor:
    """The matrices, images x size x extent, that resize pixels start .. start + length of a line of `extent`.

    They are of type `dtype`, made of whole numbers: without it torch's default type would decide.
    """
    pixel_E = torch.arange(extent, device=start_N.device)
    output_S = torch.arange(size, device=start_N.device)
    scale_N1 = length_N[:, None].to(dtype) / size
    stretch_N1 = scale_N1.clamp(min=1)
    inside_NE = (pixel_E >= start_N[:, None]) & (pixel_E < (start_N + length_N)[:, None])
    source_NE = torch.where(inside_NE, ((pixel_E - start_N[:, None]).to(dtype) + 0.5) / stretch_N1, _FAR)
    target_NS = (torch.where(flip_N[:, None], size - 1 - output_S, output_S).to(dtype) + 0.5) * (scale_N1 / stretch_N1)
    weight_NSE = _bicubic(source_NE[:, None, :] - target_NS[:, :, None])
    return weight_NSE.div_(weight_NSE.sum(2, keepdim=True))


def _bicubic(distance: Tensor) -> Tensor:
    """Keys' kernel at each distance; it overwrites its argument.

    In powers of u = min(distance - 2, 0) and v = min(distance - 1, 0) it is v^2 (1 + 2 v) - u^2 (1 + u) / 2.
    """
    u = distance.abs_().sub_(2).clamp_(max=0)
    rest = u + 1
    v = rest.clamp(max=0)
    squared = v.square()
    return torch.addcmul(squared, squared, v, value=2).addcmul_(u.square_(), rest, value=-0.5)


def _blur_matrix(weight_NK: Tensor, extent: int) -> Tensor:
    """The matrices, images x extent x extent, that convolve a line of pixels, mirrored at its ends."""
    kernel_size = weight_NK.shape[1]
    pixel_E = torch.arange(extent, device=weight_NK.device)
    position_KE = pixel_E + torch.arange(kernel_size, device=weight_NK.device)[:, None] - kernel_size // 2
    reflected_KE = (extent - 1) - ((extent - 1) - position_KE.abs()).abs()
    placed_KEE = (reflected_KE[:, :, None] == pixel_E).to(weight_NK.dtype)
    return (weight_NK @ placed_KEE.view(kernel_size, -1)).view(-1, extent, extent)


def _apply_separably(x_NCHW: Tensor, rows_NSH: Tensor, columns_NTW: Tensor) -> Tensor:
    """rows @ image @ columns^T for every image and channel."""
    images, channels, height, width = x_NCHW.shape
    wide = torch.bmm(x_NCHW.reshape(images, channels * height, width), columns_NTW.transpose(1, 2))
    planes = wide.view(images, channels, height, -1).unbind(1)
    return torch.stack([torch.bmm(rows_NSH, plane) for plane in planes], dim=1)
