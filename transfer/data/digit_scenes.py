"""Digit scenes: several of the embedded digits on one canvas, with exact boxes and masks, written as a COCO folder.

Ours; the digits are scikit-learn's copy of the UCI set (see `pretrain/digits.py`), at the size and in the colours of
what our trunks pretrain on. No glyph is in both splits, and every number drawn is a function of (seed, scene).
"""

from __future__ import annotations

import json
import os
import shutil
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ...pretrain.data.digits import GLYPH, INK, split_glyphs
from ...pretrain.runtime.randomness import permutation, uniform
from .coco import TRAIN, VAL

CELL = 16  # side of the square that a digit has for itself, pixels: of a canvas that trunks pretrain on
CELLS = 4  # a side of the canvas
SIDE = CELL * CELLS
DIGITS = (3, 6)  # least and most of a scene
SIDES = (10, 15)  # least and most of a glyph, pixels: as pretrained on
DARK, LIGHT = (0.0, 0.4), (0.65, 1.0)  # shades of canvas and glyph, or the other way round
TINT = 0.35  # largest departure of a channel from its shade
NOISE = 0.03  # half-width of the noise of one pixel and channel
INSIDE = 0.5  # ink above which a pixel is of the digit's mask
SEED = 20240224  # of the released scenes
SCENES = {TRAIN: 300, VAL: 60}
_OF_CANVAS, _OF_DIGIT = 5, 7  # numbers drawn: count, shade, tint; glyph, size, place, shade, two tints


class Scene(NamedTuple):
    """One canvas and what is on it."""

    pixels: NDArray[Any]  # uint8, side x side x 3
    labels: list[int]
    masks: list[NDArray[Any]]  # bool, side x side, one a digit


def write_scenes(folder: Path, scenes: dict[str, int] | None = None, seed: int = SEED) -> Path:
    """The scenes as a COCO 2017 folder, made whole or not at all; at once where it is. Returns the folder."""
    if folder.is_dir():
        return folder
    aside = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    (aside / "annotations").mkdir(parents=True)
    for split, count in (scenes or SCENES).items():
        (aside / split).mkdir()
        document: dict[str, list[dict[str, Any]]] = {
            "images": [],
            "annotations": [],
            "categories": [{"id": digit + 1, "name": str(digit)} for digit in range(10)],
        }
        for number, scene in enumerate(draw_scenes(split, count, seed), start=1):
            name = f"{number:06d}.png"
            Image.fromarray(scene.pixels).save(aside / split / name)
            document["images"].append({"id": number, "file_name": name, "height": SIDE, "width": SIDE})
            for label, mask in zip(scene.labels, scene.masks, strict=True):
                annotation = {"id": len(document["annotations"]) + 1, "image_id": number, "category_id": label + 1}
                document["annotations"].append(annotation | described(mask))
        (aside / "annotations" / f"instances_{split}.json").write_text(json.dumps(document))
    aside.replace(folder)
    return folder


def draw_scenes(split: str, count: int, seed: int = SEED) -> list[Scene]:
    """The first `count` scenes of a split; more of them change none."""
    from sklearn.datasets import load_digits

    source = load_digits()
    glyphs = split_glyphs(len(source.target), "train" if split == TRAIN else "test")
    numbers = _OF_CANVAS + DIGITS[1] * _OF_DIGIT + 3 * SIDE * SIDE
    which = 0 if split == TRAIN else 1
    draws = uniform(seed, which, torch.arange(count), 0, numbers).double().numpy()
    return [
        _scene(draws[number], permutation(seed, 2 * number + which, CELLS**2).tolist(), glyphs, source)
        for number in range(count)
    ]


def _scene(draws: NDArray[Any], cells: list[int], glyphs: NDArray[Any], source: Any) -> Scene:
    least, most = DIGITS
    dark, light = (DARK, LIGHT) if draws[4] < 0.5 else (LIGHT, DARK)
    canvas = np.broadcast_to(_colour(dark, *draws[1:4]), (SIDE, SIDE, 3)).copy()
    labels, masks = [], []
    for digit in range(least + int(draws[0] * (most - least + 1))):
        own = draws[_OF_CANVAS + digit * _OF_DIGIT :][:_OF_DIGIT]
        glyph = glyphs[int(own[0] * len(glyphs))]
        side = SIDES[0] + int(own[1] * (SIDES[1] - SIDES[0] + 1))
        row, column = divmod(cells[digit], CELLS)
        top = row * CELL + int(own[2] * (CELL - side + 1))
        left = column * CELL + int(own[3] * (CELL - side + 1))
        ink = np.zeros((SIDE, SIDE))
        ink[top : top + side, left : left + side] = stretched(source.images[glyph] / INK, side)
        canvas = canvas * (1 - ink[:, :, None]) + _colour(light, *own[4:7]) * ink[:, :, None]
        labels.append(int(source.target[glyph]))
        masks.append(ink > INSIDE)
    noise = (draws[-3 * SIDE * SIDE :].reshape(SIDE, SIDE, 3) * 2 - 1) * NOISE
    return Scene(np.clip((canvas + noise) * 255 + 0.5, 0, 255).astype(np.uint8), labels, masks)


def _colour(shades: tuple[float, float], shade: float, red: float, green: float) -> NDArray[Any]:
    """A shade, and a tint around it whose channels cancel."""
    tint = (np.array([red, green, 1.0 - (red + green) / 2]) * 2 - 1) * TINT
    return np.asarray(shades[0] + (shades[1] - shades[0]) * shade + tint - tint.mean())


def stretched(ink: NDArray[Any], side: int) -> NDArray[Any]:
    """A glyph drawn bilinearly in a square of `side` pixels; beyond its rim there is no ink."""
    place = (np.arange(side) + 0.5) * GLYPH / side - 0.5
    weights = np.clip(1 - np.abs(place[:, None] - np.arange(GLYPH)), 0, 1)
    down: NDArray[Any] = (weights[:, :, None] * ink).sum(axis=1)
    across: NDArray[Any] = (weights[:, :, None] * down.T).sum(axis=1).T
    return across


def described(mask: NDArray[Any]) -> dict[str, Any]:
    """A mask in COCO's words: its runs, column by column from the empty ones on, its tight box and its area."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    runs = [(bool(value), len(list(same))) for value, same in groupby(mask.T.ravel().tolist())]
    counts = [length for _, length in runs]
    return {
        "segmentation": {"size": list(mask.shape), "counts": [0, *counts] if runs[0][0] else counts},
        "bbox": [int(columns[0]), int(rows[0]), int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1)],
        "area": int(mask.sum()),
        "iscrowd": 0,
    }
