"""W-MSE: its loss against lightly and a slow loop; whitening's properties; how batches are divided."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from compmod.pretrain.methods.build import build_method
from compmod.pretrain.methods.w_mse import WMSE, w_mse_loss, whiten
from compmod.pretrain.recipes.presets import preset
from compmod.pretrain.specs.run import Augmentation, Backbone, Projector
from compmod.pretrain.views.batch import Batch
from torch import Tensor

SHAPES = [(12, 2, 6), (16, 3, 8), (21, 4, 7)]  # samples, width, sub-batch
SAMPLES = 12


def build(views: int = 2, out: int = 3, **options: int) -> WMSE:
    run = replace(
        preset("w_mse", "digits"),
        batch_size=SAMPLES,
        views=(Augmentation(),) * views,
        backbone=Backbone(name="resnet10", width=2),
        projector=Projector(layers=2, hidden=8, out=out),
        options=tuple({"whitening": 6, **options}.items()),
    )
    torch.manual_seed(0)
    method = build_method(run, 8)
    assert isinstance(method, WMSE)
    return method.double()


def batch(views: int = 2, step: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(0)
    images = tuple(torch.randn(SAMPLES, 3, 8, 8, generator=generator, dtype=torch.float64) for _ in range(views))
    return Batch(views=images, index=torch.arange(SAMPLES), labels=torch.full((SAMPLES,), -1), step=step)


def orders(count: int, samples: int) -> Tensor:
    generator = torch.Generator().manual_seed(samples)
    return torch.stack([torch.randperm(samples, generator=generator) for _ in range(count)])


def slow_whitening(x: Tensor) -> Tensor:
    """The definition, number by number: Cholesky's recurrence, and its factor solved for one sample at a time."""
    rows, width = x.shape
    x = torch.stack([row - sum(x) / rows for row in x])
    covariance = [[sum(row[i] * row[j] for row in x) / (rows - 1) for j in range(width)] for i in range(width)]
    factor: list[list[Tensor]] = []
    for i in range(width):
        factor.append([])
        for j in range(i + 1):
            rest = covariance[i][j] - sum(factor[i][k] * factor[j][k] for k in range(j))
            factor[i].append(rest.sqrt() if i == j else rest / factor[j][j])
    whitened = []
    for row in x:
        solved: list[Tensor] = []
        for i in range(width):
            solved.append((row[i] - sum(factor[i][k] * solved[k] for k in range(i))) / factor[i][i])
        whitened.append(torch.stack(solved))
    return torch.stack(whitened)


@pytest.mark.parametrize("views, repeats", [(2, 1), (2, 3), (4, 1)])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_loss_equals_a_slow_loop(
    shape: tuple[int, int, int], views: int, repeats: int, equal_with_gradients: Callable[..., None]
) -> None:
    samples, width, sub_batch = shape
    drawn = orders(repeats, samples)

    def loop(*z: Tensor) -> Tensor:
        terms = []
        for order in drawn:
            for start in range(0, samples, sub_batch):
                parts = [slow_whitening(view[order[start : start + sub_batch]]) for view in z]
                for a in range(views):
                    for b in range(a + 1, views):
                        for x, y in zip(parts[a], parts[b], strict=True):
                            cosine = (x @ y) / (x.square().sum() * y.square().sum()).sqrt()
                            terms.append(2 - 2 * cosine)
        return torch.stack(terms).mean()

    equal_with_gradients(lambda *z: w_mse_loss(z, drawn, sub_batch), loop, *[(samples, width)] * views)


@pytest.mark.parametrize("samples, width", [(16, 4), (24, 7), (40, 20)])
def test_the_loss_of_one_sub_batch_equals_lightlys(
    samples: int, width: int, equal_with_gradients: Callable[..., None]
) -> None:
    from lightly.loss.wmse_loss import WMSELoss

    theirs = WMSELoss(embedding_dim=width, w_size=samples, track_running_stats=False)
    equal_with_gradients(
        lambda one, other: w_mse_loss([one, other], orders(1, samples), samples),
        lambda one, other: theirs(torch.cat([one, other])),
        (samples, width),
        (samples, width),
    )


