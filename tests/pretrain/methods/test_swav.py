"""SwAV: assignments and loss against lightly and slow loops; its queue, prototypes and small crops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from compmod.pretrain.methods.build import build_method
from compmod.pretrain.methods.swav import SwAV, prototype_scores, sinkhorn, swav_loss
from compmod.pretrain.recipes.presets import preset
from compmod.pretrain.specs.run import Augmentation, Backbone, Projector
from compmod.pretrain.views.batch import Batch
from tolerance import rounding
from torch import Tensor

SHAPES = [(6, 4, 5), (16, 8, 3), (9, 12, 20)]  # samples, width, prototypes
SAMPLES = 4


def build(crops: int = 2, **options: int | float) -> SwAV:
    run = replace(
        preset("swav", "digits"),
        batch_size=SAMPLES,
        views=(Augmentation(),) * crops,
        backbone=Backbone(name="resnet10", width=2),
        projector=Projector(layers=2, hidden=8, out=6),
        options=tuple({"prototypes": 7, "queue": 0, "freeze_epochs": 0, **options}.items()),
    )
    torch.manual_seed(0)
    method = build_method(run, 8)
    assert isinstance(method, SwAV)
    return method.double()


def batch(sizes: Sequence[int] = (8, 8), epoch: float = 0.0, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    views = tuple(torch.randn(SAMPLES, 3, size, size, generator=generator, dtype=torch.float64) for size in sizes)
    return Batch(views=views, index=torch.arange(SAMPLES), labels=torch.full((SAMPLES,), -1), epoch=epoch)


def step(method: SwAV, given: Batch) -> Tensor:
    """The loss of one batch and its gradients, then what follows an update."""
    targets, embedded = method.targets(given), method.embed(given.views)
    loss = method.loss(embedded, targets)
    loss.backward()
    method.after_step(0.0, embedded.detach(), targets)
    return loss


def slow_sinkhorn(scores: Tensor, epsilon: float, iterations: int) -> Tensor:
    """Sums and divisions one number at a time."""
    samples, prototypes = scores.shape
    q = [[torch.exp(scores[n, k] / epsilon) for k in range(prototypes)] for n in range(samples)]
    for _ in range(iterations):
        for k in range(prototypes):
            column = sum(q[n][k] for n in range(samples))
            for n in range(samples):
                q[n][k] = q[n][k] / column / prototypes
        for n in range(samples):
            row = sum(q[n])
            q[n] = [value / row / samples for value in q[n]]
    return samples * torch.stack([torch.stack(row) for row in q])


@pytest.mark.parametrize("shape", SHAPES)
def test_the_loss_equals_lightlys(shape: tuple[int, int, int], equal_with_gradients: Callable[..., None]) -> None:
    from lightly.loss import SwaVLoss

    samples, width, prototypes = shape

    def ours(one: Tensor, other: Tensor, small: Tensor, queue1: Tensor, queue2: Tensor, c: Tensor) -> Tensor:
        scores = [prototype_scores(z, F.normalize(c)) for z in (one, other, small)]
        everyone = [
            torch.cat([prototype_scores(q, F.normalize(c)), s])
            for q, s in zip((queue1, queue2), scores[:2], strict=True)
        ]
        return swav_loss(scores, [sinkhorn(e, 0.05, 3)[-samples:] for e in everyone], 0.1)

    def theirs(one: Tensor, other: Tensor, small: Tensor, queue1: Tensor, queue2: Tensor, c: Tensor) -> Tensor:
        z1, z2, z3, q1, q2 = (F.normalize(z) @ F.normalize(c).T for z in (one, other, small, queue1, queue2))
        loss: Tensor = SwaVLoss(temperature=0.1, sinkhorn_iterations=3, sinkhorn_epsilon=0.05)([z1, z2], [z3], [q1, q2])
        return loss

    rows, stored = (samples, width), (samples + 3, width)
    equal_with_gradients(ours, theirs, rows, rows, rows, stored, stored, (prototypes, width))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_loss_equals_a_slow_loop(shape: tuple[int, int, int], equal_with_gradients: Callable[..., None]) -> None:
    samples, width, prototypes = shape

    def ours(one: Tensor, other: Tensor, small: Tensor, tiny: Tensor, c: Tensor) -> Tensor:
        scores = [prototype_scores(z, c / 9) for z in (one, other, small, tiny)]
        return swav_loss(scores, [sinkhorn(s, 0.2, 2) for s in scores[:2]], 0.3)

    def loop(*drawn: Tensor) -> Tensor:
        *crops, c = drawn
        scores = [torch.stack([(c / 9) @ row / row.square().sum().sqrt() for row in crop]) for crop in crops]
        terms = []
        for assigned in range(2):
            q = slow_sinkhorn(scores[assigned].detach(), 0.2, 2)
            for predicting in range(4):
                if predicting != assigned:
                    for n in range(samples):
                        p = torch.exp(scores[predicting][n] / 0.3)
                        terms.append(-sum(q[n, k] * torch.log(p[k] / p.sum()) for k in range(prototypes)))
        return torch.stack(terms).mean()

    rows = (samples, width)
    equal_with_gradients(ours, loop, rows, rows, rows, rows, (prototypes, width))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("iterations", [1, 3, 5])
def test_assignments_equal_lightlys(iterations: int, dtype: torch.dtype) -> None:
    from lightly.loss.swav_loss import sinkhorn as theirs

    scores = torch.rand(11, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64).mul(2).sub(1).to(dtype)
    expected = theirs(scores.double(), iterations=iterations, epsilon=0.05)
    found = sinkhorn(scores, 0.05, iterations)
    assert found.dtype == dtype
    # exp multiplies a relative error by its argument, at most 2 / 0.05; each iteration sums 11 samples and 6 prototypes
    allowed = rounding(dtype, 2 / 0.05 + iterations * (11 + 6))
    torch.testing.assert_close(found.double(), expected, rtol=allowed, atol=0)


def test_many_iterations_share_the_samples_evenly_among_prototypes() -> None:
    scores = torch.rand(12, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    assigned = sinkhorn(scores, 0.2, 500)
    torch.testing.assert_close(assigned.sum(1), torch.ones(12, dtype=torch.float64))
    torch.testing.assert_close(assigned.sum(0), torch.full((4,), 3.0, dtype=torch.float64))


@pytest.mark.parametrize("offset", [-1e4, 1e4])
def test_assignments_stay_finite_in_float32_for_scores_far_from_zero(offset: float) -> None:
    scores = torch.tensor([[0.5, -0.5], [0.25, 0.75], [-1.0, 1.0]])
    torch.testing.assert_close(sinkhorn(scores + offset, 0.05, 3), sinkhorn(scores, 0.05, 3), rtol=0.05, atol=1e-3)


def test_a_prototype_beyond_the_reach_of_float32_gets_nothing() -> None:
    assigned = sinkhorn(torch.tensor([[0.0, 0.1, -1e3], [0.2, 0.0, -1e3]]), 0.05, 3)
    assert assigned[:, 2].tolist() == [0.0, 0.0]
    torch.testing.assert_close(assigned.sum(1), torch.ones(2))


def test_assignments_are_computed_in_float32_inside_autocast() -> None:
    scores = torch.rand(9, 5, generator=torch.Generator().manual_seed(3))
    with torch.autocast("cpu", torch.bfloat16):
        inside = sinkhorn(scores, 0.05, 3)
    assert torch.equal(inside, sinkhorn(scores, 0.05, 3))


def test_prototypes_have_unit_length_at_the_start_and_after_every_step() -> None:
    method = build()
    lengths = [method.prototypes.weight.norm(dim=1)]
    with torch.no_grad():
        method.prototypes.weight.mul_(3)
    step(method, batch())
    lengths.append(method.prototypes.weight.norm(dim=1))
    for length in lengths:
        torch.testing.assert_close(length, torch.ones(7, dtype=torch.float64), rtol=1e-6, atol=0)


def test_resting_prototypes_get_no_gradient_and_the_trunk_gets_its_own() -> None:
    method = build(freeze_epochs=2)
    step(method, batch(epoch=1.9))
    assert method.prototypes.weight.grad is None
    assert all(p.grad is not None and p.grad.any() for p in method.backbone.parameters())
    step(method, batch(epoch=2.0))
    assert method.prototypes.weight.grad is not None


@pytest.mark.parametrize("large", [1, 2])
def test_small_crops_of_another_size_predict_and_are_not_assigned(large: int) -> None:
    method = build(crops=4, large=large)
    given = batch((8, 8, 4, 5))
    targets, embedded = method.targets(given), method.embed(given.views)
    scores = [prototype_scores(z, method.prototypes.weight) for z in embedded.embeddings]
    expected = swav_loss(scores, [sinkhorn(s.detach(), 0.05, 3) for s in scores[:large]], 0.1)
    assert len(scores) == 4
    torch.testing.assert_close(method.loss(embedded, targets), expected, rtol=1e-12, atol=0)


def test_the_queue_holds_the_last_batches_newest_first() -> None:
    method = build(queue=2 * SAMPLES, queue_epoch=1)
    kept = []
    for seed in range(3):
        given = batch(epoch=1.0, seed=seed)
        kept.append([F.normalize(z.detach()) for z in method.embed(given.views).embeddings])
        step(method, given)
    for view in range(2):
        expected = torch.cat([kept[2][view], kept[1][view]])
        torch.testing.assert_close(method.queue[view], expected, rtol=1e-12, atol=0)


def test_the_queue_is_used_from_when_it_is_full() -> None:
    method = build(queue=2 * SAMPLES, queue_epoch=1)
    used = []
    for seed, epoch in enumerate([0.0, 0.5, 1.0, 1.5, 2.0]):
        given = batch(epoch=epoch, seed=seed)
        used.append(method.targets(given)[0].shape[1])
        step(method, given)
    assert used == [0, 0, 0, 0, 2 * SAMPLES]


def test_stored_embeddings_take_part_in_the_assignment_alone() -> None:
    method = build(queue=SAMPLES, queue_epoch=0)
    step(method, batch(seed=1))
    given = batch(seed=2)
    stored = method.queue.clone()
    targets, embedded = method.targets(given), method.embed(given.views)
    scores = [prototype_scores(z, method.prototypes.weight) for z in embedded.embeddings]
    assigned = [
        sinkhorn(torch.cat([q @ method.prototypes.weight.T, s]), 0.05, 3)[SAMPLES:]
        for q, s in zip(stored, scores, strict=True)
    ]
    loss = method.loss(embedded, targets)
    torch.testing.assert_close(loss, swav_loss(scores, assigned, 0.1), rtol=1e-12, atol=0)
    without = swav_loss(scores, [sinkhorn(s, 0.05, 3) for s in scores], 0.1)
    assert abs(loss - without) > 1e-6


def test_the_targets_do_not_change_when_the_queue_moves_on() -> None:
    method = build(queue=SAMPLES, queue_epoch=0)
    step(method, batch(seed=1))
    targets = method.targets(batch(seed=2))
    before = targets[0].clone()
    step(method, batch(seed=2))
    assert torch.equal(targets[0], before)
    assert not torch.equal(method.queue, before)


def test_a_saved_state_goes_on_with_the_same_losses() -> None:
    first, second = build(queue=2 * SAMPLES, queue_epoch=0), build(queue=2 * SAMPLES, queue_epoch=0)
    for seed in range(3):
        step(first, batch(seed=seed))
    second.load_state_dict(first.state_dict())
    losses = [[step(method, batch(seed=seed)).item() for seed in (3, 4)] for method in (first, second)]
    assert losses[0] == losses[1]
    assert len(set(losses[0])) == 2


def test_the_loss_leaves_every_state_as_it_was() -> None:
    method = build(queue=SAMPLES, queue_epoch=0)
    step(method, batch(seed=1))
    targets, embedded = method.targets(batch()), method.embed(batch().views)
    before = {name: value.clone() for name, value in method.state_dict().items()}
    losses = [method.loss(embedded, targets) for _ in range(2)]
    assert torch.equal(*losses)
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())


@pytest.mark.parametrize(
    "options, message",
    [
        ({"queue": SAMPLES + 1}, f"'queue' must be 0 or a multiple of the batch, {SAMPLES}, not {SAMPLES + 1}"),
        ({"large": 3}, "'large' must be between 1 and the 2 views, not 3"),
    ],
)
def test_an_option_out_of_range_is_named_with_its_range(options: dict[str, int | float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**options)
