"""Optimisers against loops written from their formulas, and schedules against the recipes' descriptions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import torch
from compmod.pretrain.optim import LARS, _lay_out_gradients, build_optimizer, learning_rate, set_rate
from compmod.pretrain.recipes.imagenet import IMAGENET
from compmod.pretrain.recipes.presets import preset
from compmod.pretrain.specs.run import Optimizer, Run, Schedule
from compmod.pretrain.training.checkpoint import restore_optimizer
from torch import Tensor

STEPS_PER_EPOCH = 97  # 50,000 images in batches of 512
DECAY, MOMENTUM, TRUST = 1e-2, 0.9, 0.02
SHAPES = {"convolution": (4, 3, 3, 3), "matrix": (5, 4), "bias": (5,), "scale": ()}


@pytest.fixture(autouse=True)
def _float64() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(before)


def _norm(values: list[float]) -> float:
    return math.sqrt(sum(value * value for value in values))


def _literal_update(weight: list[float], gradient: list[float], lr: float, *, matrix: bool, clip: bool) -> list[float]:
    """What enters the momentum buffer, number by number."""
    if not matrix:
        return gradient
    weight_norm = _norm(weight)
    decayed = [g + DECAY * w for g, w in zip(gradient, weight, strict=True)]
    if clip:  # solo-learn: no decay at all where a norm is zero
        gradient_norm = _norm(gradient)
        if weight_norm == 0 or gradient_norm == 0:
            return gradient
        local = TRUST * weight_norm / (gradient_norm + DECAY * weight_norm + 1e-8)
        return [min(local / lr, 1) * d for d in decayed]
    decayed_norm = _norm(decayed)  # Barlow Twins: a ratio of 1 where a norm is zero
    ratio = 1.0 if weight_norm == 0 or decayed_norm == 0 else TRUST * weight_norm / decayed_norm
    return [ratio * d for d in decayed]


def _lars_follows_the_loop(start: dict[str, Tensor], gradients: list[dict[str, Tensor]], lr: float, clip: bool) -> None:
    parameters = {name: torch.nn.Parameter(value.clone()) for name, value in start.items()}
    optimizer = LARS(parameters.values(), lr=lr, weight_decay=DECAY, momentum=MOMENTUM, trust=TRUST, clip=clip)
    weights = {name: value.flatten().tolist() for name, value in start.items()}
    buffers = {name: [0.0] * value.numel() for name, value in start.items()}
    for step in gradients:
        for name, gradient in step.items():
            parameters[name].grad = gradient.clone()
            update = _literal_update(
                weights[name], gradient.flatten().tolist(), lr, matrix=gradient.ndim > 1, clip=clip
            )
            buffers[name] = [MOMENTUM * b + u for b, u in zip(buffers[name], update, strict=True)]
            weights[name] = [w - lr * b for w, b in zip(weights[name], buffers[name], strict=True)]
        optimizer.step()
        for name, parameter in parameters.items():
            expected = torch.tensor(weights[name]).reshape(parameter.shape)
            assert torch.allclose(parameter, expected, rtol=1e-12, atol=1e-14), name


def _draw(scale: float = 1.0) -> dict[str, Tensor]:
    return {name: scale * torch.randn(shape) for name, shape in SHAPES.items()}


@pytest.mark.parametrize("clip", [True, False], ids=["solo-learn", "Barlow Twins"])
@pytest.mark.parametrize("lr", [0.3, 1e-4], ids=["not clipped", "clipped"])
def test_lars_equals_a_loop_over_single_numbers(lr: float, clip: bool) -> None:
    _lars_follows_the_loop(_draw(), [_draw(0.1) for _ in range(4)], lr, clip)


@pytest.mark.parametrize("clip", [True, False], ids=["solo-learn", "Barlow Twins"])
@pytest.mark.parametrize("zero", ["weight", "gradient", "both"])
def test_lars_equals_the_loop_where_a_norm_is_zero(zero: str, clip: bool) -> None:
    start = _draw(0.0 if zero in ("weight", "both") else 1.0)
    first = _draw(0.0 if zero in ("gradient", "both") else 1.0)
    _lars_follows_the_loop(start, [first, _draw(), _draw()], 0.3, clip)


def test_clipped_lars_never_steps_further_than_plain_sgd_with_decay() -> None:
    weight, gradient = 100 * torch.randn(5, 4), 1e-3 * torch.randn(5, 4)  # a trust ratio far above 1
    parameter = torch.nn.Parameter(weight.clone())
    parameter.grad = gradient.clone()
    LARS([parameter], lr=0.1, weight_decay=DECAY, momentum=MOMENTUM, trust=TRUST, clip=True).step()
    assert torch.allclose(parameter, weight - 0.1 * (gradient + DECAY * weight))


def test_unclipped_lars_steps_by_the_trusted_share_of_the_weights_norm() -> None:
    weight = torch.randn(5, 4)
    parameter = torch.nn.Parameter(weight.clone())
    parameter.grad = 1e-9 * torch.randn(5, 4)
    LARS([parameter], lr=0.1, weight_decay=0.0, momentum=MOMENTUM, trust=TRUST, clip=False).step()
    assert (parameter - weight).norm().item() == pytest.approx(0.1 * TRUST * weight.norm().item())


@pytest.mark.parametrize("clip", [True, False])
def test_lars_leaves_weight_decay_off_vectors(clip: bool) -> None:
    parameter = torch.nn.Parameter(torch.ones(5))
    parameter.grad = torch.zeros(5)
    LARS([parameter], lr=0.1, weight_decay=1.0, momentum=MOMENTUM, trust=TRUST, clip=clip).step()
    assert torch.equal(parameter, torch.ones(5))


@pytest.mark.parametrize("clip", [True, False])
def test_lars_at_a_rate_of_zero_moves_nothing(clip: bool) -> None:
    parameter = torch.nn.Parameter(torch.ones(5, 4))
    parameter.grad = torch.ones(5, 4)
    LARS([parameter], lr=0.0, weight_decay=DECAY, momentum=MOMENTUM, trust=TRUST, clip=clip).step()
    assert torch.equal(parameter, torch.ones(5, 4))


def test_lars_passes_over_a_parameter_without_gradient() -> None:
    trained, frozen = torch.nn.Parameter(torch.ones(2, 2)), torch.nn.Parameter(torch.ones(2, 2))
    trained.grad = torch.ones(2, 2)
    LARS([trained, frozen], lr=0.1, weight_decay=DECAY, momentum=MOMENTUM, trust=TRUST, clip=True).step()
    assert torch.equal(frozen, torch.ones(2, 2))
    assert not torch.equal(trained, torch.ones(2, 2))


def test_lars_goes_on_from_its_state_dict_as_if_never_stopped() -> None:
    gradients = [_draw() for _ in range(4)]
    start = _draw()

    def trained(stop_after: int | None) -> list[Tensor]:
        parameters = [torch.nn.Parameter(value.clone()) for value in start.values()]
        settings = Optimizer(name="lars", lr=0.1, weight_decay=DECAY)
        optimizer = build_optimizer(parameters, settings, 0.1)
        for step, gradient in enumerate(gradients):
            if step == stop_after:
                saved = optimizer.state_dict()
                optimizer = build_optimizer(parameters, settings, 0.1)
                optimizer.load_state_dict(saved)
            for parameter, value in zip(parameters, gradient.values(), strict=True):
                parameter.grad = value.clone()
            optimizer.step()
        return [parameter.detach() for parameter in parameters]

    assert all(torch.equal(a, b) for a, b in zip(trained(None), trained(2), strict=True))


def _larc_update(weight: list[float], gradient: list[float], lr: float, *, clip: bool) -> list[float]:
    """What enters SGD's momentum buffer under NVIDIA apex's LARC, number by number; vectors are no exception."""
    weight_norm, gradient_norm = _norm(weight), _norm(gradient)
    if weight_norm == 0 or gradient_norm == 0:
        return gradient
    local = TRUST * weight_norm / (gradient_norm + DECAY * weight_norm + 1e-8)
    return [(min(local / lr, 1) if clip else local) * (g + DECAY * w) for g, w in zip(gradient, weight, strict=True)]


@pytest.mark.parametrize("clip", [True, False], ids=["clipped", "as SwAV"])
@pytest.mark.parametrize("scale", [0.0, 1.0], ids=["weights zero", "weights random"])
def test_larc_equals_a_loop_over_single_numbers(scale: float, clip: bool) -> None:
    start, lr = _draw(scale), 0.3
    parameters = {name: torch.nn.Parameter(value.clone()) for name, value in start.items()}
    settings = Optimizer(name="larc", lr=lr, weight_decay=DECAY, momentum=MOMENTUM, trust=TRUST, clip=clip)
    optimizer = build_optimizer(parameters, settings, lr)
    weights = {name: value.flatten().tolist() for name, value in start.items()}
    buffers = {name: [0.0] * value.numel() for name, value in start.items()}
    for _ in range(3):
        for name, gradient in _draw(0.1).items():
            parameters[name].grad = gradient.clone()
            update = _larc_update(weights[name], gradient.flatten().tolist(), lr, clip=clip)
            buffers[name] = [MOMENTUM * b + u for b, u in zip(buffers[name], update, strict=True)]
            weights[name] = [w - lr * b for w, b in zip(weights[name], buffers[name], strict=True)]
        optimizer.step()
        for name, parameter in parameters.items():
            expected = torch.tensor(weights[name]).reshape(parameter.shape)
            assert torch.allclose(parameter, expected, rtol=1e-12, atol=1e-14), name


def _named() -> dict[str, Tensor]:
    names = ("backbone.conv.weight", "backbone.bn.bias", "predictor.0.weight", "predictor.0.bias")
    return {name: torch.nn.Parameter(torch.ones(3, 3) if name.endswith("weight") else torch.ones(3)) for name in names}


def _rates(settings: Optimizer, lr: float, peak: float) -> dict[str, float]:
    """Each parameter's rate, by name, while the schedule is at `lr`."""
    named = _named()
    optimizer = build_optimizer(named, settings, peak)
    set_rate(optimizer, lr, peak)
    return {
        name: group["lr"]
        for group in optimizer.param_groups
        for name, parameter in named.items()
        if any(parameter is member for member in group["params"])
    }


