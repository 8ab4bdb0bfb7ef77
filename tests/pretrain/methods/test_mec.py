"""MEC: its loss against a power series loop, the warm-up of lambda, its target and its heads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from compmod.pretrain.methods.mec import MEC, mec_loss
from compmod.pretrain.networks.batch_norm import BatchNorm
from compmod.pretrain.specs.run import Projector
from small_runs import SAMPLES, SIDE, small, small_batch
from torch import Tensor, nn

SHAPES = [(4, 3), (16, 8), (7, 32), (8, 8)]


def build(out: int = 8, **options: float) -> MEC:
    torch.manual_seed(0)
    run = replace(small("mec"), projector=Projector(layers=3, hidden=12, out=out))
    return MEC(run, SIDE, predictor_hidden=6, **options).double()  # type: ignore[arg-type]


@pytest.mark.parametrize("one_over_lambda, order", [(3.0, 4), (100.0, 4), (5.0, 2), (5.0, 1)])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_loss_equals_a_loop_over_powers(
    shape: tuple[int, int], one_over_lambda: float, order: int, equal_with_gradients: Callable[..., None]
) -> None:
    def loop(prediction: Tensor, target: Tensor) -> Tensor:
        rows = [p / p.square().sum().sqrt() for p in prediction]
        others = [z / z.square().sum().sqrt() for z in target]
        matrix = torch.stack([torch.stack([p @ z for z in others]) for p in rows]) / one_over_lambda
        power, total = torch.eye(len(rows), dtype=matrix.dtype), torch.zeros((), dtype=matrix.dtype)
        for k in range(1, order + 1):
            power = power @ matrix
            for i in range(len(rows)):
                total = total - (-1) ** (k + 1) * power[i, i] / k
        return total * one_over_lambda / len(rows)

    equal_with_gradients(lambda p, z: mec_loss(p, z, one_over_lambda, order), loop, shape, shape)


def test_each_view_predicts_the_other_as_the_target_sees_it() -> None:
    method = build()
    batch = small_batch("mec")
    with torch.no_grad():
        target1, target2 = (method.target(view) for view in batch.views)
        p1, p2 = (method.predictor(z) for z in method.embed(batch.views).embeddings)
    one_over_lambda = SAMPLES * 64 / 8
    expected = (mec_loss(p1, target2, one_over_lambda, 4) + mec_loss(p2, target1, one_over_lambda, 4)) / 2
    torch.testing.assert_close(method(batch), expected, rtol=1e-12, atol=0)


def test_a_perfect_alignment_at_first_order_is_minus_one() -> None:
    z = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(mec_loss(z, z, 7.0, 1), torch.tensor(-1.0).double(), rtol=1e-12, atol=0)


def test_lambda_warms_up_where_the_series_would_not_converge_from_the_start() -> None:
    batch = small_batch("mec")
    for out, squared_error, ratios in (
        (80, 64.0, [8.0, 4.5, 1.0, 1.0]),
        (64, 64.0, [1.0] * 4),
        (8, 4.0, [8.0, 4.5, 1.0, 1.0]),
    ):
        method = build(out, squared_error=squared_error)
        found = [method.targets(replace(batch, epoch=epoch))[0] for epoch in (0.0, 5.0, 10.0, 20.0)]
        full = SAMPLES * squared_error / out
        assert found == pytest.approx([ratio * full for ratio in ratios])


def test_no_warm_up_epochs_means_no_warm_up() -> None:
    method = build(80, warmup_epochs=0.0)
    assert method.targets(small_batch("mec"))[0] == SAMPLES * 64 / 80


def test_the_target_is_the_trunk_and_projector_and_moves_to_them_by_a_cosine() -> None:
    method = build()
    with torch.no_grad():
        for parameter in method.projector.parameters():
            parameter += 1
    before = [p.clone() for p in method.target.parameters()]
    batch = small_batch("mec")
    method.after_step(0.5, method.embed(batch.views).detach(), ())
    online = [*method.backbone.parameters(), *method.projector.parameters()]
    for after, start, new in zip(method.target.parameters(), before, online, strict=True):
        torch.testing.assert_close(after, 0.998 * start + 0.002 * new)


def test_no_gradient_reaches_the_target() -> None:
    method = build()
    method(small_batch("mec")).backward()
    assert all(p.grad is None for p in method.target.parameters())
    assert all(p.grad is not None for p in method.predictor.parameters())


def test_the_heads_are_those_of_the_authors_code() -> None:
    method = build()
    last, norm = list(method.projector.children())[-2:]
    assert isinstance(last, nn.Linear)
    assert isinstance(norm, BatchNorm)
    assert last.bias is None
    assert not norm.affine
    biases = [layer.bias is not None for layer in method.predictor.children() if isinstance(layer, nn.Linear)]
    assert biases == [False, True]


@pytest.mark.parametrize("order", [3, 5])
def test_an_odd_order_is_refused(order: int) -> None:
    with pytest.raises(ValueError, match=f"option 'order' must be 1 or even, not {order}"):
        build(order=order)
