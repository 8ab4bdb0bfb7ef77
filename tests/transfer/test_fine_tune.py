"""The engine: rates, weight decay, a run from trunk to average precision, and exact resuming."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from compmod.pretrain.records.record import Record
from compmod.pretrain.training import checkpoint
from compmod.pretrain.training.divergence import NonFiniteLoss
from compmod.pretrain.training.interruption import Interrupted, Stop
from compmod.slurm.task.failures import classify
from compmod.transfer import fine_tune as engine
from compmod.transfer.fine_tune import DetectorTrainer, build_optimizer, learning_rate, transfer
from compmod.transfer.spec import Detector
from tiny_detections import QUIET, RUN, SPEC, TINY, tiny_coco
from tiny_fine_tunings import finish
from torch import nn

NAMES = [f"{task}/{figure}" for task in ("bbox", "segm") for figure in ("AP", "AP50", "AP75")]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    tiny_coco(tmp_path / "tiny")
    finish(tmp_path / "runs", RUN)
    return tmp_path / "runs"


def weights_after(runs: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The model's state when scoring begins."""
    states: list[dict[str, Any]] = []
    original = engine.detect

    def keep(model: nn.Module, *arguments: Any) -> Any:
        states.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return original(model, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(engine, "detect", keep)
        transfer(runs, SPEC, runs.parent / "tiny", QUIET)
    return states[0]


def test_the_rate_rises_from_a_thousandth_and_falls_twice() -> None:
    detector = Detector()
    assert learning_rate(detector, 0) == pytest.approx(0.02 * 0.001)
    assert learning_rate(detector, 500) == pytest.approx(0.02 * 0.5005)
    assert [learning_rate(detector, step) for step in (1_000, 59_999)] == [0.02, 0.02]
    assert learning_rate(detector, 60_000) == pytest.approx(0.002)
    assert learning_rate(detector, 80_000) == pytest.approx(0.0002)


def test_without_a_warm_up_the_first_rate_is_the_peak() -> None:
    assert learning_rate(replace(Detector(), warmup_iterations=0), 0) == 0.02


def test_norms_alone_have_no_weight_decay() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Linear(2, 2))
    groups = build_optimizer(model, Detector()).param_groups
    decays = {id(parameter): group["weight_decay"] for group in groups for parameter in group["params"]}
    assert [decays[id(parameter)] for parameter in model.parameters()] == [1e-4, 1e-4, 0, 0, 1e-4, 1e-4]


def test_a_finished_detection_has_the_six_figures_as_shares(runs: Path) -> None:
    record = transfer(runs, SPEC, runs.parent / "tiny", QUIET)
    assert record.status == "done"
    assert record.results is not None
    assert all(0 <= record.results[name] <= 1 for name in NAMES)


def test_a_finished_detection_says_what_made_it(runs: Path) -> None:
    origin = transfer(runs, SPEC, runs.parent / "tiny", QUIET).provenance
    assert origin is not None
    assert set(origin["detectron2"].split()) & {"(archive)", "(installed)"}
    assert {"DetectorTrainer", "draw_scenes"} <= set(origin["source"])
    assert len(origin["data_digest"]) == len(origin["train_digest"]) == 64


def test_the_detections_are_kept(runs: Path) -> None:
    record = transfer(runs, SPEC, runs.parent / "tiny", QUIET)
    kept = json.loads((record.path / "detections.json").read_text())["detections"]
    assert record.results is not None
    assert len(kept) == record.results["detections"]


