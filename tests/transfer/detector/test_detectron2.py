"""What Detectron2 is given back so that it runs on packages of today, and that it then computes what it should."""

from __future__ import annotations

import itertools
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from compmod.transfer.detector import detectron2 as detectron
from compmod.transfer.detector.detectron2 import data, layers, modeling, structures, transforms
from PIL import Image


def run_alone(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=120)


def test_it_is_imported_without_a_warning() -> None:
    done = run_alone("from compmod.transfer.detector.detectron2 import layers, utils")
    assert done.returncode == 0, done.stderr


def test_importing_our_file_imports_no_detectron2_and_changes_no_other_package() -> None:
    code = (
        "import sys, numpy, torch, PIL.Image\nbefore = set(vars(PIL.Image)), set(vars(numpy)), list(sys.path)\n"
        "import compmod.transfer.detector.detectron2\n"
        "assert before == (set(vars(PIL.Image)), set(vars(numpy)), list(sys.path))\n"
        "assert 'detectron2' not in sys.modules and 'detectron2._C' not in sys.modules"
    )
    done = run_alone(code)
    assert done.returncode == 0, done.stderr


def test_it_is_the_detectron2_that_was_found() -> None:
    code = (
        "from pathlib import Path\nfrom compmod.transfer.detector.detectron2 import layers\nimport detectron2\n"
        "from compmod.transfer.detector.install import find\n"
        "assert Path(detectron2.__file__).parents[1] == find().folder, detectron2.__file__"
    )
    done = run_alone(code)
    assert done.returncode == 0, done.stderr


def test_its_transforms_find_pillows_old_name_for_bilinear() -> None:
    assert Image.LINEAR == Image.BILINEAR  # type: ignore[attr-defined]
    resized = transforms.ResizeTransform(4, 4, 8, 6).apply_image(np.zeros((4, 4, 3), dtype=np.uint8))
    assert resized.shape == (8, 6, 3)


def test_polygons_become_masks_with_numpys_old_name_for_bool() -> None:
    masks = structures.PolygonMasks([[np.array([1.0, 1, 5, 1, 5, 5, 1, 5])]])
    cropped = masks.crop_and_resize(torch.tensor([[0.0, 0, 8, 8]]), 8)
    assert cropped.dtype == torch.bool
    assert int(cropped.sum()) == 16


def test_classes_are_counted_with_numpys_old_name_for_int() -> None:
    data.build.print_instances_class_histogram([{"annotations": [{"category_id": 0}]}], ["digit"])


def test_anchors_stand_row_by_row_at_every_stride() -> None:
    makes = modeling.anchor_generator.DefaultAnchorGenerator(
        sizes=[[8]], aspect_ratios=[[1.0]], strides=[4], offset=0.0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (boxes,) = makes([torch.zeros(1, 1, 2, 3)])
    centres = boxes.get_centers().tolist()
    assert centres == [[4.0 * column, 4.0 * row] for row, column in itertools.product(range(2), range(3))]


@pytest.mark.parametrize("place", [torch.device("cpu"), torch.zeros(1)], ids=["device, as in 0.6", "tensor, as since"])
def test_grids_are_made_where_either_version_asks_for_them(place: object) -> None:
    columns, rows = detectron._grid_offsets([1, 2], 16, 0.5, place)
    assert (columns.tolist(), rows.tolist()) == ([8.0, 24.0], [8.0, 8.0])


def test_overlaps_are_suppressed_without_compiled_operations() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 9]])
    kept = layers.batched_nms(boxes, torch.tensor([0.9, 0.8, 0.7]), torch.tensor([0, 0, 1]), 0.5)
    assert kept.tolist() == [0, 2]


def test_regions_are_pooled_without_compiled_operations() -> None:
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    pooled = layers.ROIAlign((2, 2), 1.0, 0, aligned=True)(ramp, torch.tensor([[0.0, 0, 0, 8, 8]]))
    assert pooled.flatten().tolist() == pytest.approx([1.5, 5.5, 1.5, 5.5])
