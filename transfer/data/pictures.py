"""Pictures of detections: boxes, masks and scores drawn over the images they were found on, as PNG. No torch."""

from __future__ import annotations

import colorsys
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ...pretrain.data.decode import read_rgb
from .coco import Split

MOVES_NO_NUMBER = "draws detections that are already there"

SHEET = "detections.png"  # name of its file in a detection's folder
SHEET_IMAGES, COLUMNS = 4, 2  # the first images of those that are scored, and how many stand side by side
SIDE = 288  # of an image's square on the sheet, pixels
LEAST_SCORE = 0.3  # of a detection that is drawn
SHOWN = 12  # detections on an image at most, the surest
TINT = 0.45  # share of the colour of a mask in its pixels
TURN = 0.618  # of the colour wheel from one category to the next: the golden ratio, so that neighbours differ
FONT_SIZE, MARGIN = 12, 3  # of a label, pixels


def sheet(split: Split, detections: Sequence[Mapping[str, Any]]) -> bytes:
    """The first images of a split with what was found on them, as one PNG."""
    images = split.images[:SHEET_IMAGES]
    whole = Image.new("RGB", (SIDE * COLUMNS, SIDE * -(-len(images) // COLUMNS)), "white")
    for place, image in enumerate(images):
        row, column = divmod(place, COLUMNS)
        whole.paste(drawn(split, image, shown(detections, image["id"])), (SIDE * column, SIDE * row))
    content = io.BytesIO()
    whole.save(content, "PNG")
    return content.getvalue()


def drawn(split: Split, image: Mapping[str, Any], detections: Sequence[Mapping[str, Any]]) -> Image.Image:
    """One image, its longer side SIDE pixels, with its detections, the last on top."""
    picture = read_rgb(split.path(image), upright=True)
    scale = SIDE / max(picture.size)
    size = round(picture.width * scale), round(picture.height * scale)
    picture = picture.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BICUBIC)
    colours = [_colour(split.numbers[detection["category_id"]]) for detection in detections]
    for detection, colour in zip(detections, colours, strict=True):
        picture = _tinted(picture, _mask(detection), colour)
    pen = ImageDraw.Draw(picture)
    for detection, colour in zip(detections, colours, strict=True):
        left, top, width, height = (scale * side for side in detection["bbox"])
        pen.rectangle((left, top, left + width, top + height), outline=colour, width=2)
        words = f"{split.categories[detection['category_id']]} {detection['score']:.2f}"
        _label(pen, picture.width, (left, top), words, colour)
    return picture


def _label(
    pen: ImageDraw.ImageDraw, width: int, corner: tuple[float, float], text: str, colour: tuple[int, int, int]
) -> None:
    """Above a box's upper left corner; below and to the left of it where the image, so many pixels wide, ends."""
    font = ImageFont.load_default(FONT_SIZE)
    height, length = FONT_SIZE + MARGIN, pen.textlength(text, font=font) + MARGIN
    left, top = max(0.0, min(corner[0], width - length)), corner[1] - height if corner[1] >= height else corner[1]
    pen.rectangle((left, top, left + length, top + height), fill=colour)
    pen.text((left + 1, top), text, fill="black", font=font)


def shown(detections: Sequence[Mapping[str, Any]], image_id: int) -> list[Mapping[str, Any]]:
    """The detections of an image that are drawn, the surest last."""
    kept = [one for one in detections if one["image_id"] == image_id and one["score"] >= LEAST_SCORE]
    return sorted(kept, key=lambda one: float(one["score"]))[-SHOWN:]


def _mask(detection: Mapping[str, Any]) -> NDArray[Any]:
    from pycocotools import mask as packing

    return np.asarray(packing.decode(detection["segmentation"]), dtype=bool)


def _tinted(picture: Image.Image, mask: NDArray[Any], colour: tuple[int, int, int]) -> Image.Image:
    opacity = Image.fromarray((mask * 255 * TINT).astype(np.uint8)).resize(picture.size, Image.Resampling.NEAREST)
    return Image.composite(Image.new("RGB", picture.size, colour), picture, opacity)


def _colour(number: int) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(number * TURN % 1.0, 0.75, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)
