"""Examples: every image once an epoch, batches of one orientation, views that are functions of seed and step."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from compmod.transfer.data.coco import Split, check_header
from compmod.transfer.data.examples import order, read_pixels, scored_images, training_batches, usable
from compmod.transfer.detector.detectron2 import data
from PIL import Image
from tiny_detections import TINY, tiny_coco, with_polygons


@pytest.fixture
def split(tmp_path: Path) -> Split:
    return tiny_coco(tmp_path / "coco")[0]


def test_every_image_comes_once_an_epoch() -> None:
    batches = list(islice(order([True] * 12, 4, seed=0), 6))
    assert Counter(position for batch in batches for position in batch) == dict.fromkeys(range(12), 2)


def test_a_batch_is_all_lying_or_all_upright() -> None:
    lying = [position % 3 == 0 for position in range(20)]
    for batch in islice(order(lying, 4, seed=1), 30):
        assert len({lying[position] for position in batch}) == 1


def test_what_is_over_of_an_orientation_waits_for_the_next_epoch() -> None:
    lying = [True] * 3 + [False] * 9
    seen = Counter(position for batch in islice(order(lying, 4, seed=0), 30) for position in batch)
    assert set(seen) == set(range(12))
    assert max(seen.values()) - min(seen.values()) <= 2


def test_another_seed_is_another_order() -> None:
    assert list(islice(order([True] * 12, 4, 0), 3)) != list(islice(order([True] * 12, 4, 1), 3))


def test_fewer_images_than_a_batch_still_make_batches() -> None:
    assert len(next(order([True] * 3, 8, seed=0))) == 8


def test_batches_that_start_late_are_the_same_as_those_of_a_whole_run(split: Split) -> None:
    whole = list(training_batches(split, TINY, 0, range(4), 0))[2:]
    late = list(training_batches(split, TINY, 0, range(2, 4), 0))
    for one, other in zip(whole, late, strict=True):
        assert all(torch.equal(a["image"], b["image"]) for a, b in zip(one, other, strict=True))


def test_a_worker_makes_the_same_batches(split: Split) -> None:
    here, there = (list(training_batches(split, TINY, 0, range(2), workers)) for workers in (0, 1))
    for one, other in zip(here, there, strict=True):
        assert all(torch.equal(a["image"], b["image"]) for a, b in zip(one, other, strict=True))


def test_boxes_and_masks_follow_the_image_when_it_is_enlarged_and_flipped(split: Split) -> None:
    changed = replace(TINY, train_sizes=(128,), longest=128, flip=1.0)
    (example,) = next(training_batches(split, replace(changed, batch_size=1), 0, range(1), 0))
    instances = example["instances"]
    for box, mask in zip(instances.gt_boxes.tensor, instances.gt_masks.tensor, strict=True):
        rows, columns = torch.where(mask)
        tight = torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        assert (box - tight).abs().max() <= 1
    assert example["image"].shape == (3, 128, 128)


def test_a_flip_mirrors_the_image(split: Split) -> None:
    one, mirrored = (
        next(training_batches(split, replace(TINY, batch_size=1, flip=flip), 0, range(1), 0))[0]["image"]
        for flip in (0.0, 1.0)
    )
    assert torch.equal(mirrored, one.flip(2))


def test_the_shorter_side_is_drawn_among_the_sizes(split: Split) -> None:
    sizes = replace(TINY, train_sizes=(32, 48), batch_size=4)
    found = {example["image"].shape[1] for batch in training_batches(split, sizes, 0, range(4), 0) for example in batch}
    assert found == {32, 48}


def test_masks_of_polygons_stay_polygons(tmp_path: Path) -> None:
    tiny_coco(tmp_path / "coco")
    with_polygons(tmp_path / "coco")
    split = tiny_coco(tmp_path / "coco")[0]
    (example, *_) = next(training_batches(split, TINY, 0, range(1), 0))
    assert type(example["instances"].gt_masks).__name__ == "PolygonMasks"


def test_an_image_of_crowds_alone_is_not_trained_on(split: Split) -> None:
    first = split.images[0]["id"]
    crowds = [dict(each, iscrowd=1) for each in split.annotations[first]]
    changed = replace(split, annotations={**split.annotations, first: crowds})
    assert usable(changed) == [1, 2, 3]


def test_a_split_of_crowds_alone_is_an_error(split: Split) -> None:
    crowds = {number: [dict(each, iscrowd=1) for each in some] for number, some in split.annotations.items()}
    with pytest.raises(ValueError, match="has no object to train on, only crowds"):
        usable(replace(split, annotations=crowds))


def test_an_image_that_cannot_be_read_is_named_with_its_id(split: Split) -> None:
    split.path(split.images[1]).write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"000002\.png: found .*not an image.* lists it as image id 2$"):
        list(scored_images(split, TINY, 0))


def test_an_image_of_another_size_than_listed_is_named(split: Split) -> None:
    Image.new("RGB", (10, 20)).save(split.path(split.images[0]))
    with pytest.raises(ValueError, match=r"000001\.png, image id 1, is 20 x 10 upright; .* lists it as 64 x 64"):
        read_pixels(split, 0, TINY)


@pytest.mark.parametrize("ending", ["jpg", "png", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pixels_lie_where_detectron2s_reader_puts_them(orientation: int, ending: str, split: Split) -> None:
    image = Image.fromarray(np.arange(64 * 32 * 3, dtype=np.uint8).reshape(64, 32, 3))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = split.folder / f"turned.{ending}"
    image.save(path, exif=exif)
    theirs = data.detection_utils.read_image(str(path), "RGB")
    sides = dict(zip(("height", "width"), theirs.shape, strict=False))
    turned = replace(split, images=({**split.images[0], **sides, "file_name": path.name},))
    assert np.array_equal(read_pixels(turned, 0, TINY), theirs)
    check_header(turned, turned.images[0])


def test_a_narrow_strip_keeps_a_pixel(split: Split) -> None:
    Image.new("RGB", (900, 1)).save(split.path(split.images[0]))
    strip = replace(split, images=({**split.images[0], "height": 1, "width": 900},))
    ((example,),) = scored_images(strip, TINY, 0)
    assert example["image"].shape == (3, 1, TINY.longest)


def test_weights_of_msra_see_blue_first(split: Split) -> None:
    rgb, bgr = (read_pixels(split, 0, replace(TINY, pixels=pixels)) for pixels in ("rgb", "msra"))  # type: ignore[arg-type]
    assert (rgb[:, :, ::-1] == bgr).all()


def test_scored_images_come_in_order_and_once(split: Split) -> None:
    numbers = [example["image_id"] for examples in scored_images(split, TINY, 0) for example in examples]
    assert numbers == [1, 2, 3, 4]
