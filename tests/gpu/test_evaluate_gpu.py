"""CUDA: features, the linear probe, neighbours and fine-tuning give the CPU's numbers; resuming gives equal bits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from compmod.pretrain.data.images import Images
from compmod.pretrain.evaluate import finetune, splits
from compmod.pretrain.evaluate.features import extract
from compmod.pretrain.evaluate.finetune import fine_tune
from compmod.pretrain.evaluate.knn import knn_accuracy, nearest
from compmod.pretrain.evaluate.labelled import Labelled
from compmod.pretrain.evaluate.linear import linear_probe
from compmod.pretrain.evaluate.probe import evaluate
from compmod.pretrain.networks.build import build_backbone
from compmod.pretrain.runtime.randomness import permutation
from compmod.pretrain.specs.datasets import DATASETS
from compmod.pretrain.specs.measurement import Evaluation, FineTuning
from compmod.pretrain.specs.run import Backbone
from compmod.pretrain.training.interruption import Interrupted
from compmod.pretrain.training.session import Session
from gpu_device import DEVICE, signal_after, waits
from tiny_fine_tunings import LINEAR, RUN, SEMI, finish
from torch import Tensor

pytestmark = pytest.mark.gpu
SESSION = Session(device=DEVICE, quiet=True, workers=0)
STOPS = (2, 5)  # steps, of 9


def images(count: int, side: int, seed: int = 0) -> Images:
    """Random pixels, whose mean tells the class."""
    labels = np.arange(count) % 10
    noise = np.random.default_rng(seed).integers(0, 100, (count, 3, side, side))
    return Images((noise + 15 * labels[:, None, None, None]).astype(np.uint8), labels, np.arange(count))


def clusters(count: int, seed: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Rows of 64 features around ten centres, and which one."""
    source = torch.Generator().manual_seed(seed)
    centre_CD = torch.randn(10, 64, generator=torch.Generator().manual_seed(99))
    labels_N = torch.randint(10, (count,), generator=source)
    return (centre_CD[labels_N] + 2 * torch.randn(count, 64, generator=source)).relu().to(dtype), labels_N


def test_the_order_of_an_epoch_is_the_cpus() -> None:
    assert torch.equal(permutation(3, 5, 50_000, DEVICE).cpu(), permutation(3, 5, 50_000))


@pytest.mark.parametrize("dtype, allowed", [(torch.float64, 1e-6), (torch.float32, 1e-4)])
def test_features_are_the_cpus(dtype: torch.dtype, allowed: float) -> None:
    torch.manual_seed(0)
    trunk = build_backbone(Backbone(width=16), 32).to(dtype)
    expected = extract(trunk, images(300, 32), DATASETS["cifar10"], "cpu", 128)
    features_ND = extract(trunk, images(300, 32), DATASETS["cifar10"], DEVICE, 128)
    assert features_ND.device.type == DEVICE
    assert float((features_ND.cpu() - expected).norm() / expected.norm()) < allowed


def test_a_linear_probe_in_float64_is_the_cpus() -> None:
    train, test = clusters(2300, 0, torch.float64), clusters(400, 1, torch.float64)
    ours, theirs = (
        linear_probe(*(t.to(device) for t in (*train, *test)), 10, epochs=8, batch_size=500)
        for device in (DEVICE, "cpu")
    )
    assert ours.loss == pytest.approx(theirs.loss, rel=1e-10)
    assert replace(ours, loss=0.0) == replace(theirs, loss=0.0)


def test_a_linear_probe_in_float32_is_close_to_the_cpus() -> None:
    train, test = clusters(2300, 0), clusters(400, 1)
    ours, theirs = (
        linear_probe(*(t.to(device) for t in (*train, *test)), 10, epochs=8, batch_size=500)
        for device in (DEVICE, "cpu")
    )
    assert ours.loss == pytest.approx(theirs.loss, rel=1e-4)
    assert abs(ours.top1 - theirs.top1) < 0.01


