"""Scoring: a detector's average precision on COCO's images, as pycocotools counts it (Lin et al., ECCV 2014).

Boxes and masks are scored apart; a mask's size, for the sake of which size class it is in, is the mask's own and not
that of the box, as in Detectron2's evaluator.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ..pretrain.runtime.distributed import world
from .data.coco import Split
from .data.examples import scored_images
from .detector.detectron2 import evaluation
from .spec import Detector

Detections = list[dict[str, Any]]  # detections in the format of COCO's results
TASKS = ("bbox", "segm")
FIGURES = ("AP", "AP50", "AP75")  # the first three of COCO's summary


def detect(
    model: Any, split: Split, detector: Detector, workers: int, after_image: Callable[[], object] = lambda: None
) -> Detections:
    """What the model finds on every image of a split, over all processes, in order of the images' ids.

    `after_image` is called after every image, and may raise.
    """
    categories = list(split.categories)
    mine: Detections = []
    model.eval()
    with torch.inference_mode():
        for examples in scored_images(split, detector, workers):
            for example, output in zip(examples, model(examples), strict=True):
                detections = evaluation.coco_evaluation.instances_to_coco_json(
                    output["instances"].to("cpu"), example["image_id"]
                )
                mine += [{**one, "category_id": categories[one["category_id"]]} for one in detections]
            after_image()
    gathered: list[Any] = [mine]
    if world() > 1:
        gathered = [None] * world()
        dist.all_gather_object(gathered, mine)
    return sorted((one for some in gathered for one in some), key=lambda one: int(one["image_id"]))


def average_precision(split: Split, detections: Detections) -> dict[str, float]:
    """AP, AP50 and AP75 of boxes and of masks, shares from 0 to 1; 0 without detections."""
    truth = _truth(split)
    results: dict[str, float] = {}
    for task in TASKS:
        scores = _scores(truth, detections, task) if detections else [0.0] * len(FIGURES)
        results |= {f"{task}/{name}": value for name, value in zip(FIGURES, scores, strict=True)}
    return results


def _scores(truth: COCO, detections: Detections, task: str) -> Sequence[float]:
    given = [{name: value for name, value in one.items() if task == "bbox" or name != "bbox"} for one in detections]
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress and its summary
        scorer = COCOeval(truth, truth.loadRes(given), task)
        scorer.evaluate()
        scorer.accumulate()
        scorer.summarize()
    return [float(value) for value in scorer.stats[: len(FIGURES)]]


def _truth(split: Split) -> COCO:
    """What is on the images. Objects are numbered from 1, for pycocotools takes a match with the object 0 for none."""
    objects = (one for several in split.annotations.values() for one in several)
    truth = COCO()
    truth.dataset = {
        "info": {},
        "images": [dict(image) for image in split.images],
        "annotations": [{**one, "id": number} for number, one in enumerate(objects, start=1)],
        "categories": [{"id": number, "name": name} for number, name in split.categories.items()],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
    return truth
