"""Fine-tuning a finished run: exact resume, what is stored and refused, the sweep, and two processes equal to one."""

from __future__ import annotations

import functools
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compmod.pretrain.data.images import Images
from compmod.pretrain.evaluate import finetune as module
from compmod.pretrain.evaluate.classifier import Classifier
from compmod.pretrain.evaluate.finetune import fine_tune, sweep
from compmod.pretrain.evaluate.labelled import Labelled, labelled
from compmod.pretrain.records.record import Record
from compmod.pretrain.runtime.exit_status import INTERRUPTED
from compmod.pretrain.specs.measurement import FineTuning
from compmod.pretrain.specs.run import Backbone, Run
from compmod.pretrain.training.divergence import NonFiniteLoss
from compmod.pretrain.training.interruption import Interrupted
from compmod.pretrain.training.session import Session
from compmod.slurm.task.failures import classify
from PIL import Image
from tiny_fine_tunings import LINEAR, QUIET, RUN, SEMI, finish
from torch import Tensor


@functools.cache
def few(spec: FineTuning, root: Path) -> Labelled:
    """40 test images; digits are drawn once for all tests."""
    found = labelled(spec, root)
    return found._replace(test=found.test.take(np.arange(min(40, len(found.test)))))


@pytest.fixture(autouse=True)
def _few_test_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "labelled", few)


def test_a_fine_tuning_stores_its_numbers_and_where_they_come_from(tmp_path: Path) -> None:
    finish(tmp_path)
    record = fine_tune(tmp_path, SEMI, Path(), QUIET)
    results, origin = record.results, record.provenance
    assert results is not None
    assert origin is not None
    assert record.path.parent == Record(tmp_path, RUN).path
    last, accuracies = results["epochs"][-1], [row["top1"] for row in results["epochs"]]
    assert (results["top1"], results["top5"], results["loss"]) == (last["top1"], last["top5"], last["loss"])
    assert results["best_top1"] == max(accuracies)
    assert results["best_epoch"] == accuracies.index(max(accuracies)) + 1
    assert len(accuracies) == 3
    assert (results["split"], results["train_images"]) == ("all", 90)
    train, test, _ = few(SEMI, Path())
    assert (origin["digest"], origin["seed"]) == (SEMI.digest, 0)
    assert (origin["data_digest"], origin["train_digest"]) == (test.digest, train.digest)
    assert (origin["train_images"], origin["test_images"]) == (90, 40)
    assert RUN.backbone.width < 16  # oneDNN's channels-last kernels write beyond their memory there
    assert origin["memory_format"] == "contiguous"


def test_a_finished_folder_keeps_no_checkpoints(tmp_path: Path) -> None:
    finish(tmp_path)
    names = {path.name for path in fine_tune(tmp_path, LINEAR, Path(), QUIET).path.iterdir()}
    assert names == {"spec.json", "results.json", "provenance.json", "lock", "tensorboard"}


def test_a_stored_fine_tuning_is_opened_by_its_folder(tmp_path: Path) -> None:
    finish(tmp_path)
    assert Record.open(fine_tune(tmp_path, LINEAR, Path(), QUIET).path).spec == LINEAR


def test_a_finished_fine_tuning_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finish(tmp_path)
    first = fine_tune(tmp_path, LINEAR, Path(), QUIET).results
    monkeypatch.setattr(module, "FineTuner", None)
    assert fine_tune(tmp_path, LINEAR, Path(), QUIET).results == first


def test_an_unfinished_run_is_refused(tmp_path: Path) -> None:
    Record(tmp_path, RUN).start()
    with pytest.raises(ValueError, match="is unfinished, not done; finish it first"):
        fine_tune(tmp_path, LINEAR, Path(), QUIET)


def test_two_processes_do_not_fine_tune_the_same_run_apart(tmp_path: Path) -> None:
    finish(tmp_path)
    with Record(tmp_path, LINEAR).lock(), pytest.raises(ValueError, match="in use by another process"):
        fine_tune(tmp_path, LINEAR, Path(), QUIET)