def test_a_finished_detection_is_returned_at_once(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    transfer(runs, SPEC, runs.parent / "tiny", QUIET)
    monkeypatch.setattr(DetectorTrainer, "fit", lambda self: 1 / 0)
    assert transfer(runs, SPEC, runs.parent / "tiny", QUIET).status == "done"


def test_training_moves_every_part_of_the_detector(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before: list[dict[str, Any]] = []
    original = DetectorTrainer.fit

    def keep(self: DetectorTrainer) -> None:
        before.append({name: tensor.clone() for name, tensor in self.model.state_dict().items()})
        original(self)

    monkeypatch.setattr(DetectorTrainer, "fit", keep)
    after = weights_after(runs, monkeypatch)
    still = [name for name, tensor in after.items() if torch.equal(tensor, before[0][name])]
    assert [name for name in still if name.endswith(("weight", "running_mean"))] == []


@pytest.mark.parametrize("last", [1, 4])
def test_a_stopped_detection_goes_on_to_the_same_bits(
    runs: Path, last: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(tmp_path / "straight" / "runs", RUN)
    tiny_coco(tmp_path / "straight" / "tiny")
    straight = weights_after(tmp_path / "straight" / "runs", monkeypatch)
    original = DetectorTrainer._train_step

    def stopping(self: DetectorTrainer, examples: list[dict[str, Any]]) -> None:
        original(self, examples)
        if self.step == last:
            self.stop.signal_name = "SIGTERM"

    with monkeypatch.context() as patched:
        patched.setattr(DetectorTrainer, "_train_step", stopping)
        with pytest.raises(Interrupted):
            transfer(runs, SPEC, runs.parent / "tiny", QUIET)
    assert [path.name for path in (runs / SPEC.folder / "checkpoints").iterdir()] == [f"step-{last:09d}.pt"]
    torch.manual_seed(1234)
    resumed = weights_after(runs, monkeypatch)
    assert straight.keys() == resumed.keys()
    assert [name for name in straight if not torch.equal(straight[name], resumed[name])] == []


def test_one_stopped_while_scoring_trains_no_more(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = engine.detect

    def stopped(model: Any, split: Any, detector: Any, workers: Any, each: Any) -> Any:
        each.__self__.stop.signal_name = "SIGTERM"
        return original(model, split, detector, workers, each)

    with monkeypatch.context() as patched:
        patched.setattr(engine, "detect", stopped)
        with pytest.raises(Interrupted):
            transfer(runs, SPEC, runs.parent / "tiny", QUIET)
    monkeypatch.setattr(DetectorTrainer, "_train_step", lambda self, examples: 1 / 0)
    assert transfer(runs, SPEC, runs.parent / "tiny", QUIET).status == "done"


def test_other_data_than_it_was_begun_with_are_refused(runs: Path, tmp_path: Path) -> None:
    other = tiny_coco(tmp_path / "other", train=3)
    record = Record(runs, SPEC)
    record.start()
    trunk = engine.trunk_weights(runs, SPEC, None)
    begun = DetectorTrainer(record, SPEC, trunk, tiny_coco(tmp_path / "tiny"), QUIET, Stop())
    begun.clock = 0.0
    begun._save()
    with pytest.raises(ValueError, match=r"is of other data: the train images of COCO 2017 .* another name for --coco"):
        DetectorTrainer(record, SPEC, trunk, other, QUIET, Stop())._load()


def test_a_loss_that_is_not_finite_ends_it(runs: Path) -> None:
    wild = replace(SPEC, detector=replace(TINY, lr=1e30, warmup_iterations=0))
    with pytest.raises(NonFiniteLoss, match="a longer warm-up is the usual cure") as caught:
        transfer(runs, wild, runs.parent / "tiny", QUIET)
    assert classify(error=caught.value) == "diverged"
    assert Record(runs, wild).status == "failed"


def test_a_fault_of_the_folder_is_named_before_anything_is_made(runs: Path) -> None:
    (runs.parent / "tiny" / "val2017" / "000001.png").unlink()
    with pytest.raises(ValueError, match="image id 1 is missing"):
        transfer(runs, SPEC, runs.parent / "tiny", QUIET)
    assert Record(runs, SPEC).status == "absent"


def test_an_unfinished_run_is_refused(runs: Path) -> None:
    other = replace(SPEC, run=replace(RUN, seed=5))
    with pytest.raises(ValueError, match="is absent, not done; finish it first"):
        transfer(runs, other, runs.parent / "tiny", QUIET)


def test_scenes_are_drawn_into_the_detections_own_folder(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compmod.transfer.data.digit_scenes.SCENES", {"train2017": 3, "val2017": 1})
    spec = replace(SPEC, data="digit-scenes", copy="")
    record = transfer(runs, spec, Path(), QUIET)
    assert (record.results or {})["test_images"] == 1
    assert (record.path / "digit-scenes" / "annotations").is_dir()


def test_the_checkpoint_is_read_without_pickled_code(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    states: list[dict[str, Any]] = []
    monkeypatch.setattr(checkpoint, "save", lambda folder, step, state: states.append(state))
    transfer(runs, SPEC, runs.parent / "tiny", QUIET)
    monkeypatch.undo()
    checkpoint.save(runs, 6, states[-1])
    assert (checkpoint.load_newest(runs) or {})["step"] == 6


def other_pictures(folder: Path) -> None:
    """The same annotations, another picture under an old name."""
    images = sorted((folder / "val2017").glob("*.png"))
    images[0].write_bytes(images[1].read_bytes())


def other_annotations(folder: Path) -> None:
    file = folder / "annotations" / "instances_val2017.json"
    document = json.loads(file.read_text())
    document["annotations"][0]["area"] += 1
    file.write_text(json.dumps(document))


@pytest.mark.parametrize("change", [other_pictures, other_annotations], ids=lambda change: change.__name__)
def test_a_finished_detection_of_a_folder_that_has_changed_is_refused(change: Any, runs: Path, tmp_path: Path) -> None:
    folder = runs.parent / "tiny"
    record = transfer(runs, SPEC, folder, QUIET)
    assert transfer(runs, SPEC, tmp_path / "nowhere", QUIET).results == record.results
    change(folder)
    words = r"is of other data: the test images of COCO 2017 \(copy: tiny\) had the digest .* name for --coco"
    with pytest.raises(ValueError, match=words):
        transfer(runs, SPEC, folder, QUIET)
    other = replace(SPEC, detector=replace(TINY, lr=0.01))
    with pytest.raises(ValueError, match=words):  # two detections of one run on one name are of one folder
        transfer(runs, other, folder, QUIET)
    assert Record(runs, other).status == "absent"


@pytest.mark.parametrize("change", [{"digest": "0" * 12}, {"step": 10**6}, {"model": {}}, {"optimizer": {}}], ids=str)
def test_a_sound_checkpoint_that_does_not_fit_is_named(change: dict[str, Any], runs: Path, tmp_path: Path) -> None:
    record = Record(runs, SPEC)
    record.start()
    trunk = engine.trunk_weights(runs, SPEC, None)
    begun = DetectorTrainer(record, SPEC, trunk, tiny_coco(tmp_path / "tiny"), QUIET, Stop())
    begun.clock = 0.0
    begun._save()
    folder = record.path / "checkpoints"
    checkpoint.save(folder, 0, (checkpoint.load_newest(folder) or {}) | change)
    with pytest.raises(ValueError, match=r"checkpoint .*step-000000000\.pt .*move it away"):
        begun._load()
