"""Digits: real handwritten digits on coloured backgrounds, rendered from scikit-learn's copy of the UCI set.

Source: Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998; the
1,797 glyphs of its test part as scikit-learn ships them. Rendering is ours: each glyph lands at a random place, size
and colour, so that raw pixels say little about the class.

Bit-for-bit stable: random numbers are an integer hash of (seed, index, draw), and everything after it is elementwise
addition, multiplication and division in float64, which IEEE 754 fixes. There is no sum whose order a library could
choose, no sine or exponential, and no random generator whose stream a release could change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDE = 16  # pixels of the square canvas; at 32 the same training time taught a small network little
RENDERINGS = 4  # images a glyph
TRAIN_SHARE = 0.8  # of the glyphs; no glyph is in both splits
SEED = 20240220  # of the released set; another seed renders other images of the same glyphs
SMALLEST, LARGEST = 10.0, 15.0  # side of a glyph on the canvas, pixels
GLYPH = 8  # side of a source glyph, pixels
INK = 16.0  # darkest value of a source glyph
DARK, LIGHT = (0.0, 0.4), (0.65, 1.0)  # shades of background and glyph, in this order or reversed; 1 = white
TINT = 0.35  # largest departure of a channel from the shade, before their mean is taken off again
GRADIENT = 0.1  # largest change of the background from its centre to an edge
NOISE = 0.03  # half-width of the noise of one pixel and channel
DRAWS = 3 + 4 + 4 + 1 + 2  # size and place; shade and tint of background and glyph; which is dark; gradient
NUMBERS = DRAWS + 3 * SIDE * SIDE  # random numbers an image


def render(split: Literal["train", "test"], seed: int = SEED) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Pixels (uint8, images x 3 x 16 x 16), labels and glyph numbers (both int64) of a split."""
    import numpy as np
    import torch
    from sklearn.datasets import load_digits

    from ..runtime.randomness import uniform

    source = load_digits()
    glyphs = split_glyphs(len(source.target), split)
    glyph_N = np.repeat(glyphs, RENDERINGS)
    # The number of an image counts over both splits, so that no two images share their draws.
    index_N = glyph_N * RENDERINGS + np.tile(np.arange(RENDERINGS), len(glyphs))
    draws = uniform(seed, 0, torch.from_numpy(index_N), 0, NUMBERS)
    pixels = paint(source.images[glyph_N] / INK, draws.double().numpy())
    return pixels, source.target[glyph_N].astype(np.int64), glyph_N


def split_glyphs(count: int, split: Literal["train", "test"]) -> NDArray[Any]:
    """Numbers of the glyphs of a split, ascending: the same ones for every seed of the rendering."""
    import numpy as np

    from ..runtime.randomness import permutation

    order = permutation(SEED, 0, count).numpy()
    train = round(count * TRAIN_SHARE)
    return np.sort(order[:train] if split == "train" else order[train:])


def paint(ink_NHW: NDArray[Any], draws: NDArray[Any]) -> NDArray[Any]:
    """Glyphs (images x 8 x 8, ink in 0..1) on their backgrounds, uint8, images x 3 x 16 x 16.

    Row i of `draws` (images x NUMBERS, in 0..1) makes image i.
    """
    import numpy as np

    side_N = SMALLEST + (LARGEST - SMALLEST) * draws[:, 0]
    mask_N1HW = _stretch(ink_NHW, side_N, (SIDE - side_N)[:, None] * draws[:, 1:3])[:, None]
    dark_N3, light_N3 = _colour(draws[:, 3:7], DARK), _colour(draws[:, 7:11], LIGHT)
    inverted_N1 = draws[:, 11:12] < 0.5
    background_N311 = np.where(inverted_N1, light_N3, dark_N3)[:, :, None, None]
    glyph_N311 = np.where(inverted_N1, dark_N3, light_N3)[:, :, None, None]
    # One gradient for all channels, and faint: it survives cropping, so a method could know an image by it.
    down_N, right_N = GRADIENT * (draws[:, 12] * 2 - 1), GRADIENT * (draws[:, 13] * 2 - 1)
    axis = (np.arange(SIDE) + 0.5) / SIDE * 2 - 1
    ramp_N1HW = (down_N[:, None, None] * axis[:, None] + right_N[:, None, None] * axis)[:, None]
    noise_NCHW = (draws[:, DRAWS:].reshape(-1, 3, SIDE, SIDE) * 2 - 1) * NOISE
    image_NCHW = background_N311 * (1 - mask_N1HW) + glyph_N311 * mask_N1HW + ramp_N1HW + noise_NCHW
    pixels: NDArray[Any] = np.clip(image_NCHW * 255 + 0.5, 0, 255).astype(np.uint8)
    return pixels


def _colour(draws_N4: NDArray[Any], shades: tuple[float, float]) -> NDArray[Any]:
    """A shade and a tint around it whose channels cancel, so that the shade alone separates the two, images x 3."""
    shade_N1 = shades[0] + (shades[1] - shades[0]) * draws_N4[:, :1]
    tint_N3 = (draws_N4[:, 1:] * 2 - 1) * TINT
    mean_N1 = (tint_N3[:, 0:1] + tint_N3[:, 1:2] + tint_N3[:, 2:3]) / 3
    colour_N3: NDArray[Any] = shade_N1 + tint_N3 - mean_N1
    return colour_N3


def _stretch(ink_NHW: NDArray[Any], side_N: NDArray[Any], corner_N2: NDArray[Any]) -> NDArray[Any]:
    """Each glyph stretched bilinearly to its side, its upper left corner at `corner_N2`, on an empty canvas."""
    import numpy as np

    count = len(ink_NHW)
    padded = np.zeros((count, GLYPH + 2, GLYPH + 2))
    padded[:, 1:-1, 1:-1] = ink_NHW
    source = (np.arange(SIDE) + 0.5 - corner_N2[:, :, None]) * (GLYPH / side_N)[:, None, None] + 0.5
    source = np.clip(source, 0, GLYPH + 1)  # outside the glyph is its empty rim
    first = np.minimum(source.astype(np.int64), GLYPH)
    part = source - first
    row, column = first[:, 0, :, None], first[:, 1, None, :]
    down, right = part[:, 0, :, None], part[:, 1, None, :]
    image = np.arange(count)[:, None, None]
    upper = padded[image, row, column] * (1 - right) + padded[image, row, column + 1] * right
    lower = padded[image, row + 1, column] * (1 - right) + padded[image, row + 1, column + 1] * right
    stretched: NDArray[Any] = upper * (1 - down) + lower * down
    return stretched
