"""The classifier: its steps against the textbook's, what it leaves alone, its batches and its accuracy."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from compmod.pretrain.data.load import load
from compmod.pretrain.evaluate import classifier as module
from compmod.pretrain.evaluate.classifier import Classifier, _requests, examples, rate_share, steps_per_epoch
from compmod.pretrain.networks.build import build_backbone
from compmod.pretrain.runtime import distributed
from compmod.pretrain.specs.measurement import FineTuning
from compmod.pretrain.specs.run import Backbone
from tiny_fine_tunings import LINEAR, RUN, SEMI
from torch import Tensor, nn
from torch.nn import functional as F


def classifier(spec: FineTuning) -> Classifier:
    torch.manual_seed(1)
    return Classifier(build_backbone(spec.run.backbone, 16), 10, spec).double()


def batch(seed: int, count: int = 8) -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 3, 16, 16, generator=source, dtype=torch.float64)
    return images, torch.randint(10, (count,), generator=source)


def copied(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def reference_steps(spec: FineTuning, batches: list[tuple[int, Tensor, Tensor]]) -> dict[str, Tensor]:
    """The parameters after steps (epoch, images, labels), by the textbook's updates and torch.autograd.grad."""
    model = classifier(spec).train()
    named = {name: p for name, p in model.named_parameters() if name.startswith("head") or spec.backbone_lr}
    velocity = {name: torch.zeros_like(p) for name, p in named.items()}
    for epoch, images, labels in batches:
        loss = F.nll_loss(F.log_softmax(model.head(model.backbone(images)), dim=1), labels)
        gradients = torch.autograd.grad(loss, list(named.values()))
        for (name, parameter), gradient in zip(named.items(), gradients, strict=True):
            peak = spec.head_lr if name.startswith("head") else spec.backbone_lr
            rate = peak * (1 + math.cos(math.pi * epoch / spec.epochs)) / 2
            with torch.no_grad():
                change = gradient + spec.weight_decay * parameter
                if spec.optimizer == "lars" and parameter.norm() > 0:
                    change *= 0.001 * parameter.norm() / (gradient.norm() + spec.weight_decay * parameter.norm())
                elif spec.optimizer == "lars":
                    change = gradient
                velocity[name] = spec.momentum * velocity[name] + change
                change = change + spec.momentum * velocity[name] if spec.nesterov else velocity[name]
                parameter -= rate * change
    return {name: p.detach() for name, p in named.items()}


@pytest.mark.parametrize(
    "spec",
    [
        replace(LINEAR, weight_decay=0.01),
        replace(LINEAR, nesterov=True),
        replace(LINEAR, optimizer="lars", weight_decay=0.01),
        SEMI,
    ],
    ids=["linear", "nesterov", "lars", "semi"],
)
def test_steps_are_those_of_the_textbook(spec: FineTuning) -> None:
    given = [(0, *batch(0)), (0, *batch(1, 5)), (2, *batch(2))]
    expected = reference_steps(spec, given)
    model = classifier(spec)
    optimizer = model.optimizer()
    for epoch, images, labels in given:
        model.update(optimizer, epoch, images, labels)
    found = dict(model.named_parameters())
    for name, value in expected.items():
        torch.testing.assert_close(found[name].detach(), value, rtol=1e-6, atol=1e-9)


def test_a_step_answers_the_mean_cross_entropy_before_it() -> None:
    images, labels = batch(0)
    model = classifier(LINEAR).train()
    expected = F.cross_entropy(model(images), labels).item()
    assert model.update(model.optimizer(), 0, images, labels).item() == pytest.approx(expected, rel=1e-12)


def test_the_layer_starts_as_barlow_twins_does() -> None:
    run = replace(RUN, backbone=Backbone(name="resnet10", width=256))
    head = Classifier(build_backbone(run.backbone, 16), 100, replace(LINEAR, run=run)).head
    assert not head.bias.any()
    assert head.weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert abs(head.weight.mean().item()) < 1e-4


def test_the_layer_is_a_function_of_the_seed_alone() -> None:
    first = classifier(LINEAR).head.weight
    torch.rand(3)
    before = torch.get_rng_state()
    again = Classifier(build_backbone(RUN.backbone, 16), 10, LINEAR).head.weight.double()
    other = classifier(replace(LINEAR, run=replace(RUN, seed=1))).head.weight
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    backbone = build_backbone(RUN.backbone, 16)
    torch.set_rng_state(before)
    Classifier(backbone, 10, LINEAR)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_frozen_backbone_keeps_every_bit_and_statistic() -> None:
    model = classifier(LINEAR)
    before, optimizer = copied(model.backbone), model.optimizer()
    for step in range(3):
        model.update(optimizer, 0, *batch(step))
    assert same(copied(model.backbone), before)


