"""Contract of every built method, and reference values of the losses from elsewhere (lightly, or a slow loop)."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from compmod.pretrain.compmod import CompMod, Objective
from compmod.pretrain.methods import METHODS
from compmod.pretrain.methods.barlow_twins import barlow_twins_loss
from compmod.pretrain.methods.base import Method, build_method, method_options
from compmod.pretrain.methods.byol import BYOL, byol_loss, ema_momentum
from compmod.pretrain.methods.simclr import SimCLR, nt_xent_loss
from compmod.pretrain.presets import preset
from compmod.pretrain.run import Backbone, Comprehensive, Projector, Run
from torch import Tensor

BUILT = [name for name, entry in METHODS.items() if entry.code]
SHAPES = [(4, 3), (16, 8), (7, 32)]
TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-10}


def small(method: str) -> Run:
    run = preset(method, "digits")
    return replace(run, backbone=Backbone(width=4), projector=Projector(layers=3, hidden=12, out=8))


def views(count: int = 12, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    return [torch.randn(count, 3, 8, 8, dtype=dtype, generator=torch.Generator().manual_seed(s)) for s in (1, 2)]


def embeddings(shape: tuple[int, int], dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(shape[0])
    return [torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_() for _ in range(2)]


def equal_with_gradients(
    ours: Callable[[Tensor, Tensor], Tensor], theirs: Callable[[Tensor, Tensor], Tensor], shape: tuple[int, int]
) -> None:
    """Values and gradients agree: 1e-6 relative in float32, 1e-10 in float64; `theirs` runs in float64."""
    exact = embeddings(shape, torch.float64)
    expected = theirs(*exact)
    slopes = torch.autograd.grad(expected, exact)
    for dtype, tolerance in TOLERANCE.items():
        drawn = embeddings(shape, dtype)
        loss = ours(*drawn)
        assert abs(loss.item() - expected.item()) <= tolerance * abs(expected.item()), dtype
        for one, other in zip(torch.autograd.grad(loss, drawn), slopes, strict=True):
            error = (one.double() - other).norm() / other.norm()
            assert error < 10 * tolerance, dtype  # of a whole gradient, a sum over the batch


# --- reference ---


@pytest.mark.parametrize("temperature", [0.1, 0.5])
@pytest.mark.parametrize("shape", SHAPES)
def test_nt_xent_equals_a_slow_loop(shape: tuple[int, int], temperature: float) -> None:
    def loop(z1: Tensor, z2: Tensor) -> Tensor:
        rows = [z / z.square().sum().sqrt() for z in (*z1, *z2)]
        total = torch.zeros((), dtype=z1.dtype)
        for i, anchor in enumerate(rows):
            partner = (i + len(z1)) % len(rows)
            others = [torch.exp(anchor @ row / temperature) for j, row in enumerate(rows) if j != i]
            total = total - torch.log(torch.exp(anchor @ rows[partner] / temperature) / torch.stack(others).sum())
        return total / len(rows)

    equal_with_gradients(lambda a, b: nt_xent_loss(a, b, temperature), loop, shape)


@pytest.mark.parametrize("shape", SHAPES)
def test_nt_xent_equals_lightly(shape: tuple[int, int]) -> None:
    from lightly.loss import NTXentLoss

    z1, z2 = embeddings(shape, torch.float64)
    theirs = NTXentLoss(temperature=0.5)(z1, z2)
    torch.testing.assert_close(nt_xent_loss(z1, z2, 0.5), theirs, rtol=1e-6, atol=0)


@pytest.mark.parametrize("shape", SHAPES)
def test_barlow_twins_equals_a_slow_loop(shape: tuple[int, int]) -> None:
    def loop(z1: Tensor, z2: Tensor) -> Tensor:
        n, d = z1.shape
        columns = []
        for z in (z1, z2):
            mean = z.sum(0) / n
            variance = (z - mean).square().sum(0) / n
            columns.append((z - mean) / (variance + 1e-5).sqrt())
        total = torch.zeros((), dtype=z1.dtype)
        for i in range(d):
            for j in range(d):
                c = (columns[0][:, i] * columns[1][:, j]).sum() / n
                total = total + ((1 - c) ** 2 if i == j else 0.0051 * c**2)
        return total

    equal_with_gradients(lambda a, b: barlow_twins_loss(a, b, 0.0051), loop, shape)


@pytest.mark.parametrize("shape", SHAPES)
def test_barlow_twins_equals_lightly(shape: tuple[int, int]) -> None:
    from lightly.loss import BarlowTwinsLoss

    z1, z2 = embeddings(shape, torch.float64)
    theirs = BarlowTwinsLoss(lambda_param=0.0051)(z1, z2)
    torch.testing.assert_close(barlow_twins_loss(z1, z2, 0.0051), theirs, rtol=1e-4, atol=0)


@pytest.mark.parametrize("shape", SHAPES)
def test_byol_equals_the_squared_distance_of_normalised_rows(shape: tuple[int, int]) -> None:
    def loop(p: Tensor, z: Tensor) -> Tensor:
        rows = [
            (a / a.square().sum().sqrt() - b / b.square().sum().sqrt()).square().sum()
            for a, b in zip(p, z, strict=True)
        ]
        return torch.stack(rows).mean()

    equal_with_gradients(byol_loss, loop, shape)


@pytest.mark.parametrize("loss", [lambda a, b: nt_xent_loss(a, b, 0.5), lambda a, b: barlow_twins_loss(a, b, 0.0051)])
def test_losses_are_computed_in_float32_inside_autocast(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    z1, z2 = embeddings((64, 16), torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        inside = loss(z1, z2)
    torch.testing.assert_close(inside, loss(z1, z2), rtol=0, atol=0)


# --- heads and targets ---


def test_simclr_shares_its_heads_batch_norm_between_views_and_ends_with_one() -> None:
    torch.manual_seed(0)
    method = build_method(small("simclr"), 8)
    assert isinstance(method, SimCLR)
    z1, z2 = method.embed(views(dtype=torch.float32)).embeddings
    both = torch.cat([z1, z2])
    torch.testing.assert_close(both.mean(0), torch.zeros(8), rtol=0, atol=1e-5)
    assert z1.mean(0).abs().max() > 1e-3
    assert method.output_norm.num_batches_tracked == 1


def test_byols_target_starts_as_a_copy_and_moves_by_its_momentum() -> None:
    method = build_method(small("byol"), 8)
    assert isinstance(method, BYOL)
    online = [*method.backbone.parameters(), *method.projector.parameters()]
    before = [p.clone() for p in method.target.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(before, online, strict=True))
    with torch.no_grad():
        for p in online:
            p += 1
    method.after_step(0.5)
    momentum = 1 - 0.01 / 2
    for after, start, new in zip(method.target.parameters(), before, online, strict=True):
        torch.testing.assert_close(after, momentum * start + (1 - momentum) * new)


def test_byols_momentum_goes_from_its_start_to_one() -> None:
    assert math.isclose(ema_momentum(0.99, 0.0), 0.99)
    assert math.isclose(ema_momentum(0.99, 0.5), 0.995)
    assert math.isclose(ema_momentum(0.99, 1.0), 1.0)


def test_byols_target_keeps_its_own_batch_norm_statistics() -> None:
    method = build_method(small("byol"), 8)
    method(views(dtype=torch.float32))
    counts = [b for name, b in method.target.named_buffers() if name.endswith("num_batches_tracked")]
    assert all(count == 2 for count in counts)  # once a view
    method.after_step(0.0)
    online = dict(method.backbone.named_buffers())["bn1.running_mean"]
    assert dict(method.target.named_buffers())["0.bn1.running_mean"] is not online


def test_no_gradient_reaches_byols_target() -> None:
    objective = Objective(build_method(small("byol"), 8).double(), nullcontext)
    objective.backward(views(), lr=0.1, epoch=0.0, draw=0.0)
    method = objective.method
    assert isinstance(method, BYOL)
    assert all(p.grad is None for p in method.target.parameters())


# --- contract, for every method ---


def objective_of(name: str, seed: int = 0) -> Objective:
    run = small(name)
    torch.manual_seed(seed)
    method = build_method(run, 8)
    if run.plus:
        return CompMod(method, run.compmod, nullcontext, torch.Generator().manual_seed(9)).double()
    return Objective(method, nullcontext).double()


@pytest.mark.parametrize("plus", ["", "+"])
@pytest.mark.parametrize("name", BUILT)
def test_the_loss_is_finite_and_its_gradient_reaches_every_trained_parameter(name: str, plus: str) -> None:
    objective = objective_of(name + plus)
    logged = objective.backward(views(), lr=0.1, epoch=0.0, draw=0.5)
    assert all(torch.isfinite(value) for value in logged.values())
    for parameter_name, parameter in objective.psi.items():
        assert parameter.grad is not None, parameter_name
    assert all(p.grad is not None and p.grad.any() for p in objective.method.backbone.parameters())


@pytest.mark.parametrize("name", BUILT)
def test_a_plus_run_without_weights_is_its_baseline(name: str) -> None:
    plain, plus = objective_of(name), objective_of(name + "+")
    assert isinstance(plus, CompMod)
    plus.settings = Comprehensive(lambda1=0.0, lambda2=0.0)
    for objective in (plain, plus):
        optimizer = torch.optim.Adam(objective.psi.values(), lr=1e-2)
        for step in range(3):
            objective.backward(views(), lr=1e-2, epoch=float(step), draw=0.5)
            optimizer.step()
            objective.method.after_step(step / 3)
    for key, value in plain.method.state_dict().items():
        torch.testing.assert_close(plus.method.state_dict()[key], value, rtol=0, atol=0, msg=key)


@pytest.mark.parametrize("name", BUILT)
def test_the_loss_falls_over_a_few_steps_on_one_batch(name: str) -> None:
    objective = objective_of(name)
    optimizer = torch.optim.Adam(objective.psi.values(), lr=3e-3)
    losses = []
    for _ in range(8):
        losses.append(float(objective.backward(views(), lr=3e-3, epoch=0.0, draw=0.5)["loss"]))
        optimizer.step()
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", BUILT)
def test_the_loss_is_symmetric_in_the_two_views(name: str) -> None:
    objective = objective_of(name)
    twin = copy.deepcopy(objective.method)
    one, two = views()
    torch.testing.assert_close(objective.method([one, two]), twin([two, one]), rtol=1e-10, atol=0)


@pytest.mark.parametrize("name", BUILT)
def test_options_are_the_methods_keyword_parameters(name: str) -> None:
    kind = METHODS[name].load()
    assert issubclass(kind, Method)
    for option, default in method_options(kind).items():
        assert isinstance(default, bool | int | float | str), option
        build_method(replace(small(name), options=((option, default),)), 8)


def test_an_unknown_option_is_named_with_the_known_ones() -> None:
    run = replace(small("simclr"), options=(("temprature", 0.2),))
    with pytest.raises(ValueError, match="unknown option 'temprature' of simclr; known: temperature, output_norm"):
        build_method(run, 8)


def test_an_option_of_the_wrong_type_is_named() -> None:
    run = replace(small("simclr"), options=(("temperature", "hot"),))
    with pytest.raises(ValueError, match="option 'temperature' of simclr is a number, not 'hot'"):
        build_method(run, 8)


def test_a_method_not_built_yet_says_so() -> None:
    with pytest.raises(ValueError, match="MoCo is not built yet"):
        METHODS["moco"].load()
