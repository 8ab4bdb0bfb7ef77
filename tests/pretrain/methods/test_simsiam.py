"""SimSiam: its loss against lightly's and a slow loop, the stopped gradient, and its heads."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from compmod.pretrain.methods.simsiam import SimSiam, simsiam_loss
from compmod.pretrain.networks.batch_norm import BatchNorm
from small_runs import SIDE, small, small_batch
from torch import Tensor, nn

SHAPES = [(4, 3), (16, 8), (7, 32)]


def build() -> SimSiam:
    torch.manual_seed(0)
    return SimSiam(small("simsiam"), SIDE, predictor_hidden=6).double()


@pytest.mark.parametrize("shape", SHAPES)
def test_the_loss_equals_a_slow_loop(shape: tuple[int, int], equal_with_gradients: Callable[..., None]) -> None:
    def loop(p1: Tensor, p2: Tensor, z1: Tensor, z2: Tensor) -> Tensor:
        total = torch.zeros((), dtype=p1.dtype)
        for predictions, others in ((p1, z2.detach()), (p2, z1.detach())):
            for p, z in zip(predictions, others, strict=True):
                total = total - 0.5 * p @ z / (p.square().sum().sqrt() * z.square().sum().sqrt())
        return total / len(p1)

    equal_with_gradients(simsiam_loss, loop, shape, shape, shape, shape)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_loss_equals_lightly(shape: tuple[int, int], equal_with_gradients: Callable[..., None]) -> None:
    from lightly.loss import NegativeCosineSimilarity

    def theirs(p1: Tensor, p2: Tensor, z1: Tensor, z2: Tensor) -> Tensor:
        criterion = NegativeCosineSimilarity()
        loss: Tensor = 0.5 * (criterion(p1, z2.detach()) + criterion(p2, z1.detach()))
        return loss

    equal_with_gradients(simsiam_loss, theirs, shape, shape, shape, shape)


def test_the_backbone_learns_through_the_predictor_only() -> None:
    method = build()
    for parameter in method.predictor.parameters():
        nn.init.zeros_(parameter)
    nn.init.ones_(method.predictor[3].bias)  # a constant prediction: all that depends on the images is the target
    method(small_batch("simsiam")).backward()
    assert all(p.grad is not None and not p.grad.any() for p in method.backbone.parameters())
    assert method.predictor[3].bias.grad.any()


def test_a_perfect_prediction_has_loss_minus_one() -> None:
    method = build()
    method.predictor = nn.Sequential(nn.Identity())
    view = small_batch("simsiam").views[0]
    z = method.embed([view, view])
    torch.testing.assert_close(method.loss(z, ()), torch.tensor(-1.0).double(), rtol=1e-12, atol=0)


def test_embeddings_are_standardised_over_the_batch() -> None:
    z1, _ = build().embed(small_batch("simsiam").views).embeddings
    torch.testing.assert_close(z1.mean(dim=0), torch.zeros(8).double(), rtol=0, atol=1e-12)
    assert ((z1.var(dim=0, correction=0) > 0.5) & (z1.var(dim=0, correction=0) <= 1)).all()  # batch norm's eps


def test_every_linear_layer_of_the_projector_is_followed_by_a_batch_norm_and_has_no_bias() -> None:
    layers = list(build().projector.children())
    kinds = [BatchNorm if isinstance(layer, BatchNorm) else type(layer) for layer in layers]
    assert kinds == [nn.Linear, BatchNorm, nn.ReLU] * 2 + [nn.Linear, BatchNorm]
    assert all(layer.bias is None for layer in layers if isinstance(layer, nn.Linear))
    assert [layer.affine for layer in layers if isinstance(layer, BatchNorm)] == [True, True, False]


def test_the_predictor_is_a_bottleneck_with_one_batch_norm() -> None:
    layers = list(build().predictor.children())
    assert [type(layer) for layer in layers] == [nn.Linear, BatchNorm, nn.ReLU, nn.Linear]
    assert [layer.weight.shape for layer in layers if isinstance(layer, nn.Linear)] == [(6, 8), (8, 6)]