def test_without_exceptions_every_parameter_has_the_schedules_rate() -> None:
    assert set(_rates(Optimizer(lr=0.4), lr=0.1, peak=0.4).values()) == {0.1}


def test_vectors_have_their_own_rate_in_proportion_to_the_schedules() -> None:
    rates = _rates(Optimizer(name="lars", lr=0.2, vector_lr=0.0048, lr_batch=256), lr=0.8, peak=1.6)
    assert rates["backbone.conv.weight"] == rates["predictor.0.weight"] == 0.8
    assert rates["backbone.bn.bias"] == rates["predictor.0.bias"] == pytest.approx(0.8 * 0.0048 / 0.2)


def test_a_constant_predictor_stays_at_the_peak_while_all_else_falls() -> None:
    rates = _rates(Optimizer(name="sgd", lr=0.1, constant="predictor"), lr=0.01, peak=0.1)
    assert rates["predictor.0.weight"] == rates["predictor.0.bias"] == 0.1
    assert rates["backbone.conv.weight"] == rates["backbone.bn.bias"] == 0.01


def test_only_the_predictor_itself_is_held_constant() -> None:
    peers = {name: torch.nn.Parameter(torch.ones(2)) for name in ("predictors.weight", "target.predictor.weight")}
    optimizer = build_optimizer(peers, Optimizer(name="sgd", lr=0.1, constant="predictor"), 0.1)
    set_rate(optimizer, 0.01, 0.1)
    assert [group["lr"] for group in optimizer.param_groups] == [0.01]