def test_more_epochs_of_a_linear_probe_make_the_host_wait_no_more_often() -> None:
    parts = [t.to(DEVICE) for t in (*clusters(2300, 0), *clusters(400, 1))]

    def probe(epochs: int) -> Any:
        return linear_probe(*parts, 10, epochs=epochs, batch_size=500)  # type: ignore[misc]

    probe(1)
    assert waits(lambda: probe(6)) == waits(lambda: probe(2))


@pytest.mark.parametrize("kind", ["plain", "far from zero", "duplicates", "collapsed", "half precision"])
@pytest.mark.parametrize("chunks", [{}, {"scores": 30_000, "columns": 500}])
def test_neighbours_are_the_cpus(kind: str, chunks: dict[str, int]) -> None:
    train_ND, test_MD = clusters(2300, 0)[0], clusters(400, 1)[0]
    if kind == "far from zero":
        train_ND, test_MD = train_ND + 1000, test_MD + 1000
    if kind == "duplicates":
        train_ND = train_ND[torch.arange(len(train_ND)) % 7]
    if kind == "collapsed":
        train_ND, test_MD = 3 + 1e-6 * train_ND, 3 + 1e-6 * test_MD
    if kind == "half precision":
        train_ND, test_MD = train_ND.bfloat16(), test_MD.bfloat16()
    ours = nearest(train_ND.to(DEVICE), test_MD.to(DEVICE), 5, **chunks)
    assert torch.equal(ours.cpu(), nearest(train_ND, test_MD, 5))


def test_the_accuracy_of_neighbours_is_the_cpus() -> None:
    parts = *clusters(2300, 0), *clusters(400, 1)
    assert knn_accuracy(*(t.to(DEVICE) for t in parts), 5, 10) == knn_accuracy(*parts, 5, 10)


@pytest.fixture
def _random_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """The digits are made anew for every process, which takes seconds; these are not digits."""
    monkeypatch.setattr(splits, "read", lambda dataset, split, root, copy: images(300, 16, split == "test"))
    monkeypatch.setattr(finetune, "labelled", lambda spec, root: Labelled(images(90, 16), images(40, 16, 1), "all"))
    splits._read.cache_clear()


@pytest.mark.usefixtures("_random_images")
def test_an_evaluation_has_the_cpus_accuracies(tmp_path: Path) -> None:
    spec, accuracies = Evaluation(run=RUN, linear_epochs=5), []
    for device in (DEVICE, "cpu"):
        finish(tmp_path / f"on {device}")
        record = evaluate(tmp_path / f"on {device}", spec, Path(), replace(SESSION, device=device))
        accuracies.append(record.results or {})
    ours, theirs = accuracies
    assert ours.keys() == theirs.keys()
    assert all(abs(ours[name] - theirs[name]) < 0.02 for name in ours if name != "linear/best_epoch")


@pytest.mark.usefixtures("_random_images")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("spec", [LINEAR, SEMI], ids=["linear", "semi"])
def test_a_stopped_and_resumed_fine_tuning_equals_a_straight_one(
    spec: FineTuning, precision: str, tmp_path: Path
) -> None:
    spec = replace(spec, precision=precision)
    straight, on_cpu, stopped = (finish(tmp_path / name).path.parent for name in ("straight", "on-cpu", "stopped"))
    results = fine_tune(straight, spec, Path(), SESSION).results or {}
    cpu = fine_tune(on_cpu, spec, Path(), replace(SESSION, device="cpu")).results or {}
    with signal_after(STOPS) as left:
        for _ in STOPS:
            with pytest.raises(Interrupted):
                fine_tune(stopped, spec, Path(), SESSION)
    assert (fine_tune(stopped, spec, Path(), SESSION).results or {})["epochs"] == results["epochs"]
    assert not left
    assert results["epochs"][0]["loss"] == pytest.approx(cpu["epochs"][0]["loss"], rel=0.02)
