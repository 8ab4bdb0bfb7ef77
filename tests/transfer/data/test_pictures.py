"""Pictures: what is drawn of detections, and where."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compmod.transfer.data.coco import Split
from compmod.transfer.data.pictures import LEAST_SCORE, SHOWN, SIDE, drawn, sheet, shown
from PIL import Image
from tiny_detections import tiny_coco


@pytest.fixture
def split(tmp_path: Path) -> Split:
    return tiny_coco(tmp_path / "coco", train=1, val=3)[1]


def detection(**changes: Any) -> dict[str, Any]:
    from pycocotools import mask as packing

    mask = np.zeros((64, 64), dtype=np.uint8, order="F")
    mask[22:38, 22:38] = 1
    packed = packing.encode(mask)
    found = {"image_id": 1, "category_id": 8, "bbox": [20, 20, 20, 20], "score": 0.9, "segmentation": packed}
    return found | changes


def changed(split: Split, found: list[dict[str, Any]]) -> np.ndarray[Any, Any]:
    """Where the drawing differs from the image without detections."""
    with_them, without = (np.asarray(drawn(split, split.images[0], each)) for each in (found, []))
    return np.any(with_them != without, axis=2)


def test_a_mask_is_tinted_where_it_is_and_not_beside_it(split: Split) -> None:
    found = changed(split, [detection(bbox=[1, 50, 5, 5])])
    scale = SIDE / 64
    assert found[int(24 * scale) : int(36 * scale), int(24 * scale) : int(36 * scale)].all()
    assert not found[int(24 * scale) : int(36 * scale), int(40 * scale) :].any()


def test_a_box_is_drawn_on_its_edges(split: Split) -> None:
    scale = SIDE / 64
    found = changed(split, [detection()])
    for edge in (20, 40):
        assert found[round(30 * scale), round(edge * scale) - 2 : round(edge * scale) + 3].any()
        assert found[round(edge * scale) - 2 : round(edge * scale) + 3, round(30 * scale)].any()


@pytest.mark.parametrize("top", [0, 30])
def test_a_label_stays_on_the_picture(split: Split, top: int) -> None:
    scale = SIDE / 64
    found = changed(split, [detection(bbox=[20, top, 30, 30])])
    rows = np.flatnonzero(found[:, round(20 * scale) + 1 : round(22 * scale) - 1].any(axis=1))
    assert rows[0] == max(0, round(top * scale) - (15 if top else 0))


def test_a_label_at_the_right_edge_is_moved_to_the_left(split: Split) -> None:
    scale = SIDE / 64
    found = changed(split, [detection(bbox=[60, 50, 4, 10])])
    assert found[round(50 * scale) - 8, round(60 * scale) - 10]


def test_weak_detections_are_not_drawn() -> None:
    assert shown([detection(score=LEAST_SCORE - 0.01), detection(score=LEAST_SCORE)], 1) == [
        detection(score=LEAST_SCORE)
    ]


def test_detections_of_other_images_are_not_drawn() -> None:
    assert shown([detection(image_id=2)], 1) == []


def test_the_surest_are_drawn_and_the_surest_of_all_last() -> None:
    found = [detection(score=0.4 + place / 100) for place in range(SHOWN + 5)]
    assert [each["score"] for each in shown(found, 1)] == [each["score"] for each in found[5:]]


def test_a_large_image_is_made_smaller(split: Split) -> None:
    Image.new("RGB", (900, 600)).save(split.path(split.images[0]))
    assert drawn(split, split.images[0], []).size == (SIDE, SIDE * 2 // 3)


def test_a_sheet_holds_its_images_two_in_a_row(split: Split) -> None:
    assert Image.open(io.BytesIO(sheet(split, [detection()]))).size == (2 * SIDE, 2 * SIDE)