def test_groups_and_their_rates_come_back_from_a_state_dict() -> None:
    settings = Optimizer(name="lars", lr=0.2, vector_lr=0.0048, constant="predictor")
    saved = build_optimizer(_named(), settings, 0.2)
    optimizer = build_optimizer(_named(), settings, 0.2)
    optimizer.load_state_dict(saved.state_dict())
    for each in (saved, optimizer):
        set_rate(each, 0.1, 0.2)
    assert [group["lr"] for group in optimizer.param_groups] == [group["lr"] for group in saved.param_groups]
    assert len(optimizer.param_groups) == 4


def test_a_checkpoint_from_before_groups_had_shares_goes_on_at_the_schedules_rate() -> None:
    parameter = torch.nn.Parameter(torch.ones(2, 2))
    optimizer = build_optimizer([parameter], Optimizer(name="lars", lr=0.2), 0.2)
    saved = optimizer.state_dict()
    for key in ("share", "constant", "larc"):
        del saved["param_groups"][0][key]
    optimizer.load_state_dict(saved)
    set_rate(optimizer, 0.05, 0.2)
    parameter.grad = torch.ones(2, 2)
    optimizer.step()
    assert optimizer.param_groups[0]["lr"] == 0.05


@pytest.mark.parametrize(
    "name, kind", [("adam", torch.optim.Adam), ("sgd", torch.optim.SGD), ("lars", LARS), ("larc", LARS)]
)
def test_the_optimiser_is_of_the_kind_the_recipe_names(name: Any, kind: type) -> None:
    settings = Optimizer(name=name, weight_decay=0.25, momentum=0.75, trust=0.125, clip=False)
    optimizer = build_optimizer(iter([torch.nn.Parameter(torch.ones(2))]), settings, 0.5)
    assert type(optimizer) is kind
    (group,) = optimizer.param_groups
    assert (group["lr"], group["weight_decay"]) == (0.5, 0.25)
    assert name == "adam" or group["momentum"] == 0.75
    assert name not in ("lars", "larc") or (group["trust"], group["clip"], group["larc"]) == (
        0.125,
        False,
        name == "larc",
    )


