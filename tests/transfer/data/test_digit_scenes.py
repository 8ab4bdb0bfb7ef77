"""Digit scenes: deterministic, with exact masks and boxes, and no glyph in both splits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from compmod.transfer.data import digit_scenes as scenes
from compmod.transfer.data.digit_scenes import SIDE, described, draw_scenes, stretched, write_scenes
from PIL import Image


def test_the_same_seed_draws_the_same_scenes() -> None:
    first, again = draw_scenes("train2017", 2), draw_scenes("train2017", 2)
    assert all(np.array_equal(one.pixels, other.pixels) for one, other in zip(first, again, strict=True))


def test_another_seed_draws_other_scenes() -> None:
    assert not np.array_equal(draw_scenes("train2017", 1)[0].pixels, draw_scenes("train2017", 1, seed=1)[0].pixels)


def test_more_scenes_change_none_of_the_first() -> None:
    assert np.array_equal(draw_scenes("val2017", 1)[0].pixels, draw_scenes("val2017", 3)[0].pixels)


def test_the_splits_differ() -> None:
    assert not np.array_equal(draw_scenes("val2017", 1)[0].pixels, draw_scenes("train2017", 1)[0].pixels)


def test_scenes_have_three_to_six_digits() -> None:
    assert {len(scene.labels) for scene in draw_scenes("train2017", 40)} == {3, 4, 5, 6}


def test_masks_do_not_overlap() -> None:
    for scene in draw_scenes("train2017", 20):
        assert np.sum(scene.masks, axis=0).max() == 1


def test_a_digit_stands_out_from_its_canvas_where_its_mask_is() -> None:
    for scene in draw_scenes("train2017", 10):
        grey = scene.pixels.astype(float).mean(axis=2)
        canvas = np.median(grey)
        for mask in scene.masks:
            assert np.abs(grey[mask] - canvas).mean() > 25


def test_the_runs_of_a_mask_give_it_back() -> None:
    mask = np.zeros((4, 3), dtype=bool)
    mask[1:3, 0:2] = True
    mask[0, 0] = True
    counts = described(mask)["segmentation"]["counts"]
    values = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    assert np.array_equal(values.reshape(3, 4).T, mask)


def test_a_box_is_tight_around_its_mask() -> None:
    mask = np.zeros((6, 8), dtype=bool)
    mask[2:5, 1] = True
    mask[3, 1:5] = True
    assert described(mask)["bbox"] == [1, 2, 4, 3]
    assert described(mask)["area"] == 6


def test_a_stretched_glyph_keeps_a_full_square_full_inside_its_rim() -> None:
    assert np.allclose(stretched(np.ones((8, 8)), 12)[1:-1, 1:-1], 1)


def test_a_glyph_of_its_own_size_is_itself() -> None:
    ink = np.arange(64.0).reshape(8, 8)
    assert np.allclose(stretched(ink, 8), ink)


def test_the_written_picture_is_the_drawn_one(tmp_path: Path) -> None:
    folder = write_scenes(tmp_path / "scenes", {"train2017": 2, "val2017": 1})
    written = np.asarray(Image.open(folder / "train2017" / "000002.png"))
    assert np.array_equal(written, draw_scenes("train2017", 2)[1].pixels)
    assert written.shape == (SIDE, SIDE, 3)


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    folder = write_scenes(tmp_path / "scenes", {"train2017": 1})
    before = (folder / "annotations" / "instances_train2017.json").stat().st_mtime_ns
    write_scenes(folder, {"train2017": 5})
    assert (folder / "annotations" / "instances_train2017.json").stat().st_mtime_ns == before


def test_a_writer_that_stops_half_way_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes, "described", lambda mask: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_scenes(tmp_path / "scenes", {"train2017": 1})
    assert not (tmp_path / "scenes").exists()


def test_pycocotools_reads_the_masks_that_were_drawn(tmp_path: Path) -> None:
    from pycocotools.coco import COCO

    folder = write_scenes(tmp_path / "scenes", {"val2017": 2})
    coco = COCO()
    coco.dataset = json.loads((folder / "annotations" / "instances_val2017.json").read_text())
    coco.createIndex()
    drawn = [mask for scene in draw_scenes("val2017", 2) for mask in scene.masks]
    read = [coco.annToMask(coco.anns[number + 1]) for number in range(len(drawn))]
    assert all(np.array_equal(one, other) for one, other in zip(read, drawn, strict=True))
