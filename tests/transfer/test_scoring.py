"""Scoring: perfect detections score 1, none 0, and the figures are those of Detectron2's evaluator."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from compmod.transfer.data.coco import Split, read_folder
from compmod.transfer.detector.detectron2 import data, evaluation, structures
from compmod.transfer.scoring import FIGURES, TASKS, average_precision, detect
from tiny_detections import TINY, tiny_coco


@pytest.fixture
def split(tmp_path: Path) -> Split:
    return tiny_coco(tmp_path / "coco", train=1, val=4)[1]


class Oracle(torch.nn.Module):
    """Knows the answers, moved by some pixels, with scores that fall; every third category is wrong."""

    def __init__(self, split: Split, *, shift: float = 0.0, wrong: bool = False) -> None:
        super().__init__()
        self.split, self.shift, self.wrong = split, shift, wrong

    def forward(self, examples: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{"instances": self._instances(example["image_id"])} for example in examples]

    def _instances(self, image: int) -> Any:
        from pycocotools import mask as packing

        found = self.split.annotations[image]
        boxes = torch.tensor([each["bbox"] for each in found], dtype=torch.float32)
        boxes[:, 2:] += boxes[:, :2]
        masks = [packing.decode(packing.frPyObjects(each["segmentation"], 64, 64)) for each in found]
        classes = [self.split.numbers[each["category_id"]] for each in found]
        instances = structures.Instances((64, 64))
        instances.pred_boxes = structures.Boxes(boxes + self.shift)
        instances.pred_masks = torch.stack([torch.from_numpy(mask).bool() for mask in masks])
        instances.scores = torch.linspace(0.9, 0.3, len(found))
        instances.pred_classes = torch.tensor(
            [(number + (self.wrong and place % 3 == 0)) % 10 for place, number in enumerate(classes)]
        )
        return instances


def scored(split: Split, **oracle: Any) -> dict[str, float]:
    return average_precision(split, detect(Oracle(split, **oracle), split, TINY, 0))


def test_perfect_detections_score_1(split: Split) -> None:
    assert scored(split) == pytest.approx({f"{task}/{figure}": 1.0 for task in TASKS for figure in FIGURES})


def renumbered(split: Split, kind: str, change: Callable[[int], int]) -> Split:
    """The split with other ids of its objects, images or categories, all of them read anew from its file."""
    document = json.loads(split.file.read_text())
    names = {"annotations": ["id"], "images": ["id", "image_id"], "categories": ["id", "category_id"]}[kind]
    lists = [kind] if kind == "annotations" else [kind, "annotations"]
    for name, entries in zip(names, lists, strict=True):
        for entry in document[entries]:
            entry[name] = change(entry[name])
    files = [split.file, split.file.with_name("instances_train2017.json")]
    split.file.write_text(json.dumps(document))
    if kind == "categories":  # both files have the same ones
        other = json.loads(files[1].read_text())
        for entries, name in (("categories", "id"), ("annotations", "category_id")):
            for entry in other[entries]:
                entry[name] = change(entry[name])
        files[1].write_text(json.dumps(other))
    return read_folder(split.folder.parent)[1]


@pytest.mark.parametrize(
    "change",
    [lambda number: number - 1, lambda number: -number, lambda number: 2**63 - number, lambda number: number - 2**63],
    ids=["from 0", "below 0", "near 2**63", "near -2**63"],
)
@pytest.mark.parametrize("kind", ["annotations", "images", "categories"])
def test_perfect_detections_score_1_whatever_the_ids(kind: str, change: Callable[[int], int], split: Split) -> None:
    figures = scored(renumbered(split, kind, change))
    assert figures == pytest.approx({f"{task}/{figure}": 1.0 for task in TASKS for figure in FIGURES})


def test_an_object_without_a_word_on_crowds_is_none(split: Split) -> None:
    document = json.loads(split.file.read_text())
    for each in document["annotations"]:
        del each["iscrowd"]
    split.file.write_text(json.dumps(document))
    assert set(scored(read_folder(split.folder.parent)[1]).values()) == {1.0}


def test_no_detection_scores_0(split: Split) -> None:
    assert set(average_precision(split, []).values()) == {0.0}


def test_boxes_that_are_off_lower_the_boxes_figures_alone(split: Split) -> None:
    found = scored(split, shift=2.0)
    assert found["bbox/AP"] < 0.6
    assert found["segm/AP"] == pytest.approx(1.0)


def test_detections_carry_cocos_own_numbers(split: Split) -> None:
    found = detect(Oracle(split), split, TINY, 0)
    assert [(each["image_id"], each["category_id"]) for each in found] == [
        (image, each["category_id"]) for image in (1, 2, 3, 4) for each in split.annotations[image]
    ]


def test_something_is_done_after_every_image(split: Split) -> None:
    calls: list[int] = []
    detect(Oracle(split), split, TINY, 0, lambda: calls.append(1))
    assert len(calls) == 4


def test_the_figures_are_those_of_detectron2s_evaluator(split: Split, tmp_path: Path) -> None:
    name = str(tmp_path)
    data.datasets.register_coco_instances(name, {}, str(split.file), str(split.folder))
    data.DatasetCatalog.get(name)  # only then does it know the categories
    evaluator = evaluation.COCOEvaluator(name, ("bbox", "segm"), False, str(tmp_path), use_fast_impl=False)
    evaluator.reset()
    oracle = Oracle(split, shift=0.5, wrong=True)
    for image in split.annotations:
        evaluator.process([{"image_id": image}], copy.copy(oracle([{"image_id": image}])))
    theirs = evaluator.evaluate()
    ours = scored(split, shift=0.5, wrong=True)
    assert 0.1 < ours["bbox/AP"] < 0.9
    for task in TASKS:
        for figure in FIGURES:
            assert 100 * ours[f"{task}/{figure}"] == pytest.approx(theirs[task][figure], abs=1e-9)


def test_detections_are_plain_json(split: Split) -> None:
    found = detect(Oracle(split), split, TINY, 0)
    assert json.loads(json.dumps(found)) == found