def test_adams_weight_decay_is_a_term_of_the_gradient() -> None:
    decayed, explicit = (torch.nn.Parameter(torch.full((3,), 2.0)) for _ in range(2))
    decayed.grad, explicit.grad = torch.full((3,), 0.1), torch.full((3,), 0.1 + 0.5 * 2.0)
    build_optimizer([decayed], Optimizer(weight_decay=0.5), 0.01).step()
    torch.optim.Adam([explicit], lr=0.01, betas=(0.9, 0.999)).step()
    assert torch.equal(decayed, explicit)


@pytest.mark.parametrize("name", ["adam", "sgd"])
@pytest.mark.parametrize("before, after", [(None, True), (True, None)], ids=["to fused", "from fused"])
def test_a_state_of_other_kernels_goes_on_with_the_kernels_of_this_device(
    name: Any, before: bool | None, after: bool | None
) -> None:
    """A CPU has both, so one stands for another device here; fused kernels round otherwise."""
    kind = torch.optim.Adam if name == "adam" else partial(torch.optim.SGD, momentum=0.9)
    gradients = [torch.randn(5, 4) for _ in range(4)]

    def trained(*fused: bool | None) -> tuple[Tensor, torch.optim.Optimizer]:
        weight, saved = torch.nn.Parameter(torch.ones(5, 4)), None
        for kernels, part in zip(fused, (gradients[:2], gradients[2:]), strict=True):
            optimizer = kind([weight], lr=0.1, fused=kernels)
            if saved:
                restore_optimizer(optimizer, saved)
            for gradient in part:
                weight.grad = gradient.clone()
                optimizer.step()
            saved = optimizer.state_dict()
        return weight.detach(), optimizer

    expected, _ = trained(None, None)
    weight, optimizer = trained(before, after)
    assert optimizer.param_groups[0]["fused"] is after
    torch.testing.assert_close(weight, expected, rtol=1e-10, atol=1e-12)


def test_a_state_takes_the_memory_layout_of_its_parameter() -> None:
    weight = torch.randn(4, 3, 2, 2)
    saved = torch.optim.Adam([torch.nn.Parameter(weight)])
    saved.param_groups[0]["params"][0].grad = weight.clone()
    saved.step()
    parameter = torch.nn.Parameter(weight.to(memory_format=torch.channels_last))
    optimizer = torch.optim.Adam([parameter])
    restore_optimizer(optimizer, saved.state_dict())
    kept = optimizer.state[parameter]["exp_avg"]
    assert kept.stride() == parameter.stride()
    assert torch.equal(kept, saved.state[saved.param_groups[0]["params"][0]]["exp_avg"])


def test_a_fused_kernel_gets_gradients_in_the_layout_of_their_parameters() -> None:
    parameter = torch.nn.Parameter(torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last))
    gradient = torch.randn(4, 3, 2, 2)
    parameter.grad = gradient.clone()
    optimizer = torch.optim.SGD([parameter, torch.nn.Parameter(torch.ones(2))], fused=True)
    _lay_out_gradients(optimizer)
    assert parameter.grad.stride() == parameter.stride()
    assert torch.equal(parameter.grad, gradient)


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_off_cuda_torch_chooses_the_kernels(name: Any) -> None:
    optimizer = build_optimizer([torch.nn.Parameter(torch.ones(2))], Optimizer(name=name), 0.1)
    assert optimizer.param_groups[0]["fused"] is None