def test_fine_tuning_moves_every_parameter_and_statistic_of_the_backbone() -> None:
    model = classifier(SEMI)
    before, optimizer = copied(model.backbone), model.optimizer()
    for step in range(3):
        model.update(optimizer, 0, *batch(step))
    after = model.backbone.state_dict()
    assert [name for name, value in before.items() if torch.equal(after[name], value)] == []


def test_scoring_changes_nothing() -> None:
    model = classifier(SEMI).float()
    before = copied(model)
    model.accuracy(load("digits", "test", Path()).take(np.arange(9)), torch.device("cpu"), 0)
    assert same(copied(model), before)


def test_top1_and_top5_are_shares_of_all_images_counted_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SCORED", 7)  # a last, smaller batch
    images = load("digits", "test", Path()).take(np.arange(40))
    model = classifier(LINEAR).float()
    with torch.no_grad():
        model.head.weight.mul_(100)
    found = model.accuracy(images, torch.device("cpu"), 0)
    mean, std = torch.tensor([0.517, 0.515, 0.513]), torch.tensor([0.302, 0.302, 0.302])
    ranks = []
    for pixels, label in zip(images.pixels, images.labels.tolist(), strict=True):
        image = (torch.from_numpy(pixels) / 255 - mean[:, None, None]) / std[:, None, None]
        logits = model(image[None])[0].tolist()
        ranks.append(sorted(logits, reverse=True).index(logits[label]))
    assert found == {"top1": sum(r == 0 for r in ranks) / 40, "top5": sum(r < 5 for r in ranks) / 40}
    assert 0 < found["top1"] < found["top5"] < 1


def test_the_cosine_falls_once_an_epoch_towards_zero() -> None:
    shares = [rate_share(replace(LINEAR, epochs=4), epoch) for epoch in range(4)]
    assert shares == pytest.approx([1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2])


def test_steps_fall_at_their_epochs() -> None:
    spec = replace(LINEAR, epochs=20, schedule="steps", drops=(12, 16), drop_factor=0.2)
    shares = [rate_share(spec, epoch) for epoch in (0, 11, 12, 15, 16, 19)]
    assert shares == pytest.approx([1, 1, 0.2, 0.2, 0.04, 0.04])


def visited(images: int, batch_size: int) -> list[list[int]]:
    """Samples of each step of the second epoch."""
    steps = steps_per_epoch(images, batch_size)
    spec = replace(LINEAR, batch_size=batch_size)
    return [index.tolist() for _, index in _requests(images, spec, range(steps, 2 * steps))]


def test_an_epoch_visits_every_image_once_the_smaller_last_batch_too() -> None:
    found = visited(10, 4)
    assert [len(index) for index in found] == [4, 4, 2]
    assert sorted(itertools.chain(*found)) == list(range(10))


def test_a_single_image_left_over_waits_for_another_epoch() -> None:
    assert [len(index) for index in visited(9, 4)] == [4, 4]


def test_processes_take_equal_parts_of_the_batch_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = visited(14, 8)
    parts = []
    for mine in range(2):
        for name, value in (("rank", mine), ("world", 2)):
            monkeypatch.setattr(distributed, name, lambda value=value: value)
        monkeypatch.setattr(module, "world", lambda: 2)
        parts.append(visited(14, 8))
    assert [one + other for one, other in zip(*parts, strict=True)] == whole
    assert [len(index) for index in parts[0]] == [4, 3]


def test_a_batch_that_processes_cannot_share_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "world", lambda: 3)
    with pytest.raises(ValueError, match="batch_size 32 cannot be shared equally by 3 processes"):
        steps_per_epoch(100, 32)


def test_one_image_is_too_few_to_train_on() -> None:
    with pytest.raises(ValueError, match="1 training images are too few; expected at least 2"):
        steps_per_epoch(1, 32)


def test_views_are_new_each_epoch_and_the_same_wherever_training_starts() -> None:
    images = load("digits", "train", Path()).take(np.arange(20))
    spec = replace(LINEAR, batch_size=8)
    whole = list(examples(images, spec, range(6), torch.device("cpu"), 0))
    late = list(examples(images, spec, range(4, 6), torch.device("cpu"), 0))
    for one, other in zip(late, whole[4:], strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])
    seen = torch.cat([views for views, _ in whole])
    assert len(torch.unique(seen.flatten(1), dim=0)) == 40
