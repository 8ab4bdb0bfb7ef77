"""Supervised: the loss against a slow loop, and what it reads of a batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from compmod.pretrain.methods.build import build_method
from compmod.pretrain.methods.supervised import Supervised, cross_entropy_loss
from compmod.pretrain.recipes.presets import preset
from compmod.pretrain.specs.run import Augmentation, Backbone
from compmod.pretrain.views.batch import Batch
from torch import Tensor

SHAPES = [(4, 3), (16, 10), (7, 100)]


def labels(count: int, classes: int) -> Tensor:
    return torch.randint(classes, (count,), generator=torch.Generator().manual_seed(count))


def views(count: int = 12) -> tuple[Tensor, ...]:
    return tuple(torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(s)) for s in (1, 2))


def batch() -> Batch:
    return Batch(views=views(), index=torch.arange(12), labels=labels(12, 10))


def supervised() -> Supervised:
    run = replace(
        preset("supervised", "digits"), backbone=Backbone(name="resnet10", width=4), views=(Augmentation(flip=0.0),)
    )
    torch.manual_seed(0)
    method = build_method(run, 8)
    assert isinstance(method, Supervised)
    return method


@pytest.mark.parametrize("shape", SHAPES)
def test_the_loss_equals_a_slow_loop(equal_with_gradients: Callable[..., None], shape: tuple[int, int]) -> None:
    label = labels(*shape)

    def loop(logits: Tensor) -> Tensor:
        total = torch.zeros((), dtype=logits.dtype)
        for row, right in zip(logits, label.tolist(), strict=True):
            total = total + torch.stack([value.exp() for value in row]).sum().log() - row[right]
        return total / len(logits)

    equal_with_gradients(lambda logits: cross_entropy_loss(logits, label), loop, shape)


def test_the_classifier_has_one_output_a_class() -> None:
    method = supervised()
    assert method.embed(views()).embeddings[0].shape == (12, 10)
    assert method.embedding_width == 10


def test_one_view_is_enough() -> None:
    assert supervised()(replace(batch(), views=views()[:1])).isfinite()


def test_a_second_view_changes_nothing() -> None:
    alone = supervised()(replace(batch(), views=views()[:1]))
    torch.testing.assert_close(supervised()(batch()), alone, rtol=0, atol=0)


def test_the_gradient_reaches_every_parameter() -> None:
    method = supervised()
    method(batch()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in method.parameters())


def test_gradient_steps_lower_the_loss() -> None:
    method = supervised()
    optimizer = torch.optim.Adam(method.parameters(), lr=1e-2)
    first = method(batch()).item()
    for _ in range(10):
        optimizer.zero_grad()
        loss = method(batch())
        loss.backward()
        optimizer.step()
    assert loss.item() < first / 2


def test_a_data_set_with_unlabelled_images_is_refused_before_training() -> None:
    run = preset("supervised", "digits")
    with pytest.raises(ValueError, match="STL-10 has unlabelled images; data sets without: digits, cifar10"):
        build_method(replace(run, dataset="stl10"), 8).allocate(12)