RECIPE_S = preset("simclr", "cifar10")
RECIPE_L = preset("barlow_twins", "cifar10")


def test_recipe_s_warms_up_in_500_equal_steps_to_the_peak() -> None:
    rates = [learning_rate(RECIPE_S, step, STEPS_PER_EPOCH) for step in range(500)]
    assert rates == pytest.approx([3e-3 * (step + 1) / 500 for step in range(500)])
    assert rates[-1] == 3e-3


@pytest.mark.parametrize(
    "epoch, rate",
    [(6, 3e-3), (500, 3e-3), (949.99, 3e-3), (950, 6e-4), (974.99, 6e-4), (975, 1.2e-4), (999.99, 1.2e-4)],
)
def test_recipe_s_is_constant_but_for_a_fifth_at_50_and_25_epochs_before_the_end(epoch: float, rate: float) -> None:
    assert learning_rate(RECIPE_S, int(epoch * STEPS_PER_EPOCH), STEPS_PER_EPOCH) == pytest.approx(rate)


def test_recipe_s_drops_exactly_at_the_epochs_first_step() -> None:
    rates = [learning_rate(RECIPE_S, step, STEPS_PER_EPOCH) for step in (950 * 97 - 1, 950 * 97)]
    assert rates == pytest.approx([3e-3, 6e-4])


@pytest.mark.parametrize(
    "epochs, rates", [(20, (3e-3, 3e-3)), (25, (3e-3, 3e-3)), (40, (3e-3, 6e-4)), (60, (3e-3, 1.2e-4))]
)
def test_a_drop_that_a_short_run_would_have_before_its_start_does_not_happen(
    epochs: int, rates: tuple[float, float]
) -> None:
    run = replace(RECIPE_S, epochs=epochs)
    found = tuple(learning_rate(run, step, STEPS_PER_EPOCH) for step in (500, epochs * STEPS_PER_EPOCH - 1))
    assert found == pytest.approx(rates)


def test_recipe_l_warms_up_over_ten_epochs_from_3e_5() -> None:
    warmup = 10 * STEPS_PER_EPOCH
    rates = [learning_rate(RECIPE_L, step, STEPS_PER_EPOCH) for step in range(warmup)]
    assert rates[0] == pytest.approx(3e-5 + (0.3 - 3e-5) / warmup)
    assert [b - a for a, b in pairwise(rates)] == pytest.approx([(0.3 - 3e-5) / warmup] * 969)
    assert rates[-1] == pytest.approx(0.3)


@pytest.mark.parametrize(
    "share, part", [(0, 1.0), (0.25, (1 + math.sqrt(0.5)) / 2), (0.5, 0.5), (0.75, (1 - math.sqrt(0.5)) / 2), (1, 0.0)]
)
def test_recipe_l_is_a_cosine_from_the_peak_to_zero_after_warm_up(share: float, part: float) -> None:
    start, end = 10 * STEPS_PER_EPOCH, 1000 * STEPS_PER_EPOCH
    rate = learning_rate(RECIPE_L, round(start + share * (end - start)), STEPS_PER_EPOCH)
    assert rate == pytest.approx(0.3 * part, rel=1e-4, abs=1e-12)


def test_a_cosine_ends_at_the_share_it_was_asked_for() -> None:
    run = replace(RECIPE_L, schedule=replace(RECIPE_L.schedule, final=0.01))
    assert learning_rate(run, 1000 * STEPS_PER_EPOCH, STEPS_PER_EPOCH) == pytest.approx(0.003)


def test_the_cosine_never_jumps() -> None:
    run = replace(RECIPE_L, epochs=50)
    rates = [learning_rate(run, step, STEPS_PER_EPOCH) for step in range(50 * STEPS_PER_EPOCH + 1)]
    steepest = max(abs(b - a) for a, b in pairwise(rates))
    assert steepest <= 1.01 * 0.3 / (10 * STEPS_PER_EPOCH)