def test_each_whitened_sub_batch_has_mean_zero_and_unit_covariance() -> None:
    generator = torch.Generator().manual_seed(4)
    z = (
        torch.randn(30, 5, generator=generator, dtype=torch.float64) @ torch.randn(5, 5, generator=generator).double()
        + 3
    )
    for part in whiten(z, 10).split(10):
        torch.testing.assert_close(part.mean(0), torch.zeros(5, dtype=torch.float64), rtol=0, atol=1e-12)
        torch.testing.assert_close(part.T.cov(), torch.eye(5, dtype=torch.float64), rtol=0, atol=1e-10)


def test_the_loss_does_not_see_a_shift_or_stretch_of_the_embeddings() -> None:
    z1, z2 = (torch.randn(12, 3, generator=torch.Generator().manual_seed(s), dtype=torch.float64) for s in (1, 2))
    stretch = torch.tensor([0.1, 5.0, 30.0], dtype=torch.float64)
    drawn = orders(1, 12)
    torch.testing.assert_close(w_mse_loss([z1 * stretch - 7, z2], drawn, 6), w_mse_loss([z1, z2], drawn, 6))


def test_the_loss_is_computed_in_float32_inside_autocast() -> None:
    z1, z2 = (torch.randn(12, 3, generator=torch.Generator().manual_seed(s)) for s in (1, 2))
    with torch.autocast("cpu", torch.bfloat16):
        inside = w_mse_loss([z1, z2], orders(1, 12), 6)
    assert torch.equal(inside, w_mse_loss([z1, z2], orders(1, 12), 6))


def test_second_derivatives_pass_through_the_whitening() -> None:
    z1, z2 = (torch.randn(6, 2, generator=torch.Generator().manual_seed(s), dtype=torch.float64) for s in (1, 2))
    assert torch.autograd.gradgradcheck(
        lambda one, other: w_mse_loss([one, other], orders(1, 6), 6), (z1.requires_grad_(), z2.requires_grad_())
    )


def test_the_head_runs_on_all_views_together() -> None:
    method = build(views=4)
    views = batch(views=4).views
    embedded = method.embed(views)
    together = method.projector(torch.cat([method.backbone(view) for view in views]))
    torch.testing.assert_close(torch.cat(embedded.embeddings), together, rtol=1e-12, atol=1e-14)
    assert [len(z) for z in embedded.embeddings] == [SAMPLES] * 4


def test_four_views_make_six_pairs() -> None:
    method, given = build(views=4), batch(views=4)
    targets = method.targets(given)
    z = method.embed(given.views).embeddings
    pairs = [w_mse_loss([z[a], z[b]], *targets, 6) for a in range(4) for b in range(a + 1, 4)]
    torch.testing.assert_close(method(given), sum(pairs) / 6, rtol=1e-10, atol=0)


def test_orders_are_permutations_that_differ_between_steps_and_repeats() -> None:
    method = build(repeats=3)
    drawn = torch.cat([method.targets(batch(step=step))[0] for step in range(4)])
    assert torch.equal(drawn.sort().values, torch.arange(SAMPLES).expand(12, SAMPLES))
    assert len(drawn.unique(dim=0)) == 12


def test_orders_are_functions_of_seed_and_step() -> None:
    first, again = (build(repeats=2).targets(batch(step=5))[0] for _ in range(2))
    assert torch.equal(first, again)


def test_a_repeat_more_changes_no_orders_meaning() -> None:
    method, given = build(repeats=2), batch(step=3)
    (drawn,) = method.targets(given)
    embedded = method.embed(given.views)
    each = [w_mse_loss(embedded.embeddings, order[None], 6) for order in drawn]
    torch.testing.assert_close(method.loss(embedded, (drawn,)), sum(each) / 2, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    "out, options, message",
    [
        (3, {"whitening": 5}, "'whitening' must be a divisor of the batch, 12, not 5"),
        (6, {"whitening": 6}, "'whitening' must be above the embedding width, 6, not 6"),
    ],
)
def test_an_option_out_of_range_is_named_with_its_range(out: int, options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(out=out, **options)
