"""The named protocols against the table they were read from, and what a FineTuning refuses to be."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from compmod.pretrain.recipes.evaluation import LINEAR, SEMI, linear_protocol, named_protocol, semi_protocol
from compmod.pretrain.specs.measurement import FineTuning
from compmod.pretrain.specs.run import Backbone, Run

RUN = Run(method="simclr", dataset="imagenet")
STEPS = {"schedule": "steps", "drops": (60, 80), "drop_factor": 0.1}
COSINE = {"schedule": "cosine"}
# optimiser, momentum, Nesterov, rate for 256 images, batch, epochs, weight decay, schedule: the table of the sources
PUBLISHED = {
    "barlow_twins": ("sgd", 0.9, False, 0.3, 256, 100, 1e-6, COSINE),
    "moco": ("sgd", 0.9, False, 30, 256, 100, 0, STEPS),
    "simsiam": ("lars", 0.9, False, 0.1, 4096, 90, 0, COSINE),
    "vicreg": ("sgd", 0.9, False, 0.02, 256, 100, 1e-6, COSINE),
    "swav": ("sgd", 0.9, False, 0.3, 256, 100, 1e-6, COSINE),
    "byol": ("sgd", 0.9, True, 0.2, 1024, 80, 0, COSINE),
    "cmc": ("sgd", 0.9, False, 30, 256, 60, 0, {"schedule": "steps", "drops": (30, 40, 50), "drop_factor": 0.2}),
    "solo_learn": ("sgd", 0.9, False, 0.1, 256, 100, 0, STEPS),
}
RELEASED = {
    "linear barlow_twins": "9f8f2ccca3c7",
    "linear moco": "1ad324e419e3",
    "linear simsiam": "da199b3bf1aa",
    "linear vicreg": "3343084e2945",
    "linear swav": "9f8f2ccca3c7",
    "linear byol": "9d8ac7ceb0af",
    "linear cmc": "fd159d99052c",
    "linear solo_learn": "bb40847f2992",
    "semi 0.01 barlow_twins": "a1aec5cb83c3",
    "semi 0.1 barlow_twins": "d6b7d8e203d9",
    "semi 0.01 vicreg": "2c57e63855ac",
    "semi 0.1 vicreg": "3c246d715af6",
    "semi 0.01 swav": "144e2e134a1b",
    "semi 0.1 swav": "f0132bb2d81c",
    "semi 0.01 barlow_twins simclr": "b6c227225567",
}


def test_every_linear_protocol_is_held_to_the_table() -> None:
    assert LINEAR.keys() == PUBLISHED.keys()


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_linear_protocol_has_the_published_settings(name: str) -> None:
    optimizer, momentum, nesterov, rate, batch_size, epochs, decay, schedule = PUBLISHED[name]
    spec = linear_protocol(RUN, name)
    assert (spec.optimizer, spec.momentum, spec.nesterov) == (optimizer, momentum, nesterov)
    assert math.isclose(spec.head_lr * 256 / spec.batch_size, rate)
    assert (spec.batch_size, spec.epochs, spec.weight_decay) == (batch_size, epochs, decay)
    assert {name: getattr(spec, name) for name in schedule} == schedule
    assert (spec.backbone_lr, spec.share, spec.split) == (0, 1, "test")


@pytest.mark.parametrize(
    "name, share, backbone_lr, head_lr",
    [
        ("barlow_twins", 0.01, 0.005, 0.5),
        ("barlow_twins", 0.1, 0.005, 0.5),
        ("vicreg", 0.01, 0.03, 0.08),
        ("vicreg", 0.1, 0.01, 0.1),
        ("swav", 0.01, 0.02, 5),
        ("swav", 0.1, 0.01, 0.2),
    ],
)
def test_a_semi_supervised_protocol_has_the_published_settings(
    name: str, share: float, backbone_lr: float, head_lr: float
) -> None:
    spec = semi_protocol(RUN, share, name)
    assert (spec.share, spec.backbone_lr, spec.head_lr) == (share, backbone_lr, head_lr)
    assert (spec.optimizer, spec.momentum, spec.weight_decay, spec.batch_size, spec.epochs) == ("sgd", 0.9, 0, 256, 20)
    steps = ("steps", (12, 16), 0.2)
    assert (spec.schedule, spec.drops, spec.drop_factor) == (steps if name == "swav" else ("cosine", (), 0.1))


def test_views_are_crops_of_any_size_and_flips_alone() -> None:
    view = linear_protocol(RUN).augmentation
    assert (view.crop, view.crop_min, view.crop_max, view.flip, view.size) == (1, 0.08, 1, 0.5, 0)
    assert not any((view.jitter, view.grey, view.rotation, view.blur, view.solarize))


def test_a_protocol_lies_in_the_folder_of_its_run() -> None:
    spec = linear_protocol(RUN)
    assert spec.folder == f"{RUN.folder}/fine-tuning-{spec.digest}"


def test_no_two_protocols_share_a_folder_unless_they_are_the_same() -> None:
    specs = [linear_protocol(RUN, name) for name in LINEAR]
    specs += [semi_protocol(RUN, share, name) for name in SEMI for share in (0.01, 0.1)]
    assert len({spec.folder for spec in specs}) == len(specs) - 1  # SwAV's linear probe is Barlow Twins'


def test_the_folders_of_released_protocols_never_change() -> None:
    specs = {f"linear {name}": linear_protocol(RUN, name) for name in LINEAR}
    specs |= {f"semi {share} {name}": semi_protocol(RUN, share, name) for name in SEMI for share in (0.01, 0.1)}
    specs["semi 0.01 barlow_twins simclr"] = semi_protocol(RUN, 0.01, lists="simclr")
    found = {name: spec.digest for name, spec in specs.items()}
    assert found == RELEASED, "a default or a protocol changed: put the old value back, and name the new one anew"


def test_a_fine_tuning_survives_its_json_form() -> None:
    spec = semi_protocol(RUN, 0.1, "swav", lists="simclr")
    assert FineTuning.from_dict(spec.to_dict()) == spec


def test_the_published_lists_are_used_where_they_lie_and_of_the_whole_of_imagenet_alone(tmp_path: Path) -> None:
    assert named_protocol(RUN, "semi-1", "", tmp_path).lists == ""
    (tmp_path / "imagenet_subsets").mkdir()
    (tmp_path / "imagenet_subsets" / "1percent.txt").touch()
    assert named_protocol(RUN, "semi-1", "", tmp_path).lists == "simclr"
    assert named_protocol(RUN, "semi-10", "", tmp_path).lists == ""
    for other in (replace(RUN, dataset="imagenet100"), replace(RUN, copy="part"), replace(RUN, train_images=9000)):
        assert named_protocol(other, "semi-1", "", tmp_path).lists == ""


def test_the_command_s_protocols_are_the_named_ones(tmp_path: Path) -> None:
    assert named_protocol(RUN, "linear", "moco", tmp_path) == linear_protocol(RUN, "moco")
    assert named_protocol(RUN, "semi-10", "vicreg", tmp_path) == semi_protocol(RUN, 0.1, "vicreg")
    assert named_protocol(RUN, "semi-1", "", tmp_path) == semi_protocol(RUN, 0.01, "barlow_twins")


def test_an_unknown_protocol_is_answered_with_those_known() -> None:
    with pytest.raises(ValueError, match="unknown linear protocol 'dino'; known: barlow_twins, moco, simsiam, vicreg"):
        linear_protocol(RUN, "dino")
    with pytest.raises(ValueError, match="unknown semi-supervised protocol 'moco'; known: barlow_twins, vicreg, swav"):
        semi_protocol(RUN, 0.1, "moco")
    with pytest.raises(ValueError, match=r"no settings for a share of 0.5; known: 0.01, 0.1"):
        semi_protocol(RUN, 0.5)
    with pytest.raises(ValueError, match="unknown protocol 'semi-2'; known: linear, semi-1, semi-10"):
        named_protocol(RUN, "semi-2", "", Path())


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"share": 0.0}, "FineTuning.share must be above 0 and at most 1"),
        ({"lists": "simclr"}, "of the whole of imagenet, share 0.01 or 0.1"),
        ({"lists": "simclr", "share": 0.01, "run": replace(RUN, copy="part")}, "of the whole of imagenet"),
        ({"drops": (3,)}, "drops need schedule 'steps', not 'cosine'"),
        ({"nesterov": True, "optimizer": "lars"}, "nesterov needs optimizer 'sgd' with momentum"),
        ({"nesterov": True, "momentum": 0.0}, "nesterov needs optimizer 'sgd' with momentum"),
        (
            {"backbone_lr": 0.1, "run": replace(RUN, backbone=Backbone(name="pixels"), epochs=0)},
            "no parameters to fine-tune",
        ),
    ],
    ids=["share", "list", "list of a copy", "drops", "lars", "momentum", "pixels"],
)
def test_settings_that_contradict_each_other_are_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace(linear_protocol(RUN), **changes)  # type: ignore[arg-type]


def test_reading_a_protocol_imports_no_torch() -> None:
    code = "import sys, compmod.pretrain.recipes.evaluation; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "False"