class Interfering:
    """Stands in for `Classifier.update`: does as that does, and something else before one of the steps."""

    def __init__(self, step: int, act: Callable[[], None]) -> None:
        self.step, self.act, self.real = step, act, Classifier.update

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def update(model: Classifier, *given: Any) -> Tensor:
            self.step -= 1
            if self.step == 0:
                self.act()
            return self.real(model, *given)

        monkeypatch.setattr(Classifier, "update", update)


@pytest.mark.parametrize("spec", [LINEAR, SEMI], ids=["linear", "semi"])
@pytest.mark.parametrize("step", [2, 3, 5])  # of 3 an epoch
def test_a_signal_saves_and_the_same_call_goes_on_to_the_same_bits(
    spec: FineTuning, step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("straight", "stopped"):
        finish(tmp_path / folder)
    straight = fine_tune(tmp_path / "straight", spec, Path(), QUIET).results
    Interfering(step, lambda: os.kill(os.getpid(), signal.SIGTERM)).install(monkeypatch)
    with pytest.raises(Interrupted) as stopped:
        fine_tune(tmp_path / "stopped", spec, Path(), QUIET)
    assert stopped.value.code == INTERRUPTED
    record = Record(tmp_path / "stopped", spec)
    assert record.status == "unfinished"
    assert [path.name for path in (record.path / "checkpoints").glob("*.pt")][-1] == f"step-{step:09d}.pt"
    assert fine_tune(tmp_path / "stopped", spec, Path(), QUIET).results == straight


@pytest.mark.parametrize("spec", [LINEAR, SEMI], ids=["linear", "semi"])
def test_a_failure_loses_no_more_than_its_epoch(
    spec: FineTuning, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("straight", "failed"):
        finish(tmp_path / folder)
    straight = fine_tune(tmp_path / "straight", spec, Path(), QUIET).results

    def out_of_order() -> None:
        raise RuntimeError("out of order")

    Interfering(6, out_of_order).install(monkeypatch)
    with pytest.raises(RuntimeError, match="out of order"):
        fine_tune(tmp_path / "failed", spec, Path(), QUIET)
    record = Record(tmp_path / "failed", spec)
    assert record.status == "failed"
    assert (record.path / "checkpoints" / "step-000000003.pt").exists()
    again = Interfering(1000, out_of_order)
    again.install(monkeypatch)
    assert fine_tune(tmp_path / "failed", spec, Path(), QUIET).results == straight
    assert again.step == 1000 - 6  # steps 4 to 9


def test_a_loss_that_is_not_finite_stops_it(tmp_path: Path) -> None:
    finish(tmp_path)
    with pytest.raises(NonFiniteLoss, match="at or before step 3 of 9; no checkpoint was saved") as caught:
        fine_tune(tmp_path, replace(SEMI, backbone_lr=1e30), Path(), QUIET)
    assert "lower rates than head_lr 0.5 and backbone_lr 1e+30 are the usual cure" in str(caught.value)
    assert classify(error=caught.value) == "diverged"
    assert Record(tmp_path, replace(SEMI, backbone_lr=1e30)).status == "failed"


def coloured(count: int, seed: int) -> Images:
    """Noisy images of three classes: a red, a green and a blue one."""
    source = np.random.default_rng(seed)
    labels = source.permutation(np.arange(count) % 3)
    shades = 50 + 150 * np.eye(3, dtype=int)
    noise = source.integers(-20, 21, (count, 3, 16, 16))
    return Images((shades[labels][:, :, None, None] + noise).astype(np.uint8), labels, np.arange(count))


@pytest.mark.parametrize("backbone_lr", [0.0, 0.01], ids=["linear", "semi"])
def test_classes_that_can_be_told_apart_are_learnt(
    backbone_lr: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(tmp_path)
    monkeypatch.setattr(module, "labelled", lambda *_: Labelled(coloured(400, 1), coloured(100, 2), "all"))
    spec = replace(LINEAR, backbone_lr=backbone_lr, head_lr=1.0, epochs=12, batch_size=32)
    results = fine_tune(tmp_path, spec, Path(), QUIET).results
    assert results is not None
    assert results["top1"] > 0.9
    assert results["loss"] < results["epochs"][0]["loss"] / 3


@pytest.fixture
def imagenet(tmp_path: Path) -> Path:
    """A data root with a copy of ImageNet of three classes, of 5 and 2 images each."""
    source = np.random.default_rng(0)
    for part, count in (("train", 5), ("val", 2)):
        for name in ("n00000001", "n00000002", "n00000003"):
            folder = tmp_path / "data" / "tiny" / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = source.integers(0, 256, (40, 50, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{name}_{number}.JPEG")
    return tmp_path / "data"


def test_images_on_disk_give_the_same_numbers_by_any_number_of_workers(tmp_path: Path, imagenet: Path) -> None:
    backbone = Backbone(name="resnet10", width=1, stem="large")
    run = Run(method="simclr", dataset="imagenet", copy="tiny", backbone=backbone, batch_size=4)
    spec = FineTuning(run=run, epochs=2, batch_size=6, backbone_lr=0.01)
    found = []
    for workers in (0, 2):
        finish(tmp_path / str(workers), run)
        found.append(fine_tune(tmp_path / str(workers), spec, imagenet, replace(QUIET, workers=workers)).results)
    assert found[0] == found[1]
    assert found[0] is not None
    assert found[0]["train_images"] == 15


def test_the_sweep_chooses_on_validation_images_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    finish(tmp_path)
    asked = []

    def fake(runs: Path, spec: FineTuning, data: Path, session: Session) -> Record:
        asked.append((spec.head_lr, spec.split))
        if spec.head_lr == 30:
            raise NonFiniteLoss("too fast")
        record = Record(runs, spec)
        record.start()
        record.finish({"top1": {1.0: 0.5, 3.0: 0.75, 10.0: 0.75}.get(spec.head_lr, 0.1)}, {})
        return record

    monkeypatch.setattr(module, "fine_tune", fake)
    chosen = sweep(tmp_path, LINEAR, Path(), QUIET).spec
    assert chosen == replace(LINEAR, head_lr=3.0)
    assert asked == [(rate, "validation") for rate in (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)] + [(3.0, "test")]
    assert "head_lr 3 is chosen by validation top-1 (0.1: 0.1000, 0.3: 0.1000, 1: 0.5000" in capsys.readouterr().err


WORKER = """
import json, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from compmod.pretrain.evaluate.finetune import fine_tune
from compmod.pretrain.specs.measurement import FineTuning
from compmod.pretrain.training.session import Session
spec = FineTuning.from_dict(json.loads(sys.argv[2]))
fine_tune(Path(sys.argv[1]), spec, Path(), Session(device="cpu", quiet=True, workers=0))
"""


def together(runs: Path, spec: FineTuning, count: int) -> dict[str, Any]:
    """Results of so many processes that meet by gloo."""
    finish(runs)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(count)}
    children = []
    for number in range(count):
        environment = os.environ | meeting | {"RANK": str(number), "LOCAL_RANK": str(number), "OMP_NUM_THREADS": "1"}
        environment["PYTHONPATH"] = os.pathsep.join(sys.path)
        command = [sys.executable, "-c", WORKER, str(runs), json.dumps(spec.to_dict())]
        children.append(subprocess.Popen(command, env=environment))
    assert [child.wait(timeout=240) for child in children] == [0] * count
    found = Record(runs, spec).results
    assert found is not None
    return found


@pytest.mark.slow
@pytest.mark.parametrize("spec", [LINEAR, SEMI], ids=["linear", "semi"])
def test_two_processes_find_what_one_finds(spec: FineTuning, tmp_path: Path) -> None:
    spec = replace(spec, precision="float64", epochs=2)
    one, two = together(tmp_path / "one", spec, 1), together(tmp_path / "two", spec, 2)
    for mine, theirs in zip(two["epochs"], one["epochs"], strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-10)
        assert (mine["top1"], mine["top5"]) == (theirs["top1"], theirs["top5"])
