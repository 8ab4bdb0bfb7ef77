"""Mask R-CNN: the published numbers are in the model, the trunk's weights too, and every trunk of ours fits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from compmod.pretrain.networks.build import build_backbone
from compmod.pretrain.recipes.presets import preset
from compmod.pretrain.specs.run import Backbone
from compmod.transfer.detector.mask_rcnn import build_detector, pixel_statistics
from compmod.transfer.spec import Detection, Detector, detector
from compmod.transfer.weights.convert import to_detectron2
from tiny_detections import RUN, SPEC, TINY
from torch import nn

NARROW = Backbone(name="resnet50", width=2, stem="large")
PAPER = Detection(run=replace(preset("simclr", "imagenet"), backbone=NARROW))
MSRA = Detection(run=replace(PAPER.run, epochs=0), detector=Detector(pixels="msra"), weights="0" * 64)


def built(spec: Detection, classes: int = 80, norm: str = "BN") -> Any:
    torch.manual_seed(3)
    weights = build_backbone(spec.run.backbone, 16).state_dict()
    return build_detector(spec, classes, to_detectron2(weights), norm)


@pytest.fixture(scope="module")
def model() -> Any:
    return built(PAPER)


def test_there_is_one_more_norm_after_the_last_stage(model: Any) -> None:
    res5 = model.roi_heads.res5
    assert list(res5._modules) == ["0", "1", "2", "norm"]
    assert isinstance(res5.norm, nn.BatchNorm2d)
    assert res5.norm.num_features == 2 * 8 * 4


def test_every_parameter_is_trained(model: Any) -> None:
    assert [name for name, parameter in model.named_parameters() if not parameter.requires_grad] == []


def test_no_norm_is_frozen(model: Any) -> None:
    assert {type(module).__name__ for module in model.modules() if "Norm" in type(module).__name__} == {"BatchNorm2d"}


def test_several_processes_share_their_norms() -> None:
    norms = {type(module).__name__ for module in built(PAPER, norm="naiveSyncBN").modules()}
    assert "NaiveSyncBatchNorm" in norms
    assert "BatchNorm2d" not in norms


def test_proposals_are_6000_and_1000_when_scored(model: Any) -> None:
    proposals = model.proposal_generator
    assert (proposals.pre_nms_topk[False], proposals.post_nms_topk[False]) == (6_000, 1_000)
    assert (proposals.pre_nms_topk[True], proposals.post_nms_topk[True]) == (12_000, 2_000)


def test_the_stride_is_in_the_3_x_3_convolution(model: Any) -> None:
    block = model.roi_heads.res5[0]
    assert (block.conv1.stride, block.conv2.stride) == ((1, 1), (2, 2))


def test_msra_weights_have_the_stride_in_the_1_x_1_convolution() -> None:
    block = built(MSRA).roi_heads.res5[0]
    assert (block.conv1.stride, block.conv2.stride) == ((2, 2), (1, 1))


def test_imagenets_pixels_are_normalised_as_published(model: Any) -> None:
    assert model.pixel_mean.flatten().tolist() == pytest.approx([123.675, 116.280, 103.530])
    assert model.pixel_std.flatten().tolist() == pytest.approx([58.395, 57.120, 57.375])


def test_msra_pixels_are_blue_first_and_undivided() -> None:
    assert pixel_statistics(MSRA) == ((103.530, 116.280, 123.675), (1.0, 1.0, 1.0))


def test_a_trunk_of_digits_sees_pixels_normalised_as_it_was_pretrained() -> None:
    assert pixel_statistics(SPEC) != pixel_statistics(PAPER)


def test_masks_of_28_pixels_come_from_the_pyramid_and_of_14_from_the_last_stage(model: Any) -> None:
    pyramid = built(replace(PAPER, detector=detector("1x", "coco", "fpn"))).roi_heads
    assert pyramid.mask_pooler.output_size == (14, 14)
    assert len(pyramid.mask_head.conv_norm_relus) == 4
    assert model.roi_heads.mask_head.conv_norm_relus == []


def test_the_trunks_weights_are_in_the_model() -> None:
    torch.manual_seed(3)
    weights = build_backbone(NARROW, 16).state_dict()
    model = build_detector(PAPER, 80, to_detectron2(weights))
    assert torch.equal(model.backbone.stem.conv1.weight, weights["conv1.weight"])
    assert torch.equal(model.roi_heads.res5[2].conv3.weight, weights["layer4.2.conv3.weight"])


def test_heads_are_drawn_from_the_seed_alone() -> None:
    one = built(PAPER)
    torch.manual_seed(99)
    same, other = built(PAPER), built(replace(PAPER, run=replace(PAPER.run, seed=1)))
    first, again, different = (each.roi_heads.mask_head.predictor.weight for each in (one, same, other))
    assert torch.equal(first, again)
    assert not torch.equal(first, different)


def test_building_leaves_the_global_random_state_alone() -> None:
    weights = to_detectron2(build_backbone(NARROW, 16).state_dict())
    before = torch.get_rng_state()
    build_detector(PAPER, 80, weights)
    assert torch.equal(before, torch.get_rng_state())


def test_a_pyramid_wants_an_anchor_a_level() -> None:
    with pytest.raises(ValueError, match=r"anchors must be 5 with architecture 'fpn', one a level"):
        built(replace(PAPER, detector=replace(detector("1x", "coco", "fpn"), anchors=(32, 64))))


TRUNKS = [
    Backbone(name=name, width=2, stem=stem)  # type: ignore[arg-type]
    for name in ("resnet10", "resnet18", "resnet50")
    for stem in ("small", "small-pool", "large")
]


@pytest.mark.parametrize("architecture", ["c4", "fpn"])
@pytest.mark.parametrize("backbone", TRUNKS, ids=lambda trunk: f"{trunk.name}-{trunk.stem}")
def test_every_trunk_of_ours_finds_something(backbone: Backbone, architecture: str) -> None:
    settings = replace(TINY, architecture=architecture, anchors=(8, 16, 32, 64, 128))  # type: ignore[arg-type]
    model = built(Detection(run=replace(RUN, backbone=backbone), detector=settings), classes=10).eval()
    with torch.inference_mode():
        (found,) = model([{"image": torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)}])
    instances = found["instances"]
    assert len(instances) > 0
    assert instances.pred_masks.shape[1:] == (64, 64)