@pytest.mark.parametrize("epoch", [0, 1, 99, 150, 199])
def test_a_cosine_that_moves_once_an_epoch_is_that_of_the_epochs_first_step(epoch: int) -> None:
    schedule = Schedule(kind="cosine", warmup_steps=0, moves="epoch")
    run = replace(RECIPE_L, epochs=200, schedule=schedule)
    rates = {learning_rate(run, epoch * STEPS_PER_EPOCH + step, STEPS_PER_EPOCH) for step in range(STEPS_PER_EPOCH)}
    (rate,) = rates
    assert rate == pytest.approx(0.3 * (1 + math.cos(math.pi * epoch / 200)) / 2)  # MoCo and SimSiam code


def test_a_warm_up_that_ends_within_an_epoch_is_followed_by_the_peak_though_the_cosine_moves_by_epochs() -> None:
    run = replace(RECIPE_L, schedule=Schedule(kind="cosine", warmup_steps=30, moves="epoch"))
    assert learning_rate(run, 30, STEPS_PER_EPOCH) == learning_rate(run, STEPS_PER_EPOCH - 1, STEPS_PER_EPOCH) == 0.3


@pytest.mark.parametrize("method, epochs", [("moco", (120, 160)), ("cmc", (120, 160, 200)), ("supervised", (30, 60))])
def test_drops_come_at_the_epochs_of_the_publications(method: str, epochs: tuple[int, ...]) -> None:
    recipe = IMAGENET[method]["v1" if method == "moco" else ""]
    run = recipe.applied(Run(method=method, dataset="cifar10"))
    steps = range(0, (recipe.epochs or 0) * 10, 10)
    rates = [learning_rate(run, step, 10) for step in steps]
    assert tuple(i for i, (a, b) in enumerate(pairwise(rates), 1) if b == pytest.approx(a / 10)) == epochs
    assert len(set(rates)) == len(epochs) + 1


@pytest.mark.parametrize("warmup_steps, warmup_epochs", [(500, 0.0), (0, 10.0), (30, 0.5), (1, 0.0)])
@pytest.mark.parametrize("kind", ["steps", "cosine"])
def test_the_last_step_of_warm_up_and_the_one_after_it_are_at_the_peak(
    kind: Any, warmup_steps: int, warmup_epochs: float
) -> None:
    schedule = Schedule(kind=kind, warmup_steps=warmup_steps, warmup_epochs=warmup_epochs)
    run = replace(RECIPE_S, schedule=schedule)
    warmup = warmup_steps + round(warmup_epochs * STEPS_PER_EPOCH)
    assert learning_rate(run, warmup - 1, STEPS_PER_EPOCH) == run.peak_lr
    assert learning_rate(run, warmup, STEPS_PER_EPOCH) == pytest.approx(run.peak_lr, rel=1e-6)


@pytest.mark.parametrize("kind", ["steps", "cosine"])
def test_without_warm_up_the_first_step_is_at_the_peak(kind: Any) -> None:
    run = replace(RECIPE_S, schedule=Schedule(kind=kind, warmup_steps=0))
    assert learning_rate(run, 0, STEPS_PER_EPOCH) == run.peak_lr


@pytest.mark.parametrize("run", [RECIPE_S, RECIPE_L], ids=["S", "L"])
def test_a_run_of_zero_epochs_has_a_finite_rate(run: Run) -> None:
    for step in (0, 10_000):
        assert 0 <= learning_rate(replace(run, epochs=0), step, STEPS_PER_EPOCH) <= run.peak_lr


def test_a_run_shorter_than_its_warm_up_only_rises() -> None:
    run = replace(RECIPE_S, epochs=2)
    rates = [learning_rate(run, step, STEPS_PER_EPOCH) for step in range(2 * STEPS_PER_EPOCH)]
    assert rates == sorted(rates)
    assert rates[-1] == pytest.approx(3e-3 * 194 / 500)


@pytest.mark.parametrize("run, peak", [(RECIPE_S, 3e-3), (RECIPE_L, 1.2)], ids=["S", "L"])
def test_the_rate_grows_with_the_batch_only_where_the_recipe_quotes_one(run: Run, peak: float) -> None:
    wide: Run = replace(run, batch_size=1024)
    assert learning_rate(wide, 500 + 10 * 48, 48) == pytest.approx(peak, rel=1e-3)
