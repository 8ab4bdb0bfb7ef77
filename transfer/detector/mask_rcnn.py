"""Mask R-CNN: Detectron2's model around a trunk of ours, every number of it written here or in its spec.

What a spec leaves open is as in Detectron2's defaults (config/defaults.py, v0.6), which MoCo's detection code (He et
al., CVPR 2020) keeps: matching thresholds, shares of positives, box codings, pooling. From that code are the norm after
the last stage and the normalisation that is trained everywhere; the pyramid is Detectron2's own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ...pretrain.runtime.randomness import generator
from ..spec import Detection, Detector
from ..weights.convert import Converted, load_trunk
from .detectron2 import layers, modeling
from .trunk import build_res5, build_trunk

LEVELS = 255  # of a pixel
MSRA_MEAN = (103.530, 116.280, 123.675)  # blue, green, red; Detectron2's default, for weights divided by nothing
SHAPES = (0.5, 1.0, 2.0)  # of anchors, height over width
ANCHORS = {"thresholds": [0.3, 0.7], "labels": [0, -1, 1]}  # overlap: background, ignored, object
REGIONS = {"thresholds": [0.5], "labels": [0, 1]}
RPN_REGIONS, RPN_POSITIVE = 256, 0.5  # anchors of an image that the proposals learn from, and most of them objects
POSITIVE = 0.25  # of the regions that the heads learn from
BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
SCORE, OVERLAP = 0.05, 0.5  # least score of a detection; overlap at which the weaker of two of a class is dropped
C4_POOLED, FPN_POOLED = 14, 7  # side of a pooled region
MASK_POOLED, MASK_CHANNELS = 14, 256
PYRAMID_CHANNELS, BOX_CHANNELS = 256, 1_024


def build_detector(spec: Detection, classes: int, weights: Converted, norm: str = "BN") -> Any:
    """A GeneralizedRCNN with the trunk's weights in it; the rest is drawn from the seed.

    `norm` is BN in one process and naiveSyncBN, Detectron2's name for it, where several share a batch.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator(spec.run.seed, "detector").initial_seed())
        model = (_c4 if spec.detector.architecture == "c4" else _fpn)(spec, classes, norm)
    if spec.detector.architecture == "c4":
        load_trunk(weights, model.backbone, model.roi_heads, fresh=("res5.norm",))
    else:
        load_trunk(weights, model.backbone.bottom_up)
    return model


