"""Examples: COCO's images as Detectron2 takes them, in an order and in views that are functions of (seed, step).

Batches hold images of one orientation, upright or lying, so that little of a batch is padding: as in Detectron2.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from ...pretrain.data.decode import read_rgb
from ...pretrain.files.bad_data import BadData
from ...pretrain.runtime.distributed import rank, world
from ...pretrain.runtime.randomness import permutation, uniform
from ...pretrain.views.loader import served
from ..detector.detectron2 import data, structures, transforms
from ..spec import Detector
from .coco import Split, check_size

Example = dict[str, Any]
_VIEW = 0  # stands where the number of a view stands: an image has one


def usable(split: Split) -> list[int]:
    """Positions of the images with an object on them that is no crowd: those that are trained on."""
    positions = [
        position
        for position, image in enumerate(split.images)
        if any(not annotation.get("iscrowd") for annotation in split.annotations[image["id"]])
    ]
    if not positions:
        raise BadData(f"{split.file} has no object to train on, only crowds")
    return positions


def order(lying: list[bool], batch_size: int, seed: int) -> Iterator[list[int]]:
    """Batches without end: every image once an epoch, each batch all lying or all upright.

    What is over of an orientation waits for the next epoch. The first `n` batches are a function of the arguments.
    """
    waiting: dict[bool, list[int]] = {True: [], False: []}
    epoch = 0
    while True:
        for position in permutation(seed, epoch, len(lying)).tolist():
            group = waiting[lying[position]]
            group.append(position)
            if len(group) == batch_size:
                yield list(group)
                group.clear()
        epoch += 1


def training_batches(
    split: Split, detector: Detector, seed: int, steps: range, workers: int
) -> Generator[list[Example], None, None]:
    """This process's share of the batch of every step of `steps`, made ahead by so many processes; 0 = by this one."""
    kept = usable(split)
    lying = [split.images[position]["width"] >= split.images[position]["height"] for position in kept]
    batches = islice(order(lying, detector.batch_size, seed), steps.start, steps.stop)
    size = detector.batch_size // world()
    mine = slice(rank() * size, (rank() + 1) * size)
    requests = ((step, [kept[number] for number in batch[mine]]) for step, batch in zip(steps, batches, strict=False))
    return served(Trained(split, detector, seed), requests, workers)


def scored_images(split: Split, detector: Detector, workers: int) -> Generator[list[Example], None, None]:
    """This process's share of the images to be scored, one by one."""
    requests = ((0, [position]) for position in range(rank(), len(split.images), world()))
    return served(Scored(split, detector), requests, workers)


@dataclass(frozen=True)
class Trained(Dataset["list[Example] | str"]):
    """Makes the views of a batch. A fault is handed back as text, for an exception would arrive as a traceback."""

    split: Split
    detector: Detector
    seed: int

    def __getitem__(self, request: tuple[int, list[int]]) -> list[Example] | str:
        step, positions = request
        try:
            draws = uniform(self.seed, step, torch.tensor(positions), _VIEW, 2).tolist()
            return [self._view(position, *drawn) for position, drawn in zip(positions, draws, strict=True)]
        except ValueError as error:
            return str(error)

    def _view(self, position: int, size: float, flip: float) -> Example:
        sizes = self.detector.train_sizes
        entry = self.split.images[position]
        pixels = read_pixels(self.split, position, self.detector)
        steps = [_resizing(entry, sizes[int(size * len(sizes))], self.detector.longest)]
        if flip < self.detector.flip:
            steps.append(transforms.HFlipTransform(steps[0].new_w))
        change = transforms.TransformList(steps)
        image = change.apply_image(pixels)
        annotations = self.split.annotations[entry["id"]]
        objects = [annotation for annotation in annotations if not annotation.get("iscrowd")]
        return {"image": _tensor(image), "instances": self._objects(objects, change, image.shape[:2], entry)}

    def _objects(self, objects: list[Any], change: Any, shape: tuple[int, int], entry: Any) -> Any:
        numbers, tools = self.split.numbers, data.detection_utils
        changed = [
            tools.transform_instance_annotations(
                {
                    "bbox": one["bbox"],
                    "bbox_mode": structures.BoxMode.XYWH_ABS,
                    "category_id": numbers[one["category_id"]],
                    "segmentation": _runs(one["segmentation"], entry),
                },
                change,
                shape,
            )
            for one in objects
        ]
        masks = "bitmask" if self.split.has_runs else "polygon"
        for one in changed:
            if isinstance(one["segmentation"], np.ndarray):  # as Pillow gives it, which torch would warn of
                one["segmentation"] = one["segmentation"].copy()
        return tools.filter_empty_instances(tools.annotations_to_instances(changed, shape, mask_format=masks))


@dataclass(frozen=True)
class Scored(Dataset["list[Example] | str"]):
    """Makes an image at the size it is scored at; its own height and width say where detections belong."""

    split: Split
    detector: Detector

    def __getitem__(self, request: tuple[int, list[int]]) -> list[Example] | str:
        try:
            return [self._view(position) for position in request[1]]
        except ValueError as error:
            return str(error)

    def _view(self, position: int) -> Example:
        entry = self.split.images[position]
        resizing = _resizing(entry, self.detector.test_size, self.detector.longest)
        image = resizing.apply_image(read_pixels(self.split, position, self.detector))
        sides = {side: entry[side] for side in ("height", "width")}
        return {"image": _tensor(image), "image_id": entry["id"], **sides}


def read_pixels(split: Split, position: int, detector: Detector) -> Any:
    """An image as the detector takes it: height x width x 3 of uint8, red first, or blue first for MSRA's weights.

    EXIF orientation is undone, as by Detectron2's own reader, so boxes lie where Detectron2 puts them.
    """
    entry = split.images[position]
    path = split.path(entry)
    try:
        pixels = np.asarray(read_rgb(path, upright=True))
    except BadData as error:
        raise BadData(f"{error}; {split.file} lists it as image id {entry['id']}") from error
    check_size(split, entry, *pixels.shape[:2])
    return pixels[:, :, ::-1] if detector.pixels == "msra" else pixels


def _resizing(entry: Any, shorter: int, longest: int) -> Any:
    """To that shorter side, or as far as the longer one allows; sides are rounded as Detectron2 does."""
    height, width = entry["height"], entry["width"]
    scale = shorter / min(height, width)
    if scale * max(height, width) > longest:
        scale = longest / max(height, width)
    new_height, new_width = (max(1, int(scale * side + 0.5)) for side in (height, width))  # 0 would be none
    return transforms.ResizeTransform(height, width, new_height, new_width, Image.Resampling.BILINEAR)


def _tensor(image: Any) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def _runs(mask: Any, entry: Any) -> Any:
    """A mask as Detectron2 takes it: polygons as they are, plain runs packed."""
    if isinstance(mask, list) or not isinstance(mask["counts"], list):
        return mask
    from pycocotools import mask as packing

    return packing.frPyObjects(mask, entry["height"], entry["width"])
