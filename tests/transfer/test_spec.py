"""Detection: the published settings, what the batch scales, which trunks and data go together, golden digests."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from compmod.pretrain.recipes.presets import preset
from compmod.pretrain.specs.run import Backbone, Run
from compmod.pretrain.specs.spec import Spec
from compmod.transfer.spec import SCHEDULES, Detection, Detector, detector

RUN = preset("simclr", "imagenet")
FOREIGN = Run(method="supervised", dataset="imagenet", epochs=0, backbone=Backbone(name="resnet50", stem="large"))


def test_the_default_is_sixteen_images_for_ninety_thousand_steps() -> None:
    assert (Detector().batch_size, Detector().iterations, Detector().drops) == (16, 90_000, (60_000, 80_000))


def test_twice_the_schedule_falls_at_120000_and_160000() -> None:
    assert (detector("2x").iterations, detector("2x").drops) == (180_000, (120_000, 160_000))


def test_half_the_batch_halves_the_rate_and_doubles_every_length() -> None:
    half = Detector().scaled(8)
    assert (half.batch_size, half.lr) == (8, 0.01)
    assert (half.iterations, half.warmup_iterations, half.drops) == (180_000, 2_000, (120_000, 160_000))


def test_the_same_batch_scales_nothing() -> None:
    assert Detector().scaled(16) == Detector()


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule_has_both_architectures(schedule: str) -> None:
    assert detector(schedule, "coco", "fpn").architecture == "fpn"  # type: ignore[arg-type]
    assert detector(schedule).architecture == "c4"  # type: ignore[arg-type]


def test_an_unknown_schedule_is_refused_with_those_known() -> None:
    with pytest.raises(ValueError, match="unknown schedule '3x'; known: 1x, 2x, demo"):
        detector("3x")  # type: ignore[arg-type]


def test_digit_scenes_have_the_demo_schedule_alone() -> None:
    with pytest.raises(ValueError, match="schedule '1x' is of coco; valid for digit-scenes: demo"):
        detector("1x", "digit-scenes")


def test_scenes_have_no_copies() -> None:
    with pytest.raises(ValueError, match="have no copies, such as 'coco-mini'"):
        Detection(run=RUN, data="digit-scenes", copy="coco-mini")


@pytest.mark.parametrize(
    "backbone, found", [(Backbone(name="pixels"), "pixels"), (Backbone(colours="lab"), "a pair of trunks on lab")]
)
def test_a_trunk_that_is_no_resnet_on_rgb_is_refused(backbone: Backbone, found: str) -> None:
    with pytest.raises(ValueError, match=f"a detector needs one ResNet on rgb images, not {found}"):
        Detection(run=Run(method="cmc", dataset="digits", epochs=0, backbone=backbone))


def test_drops_must_ascend() -> None:
    with pytest.raises(ValueError, match="drops must ascend"):
        Detector(drops=(80_000, 60_000))


def test_a_longer_side_below_the_shorter_is_refused() -> None:
    with pytest.raises(ValueError, match="longest 700 must be at least every shorter side"):
        Detector(longest=700)


def test_a_detection_lies_inside_the_folder_of_its_run() -> None:
    spec = Detection(run=RUN)
    assert spec.folder == f"{RUN.folder}/detection-{spec.digest}"


def test_foreign_weights_need_a_run_without_epochs() -> None:
    with pytest.raises(ValueError, match="weights from elsewhere need a run of 0 epochs, not 200"):
        Detection(run=replace(RUN, epochs=200), weights="0" * 64)


def test_msra_pixels_do_not_go_with_a_trunk_of_ours() -> None:
    with pytest.raises(ValueError, match=r"pixels 'msra' are of Detectron2's own weights; .* ours: rgb"):
        Detection(run=RUN, detector=Detector(pixels="msra"))


def test_a_copy_is_named_in_the_label_of_the_data() -> None:
    assert Detection(run=RUN, copy="coco-mini").data_label == "COCO 2017 (copy: coco-mini)"


@pytest.mark.parametrize("spec", [Detection(run=RUN, copy="coco-mini"), Detection(run=RUN, detector=detector("2x"))])
def test_a_detection_survives_json(spec: Spec) -> None:
    assert Spec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_another_seed_of_the_run_is_another_detection() -> None:
    assert Detection(run=RUN).digest != Detection(run=replace(RUN, seed=1)).digest


@pytest.mark.parametrize(
    "spec, digest",
    [
        (Detector(), "a1282ba35624"),
        (detector("2x"), "d756da2c8e27"),
        (Detection(run=FOREIGN), "a46b9318cc6c"),
        (Detection(run=FOREIGN, detector=Detector(pixels="msra"), weights="0" * 64), "cbdd01ca8e47"),
    ],
)
def test_digests_of_released_settings_never_change(spec: Spec, digest: str) -> None:
    # A failure here means that finished runs would be forgotten: give a new field a default that keeps old meaning.
    assert spec.digest == digest