def pixel_statistics(spec: Detection) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each channel in 0 to 255: what the trunk was pretrained with."""
    if spec.detector.pixels == "msra":
        return MSRA_MEAN, (1.0, 1.0, 1.0)
    dataset = spec.run.data
    mean, std = (tuple(round(LEVELS * value, 3) for value in values) for values in (dataset.mean, dataset.std))
    return mean, std


def _c4(spec: Detection, classes: int, norm: str) -> Any:
    """Proposals from the third stage; the fourth, on pooled regions, is the head that boxes and masks share."""
    detector, in_1x1 = spec.detector, spec.detector.pixels == "msra"
    backbone = build_trunk(spec.run.backbone, norm, ("res4",), stride_in_1x1=in_1x1)
    shape = backbone.output_shape()["res4"]
    res5, channels = build_res5(spec.run.backbone, norm, stride_in_1x1=in_1x1)
    res5.add_module("norm", layers.get_norm(norm, channels))
    heads = modeling.roi_heads.Res5ROIHeads(
        in_features=["res4"],
        pooler=_pooler(C4_POOLED, [shape.stride]),
        res5=res5,
        box_predictor=_boxes(detector, classes, layers.ShapeSpec(channels=channels, height=1, width=1)),
        mask_head=_masks(classes, layers.ShapeSpec(channels=channels), [MASK_CHANNELS]),
        **_sampling(detector, classes),
    )
    proposals = _proposals(detector, ["res4"], shape.channels, [shape.stride], [list(detector.anchors)])
    return _whole(spec, backbone, proposals, heads)


def _fpn(spec: Detection, classes: int, norm: str) -> Any:
    """A pyramid over all four stages, an anchor size a level, and heads of their own for boxes and masks."""
    detector = spec.detector
    stages = ["res2", "res3", "res4", "res5"]
    in_1x1 = detector.pixels == "msra"
    trunk = build_trunk(spec.run.backbone, norm, tuple(stages), stride_in_1x1=in_1x1)
    coarsest = modeling.backbone.fpn.LastLevelMaxPool()
    coarsest.in_feature = f"p{trunk.output_shape()['res5'].stride.bit_length() - 1}"  # p5 with a large-image stem
    backbone = modeling.FPN(bottom_up=trunk, in_features=stages, out_channels=PYRAMID_CHANNELS, top_block=coarsest)
    shapes = backbone.output_shape()
    levels, strides = list(shapes), [shape.stride for shape in shapes.values()]
    pooled = levels[:-1]  # the coarsest is for proposals alone
    box_head = modeling.roi_heads.FastRCNNConvFCHead(
        layers.ShapeSpec(channels=PYRAMID_CHANNELS, height=FPN_POOLED, width=FPN_POOLED),
        conv_dims=[],
        fc_dims=[BOX_CHANNELS, BOX_CHANNELS],
    )
    heads = modeling.roi_heads.StandardROIHeads(
        box_in_features=pooled,
        box_pooler=_pooler(FPN_POOLED, strides[:-1]),
        box_head=box_head,
        box_predictor=_boxes(detector, classes, box_head.output_shape),
        mask_in_features=pooled,
        mask_pooler=_pooler(MASK_POOLED, strides[:-1]),
        mask_head=_masks(classes, layers.ShapeSpec(channels=PYRAMID_CHANNELS), [MASK_CHANNELS] * 5),
        **_sampling(detector, classes),
    )
    proposals = _proposals(detector, levels, PYRAMID_CHANNELS, strides, _one_a_level(detector, len(levels)))
    return _whole(spec, backbone, proposals, heads)


def _one_a_level(detector: Detector, levels: int) -> list[list[int]]:
    if len(detector.anchors) != levels:
        raise ValueError(
            f"Detector.anchors must be {levels} with architecture 'fpn', one a level, not {detector.anchors}"
        )
    return [[anchor] for anchor in detector.anchors]


def _proposals(
    detector: Detector, features: list[str], channels: int, strides: list[int], anchors: list[list[int]]
) -> nn.Module:
    makers = modeling.proposal_generator.rpn
    before, after = zip(detector.train_proposals, detector.test_proposals, strict=True)
    network: nn.Module = makers.RPN(
        in_features=features,
        head=makers.StandardRPNHead(in_channels=channels, num_anchors=len(SHAPES) * len(anchors[0])),
        anchor_generator=modeling.anchor_generator.DefaultAnchorGenerator(
            sizes=anchors, aspect_ratios=[list(SHAPES)], strides=strides, offset=0.0
        ),
        anchor_matcher=modeling.matcher.Matcher(**ANCHORS, allow_low_quality_matches=True),
        box2box_transform=modeling.box_regression.Box2BoxTransform(weights=(1.0, 1.0, 1.0, 1.0)),
        batch_size_per_image=RPN_REGIONS,
        positive_fraction=RPN_POSITIVE,
        pre_nms_topk=before,
        post_nms_topk=after,
    )
    return network


def _sampling(detector: Detector, classes: int) -> dict[str, Any]:
    return {
        "num_classes": classes,
        "batch_size_per_image": detector.regions,
        "positive_fraction": POSITIVE,
        "proposal_matcher": modeling.matcher.Matcher(**REGIONS, allow_low_quality_matches=False),
    }


def _pooler(side: int, strides: list[int]) -> nn.Module:
    pooler: nn.Module = modeling.poolers.ROIPooler(
        output_size=side, scales=[1 / stride for stride in strides], sampling_ratio=0, pooler_type="ROIAlignV2"
    )
    return pooler


def _boxes(detector: Detector, classes: int, shape: Any) -> nn.Module:
    predictor: nn.Module = modeling.roi_heads.FastRCNNOutputLayers(
        shape,
        box2box_transform=modeling.box_regression.Box2BoxTransform(weights=BOX_WEIGHTS),
        num_classes=classes,
        test_score_thresh=SCORE,
        test_nms_thresh=OVERLAP,
        test_topk_per_image=detector.detections,
    )
    return predictor


def _masks(classes: int, shape: Any, channels: list[int]) -> nn.Module:
    """Convolutions, all but the last of 3 x 3; the last doubles the side."""
    head: nn.Module = modeling.roi_heads.MaskRCNNConvUpsampleHead(shape, num_classes=classes, conv_dims=channels)
    return head


def _whole(spec: Detection, backbone: nn.Module, proposals: nn.Module, heads: nn.Module) -> Any:
    mean, std = pixel_statistics(spec)
    return modeling.GeneralizedRCNN(
        backbone=backbone, proposal_generator=proposals, roi_heads=heads, pixel_mean=mean, pixel_std=std
    )
