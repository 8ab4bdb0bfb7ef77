"""SSL-HSIC: both forms against slow loops and each other, the random features, and the learned kernel scale."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from compmod.pretrain.methods.base import Embedded
from compmod.pretrain.methods.build import build_method
from compmod.pretrain.methods.parts.fourier import Draw, cumulative, draw_fourier, fourier_features, log_density
from compmod.pretrain.methods.ssl_hsic import LEAST_SCALE, SSLHSIC, hsic_loss_exact, hsic_loss_random, kernel_slope
from compmod.pretrain.recipes.presets import preset
from compmod.pretrain.specs.run import Backbone, Projector
from compmod.pretrain.views.batch import Batch
from torch import Tensor

CASES = [(2, (5, 3)), (4, (4, 8)), (3, (7, 2))]  # views, and the shape of each
SETTINGS = [(1.0, 0.5), (0.4, 3.0)]  # scale and gamma, at which the loss is no small difference of large terms


def unit(rows: Tensor) -> list[Tensor]:
    return [row / row.square().sum().sqrt() for row in rows]


def exact_loop(views: tuple[Tensor, ...], scale: float, gamma: float) -> Tensor:
    """The kernel matrix entry by entry; HSIC(Z, Z) as a trace of centred products."""
    k, n = len(views), len(views[0])
    rows = [row for view in views for row in unit(view)]
    kernel = torch.stack(
        [torch.stack([scale / (scale**2 + (a - b).square().sum()).sqrt() for b in rows]) for a in rows]
    )
    same = torch.stack([kernel[v * n + i, w * n + i] for v in range(k) for w in range(k) for i in range(n)]).sum()
    hsic_zy = same / (n * k * (k - 1)) - kernel.sum() / (n * k) ** 2
    centring = torch.eye(n * k, dtype=kernel.dtype) - 1 / (n * k)
    hsic_zz = torch.trace(kernel @ centring @ kernel @ centring) / (n * k) ** 2
    return gamma * hsic_zz.sqrt() - hsic_zy


def random_loop(views: tuple[Tensor, ...], first: Draw, second: Draw, scale: float, gamma: float) -> Tensor:
    """The features one by one, in float64."""
    k, n = len(views), len(views[0])
    phi = []
    for frequencies, phases in (first, second):
        count = len(phases)
        phi.append(
            [
                [
                    torch.stack(
                        [
                            math.sqrt(2 / count) * torch.cos(frequencies[f].double() @ z / scale + phases[f].double())
                            for f in range(count)
                        ]
                    )
                    for z in unit(view)
                ]
                for view in views
            ]
        )
    zero = torch.zeros((), dtype=torch.float64)
    own = sum((torch.stack([phi[0][v][i] for v in range(k)]).sum(0).square().sum() for i in range(n)), zero)
    sums = [torch.stack([phi[d][v][i] for v in range(k) for i in range(n)]).sum(0) for d in (0, 1)]
    hsic_zy = own / (n * k * (k - 1)) - sums[0].square().sum() / (n * k) ** 2
    products = torch.zeros(len(first[1]), len(second[1]), dtype=torch.float64)
    for v in range(k):
        for i in range(n):
            products = products + torch.outer(phi[0][v][i] - sums[0] / (n * k), phi[1][v][i] - sums[1] / (n * k))
    return gamma * (products.square().sum() / (n * k) ** 2).sqrt() - hsic_zy


def draws(width: int, features: int, seed: int = 0) -> tuple[Draw, Draw]:
    generator = torch.Generator().manual_seed(seed)
    first, second = (draw_fourier(width, features, generator, torch.zeros((), dtype=torch.float64)) for _ in range(2))
    return first, second


FORM_CASES = [(12, "auto", 0), (512, "auto", 0), (513, "auto", 2), (12, "random", 2), (513, "exact", 0)]  # draws


def embeddings(views: int, batch: int, width: int, seed: int = 0) -> tuple[Tensor, ...]:
    """Views of one image resemble each other."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(batch, width, generator=generator, dtype=torch.float64)
    return tuple(
        image + 0.3 * torch.randn(batch, width, generator=generator, dtype=torch.float64) for _ in range(views)
    )


def batch(step: int = 0, count: int = 12, dtype: torch.dtype = torch.float32) -> Batch:
    views = tuple(torch.randn(count, 3, 8, 8, dtype=dtype, generator=torch.Generator().manual_seed(s)) for s in (1, 2))
    return Batch(views=views, index=torch.arange(count), labels=torch.zeros(count, dtype=torch.int64), step=step)


def ssl_hsic(**options: float | str) -> SSLHSIC:
    run = replace(
        preset("ssl_hsic", "digits"),
        backbone=Backbone(name="resnet10", width=4),
        projector=Projector(hidden=12, out=8),
        options=tuple({"predictor_hidden": 12, **options}.items()),
    )
    torch.manual_seed(0)
    method = build_method(run, 8)
    assert isinstance(method, SSLHSIC)
    return method


# --- the loss ---


@pytest.mark.parametrize("scale, gamma", SETTINGS)
@pytest.mark.parametrize("views, shape", CASES)
def test_the_exact_form_equals_a_slow_loop(
    equal_with_gradients: Callable[..., None], views: int, shape: tuple[int, int], scale: float, gamma: float
) -> None:
    equal_with_gradients(
        lambda *z: hsic_loss_exact(z, scale, gamma), lambda *z: exact_loop(z, scale, gamma), *(shape,) * views
    )


@pytest.mark.parametrize("scale, gamma", SETTINGS)
@pytest.mark.parametrize("views, shape", CASES)
def test_the_random_form_equals_a_slow_loop(
    equal_with_gradients: Callable[..., None], views: int, shape: tuple[int, int], scale: float, gamma: float
) -> None:
    first, second = ((w.float(), b.float()) for w, b in draws(shape[1], 6))

    def ours(*z: Tensor) -> Tensor:
        one, other = ((w.to(z[0]), b.to(z[0])) for w, b in (first, second))
        return hsic_loss_random(z, one, other, scale, gamma)

    equal_with_gradients(ours, lambda *z: random_loop(z, first, second, scale, gamma), *(shape,) * views)


def test_the_random_form_approaches_the_exact_one_as_one_over_the_root_of_the_features() -> None:
    views = embeddings(4, 16, 8)
    exact = hsic_loss_exact(views, 0.8, 3.0)

    def error(features: int) -> float:
        """Root mean square over 40 draws."""
        losses = [hsic_loss_random(views, *draws(8, features, seed), 0.8, 3.0) for seed in range(40)]
        return (torch.stack(losses) - exact).square().mean().sqrt().item()

    few, many = error(128), error(2048)
    assert 2.5 < few / many < 6.5  # 4 if the rate is exact
    assert many < 0.02 * exact.abs()


def test_both_forms_stay_finite_when_all_embeddings_are_equal() -> None:
    for loss in (
        lambda *z: hsic_loss_exact(z, 1.0, 3.0),
        lambda *z: hsic_loss_random(z, *draws(5, 16), 1.0, 3.0),
    ):
        views = [torch.ones(6, 5, dtype=torch.float64, requires_grad=True) for _ in range(4)]
        slopes = torch.autograd.grad(loss(*views), views, create_graph=True)
        curvature = torch.autograd.grad(sum((s.square().sum() for s in slopes), torch.zeros(())), views)
        assert all(tensor.isfinite().all() for tensor in (*slopes, *curvature))


def test_second_derivatives_of_both_forms_are_right() -> None:
    views = tuple(z.requires_grad_() for z in embeddings(2, 3, 4))
    first, second = draws(4, 5)
    assert torch.autograd.gradgradcheck(lambda *z: hsic_loss_exact(z, 0.7, 3.0), views)
    assert torch.autograd.gradgradcheck(lambda *z: hsic_loss_random(z, first, second, 0.7, 3.0), views)


# --- random features ---


@pytest.mark.parametrize("width", [1, 2, 3, 8, 64, 255])
def test_the_density_of_frequencies_equals_scipys_bessel_functions(width: int) -> None:
    from scipy import special

    t = torch.linspace(20 if width == 255 else 0.5, 100, 50, dtype=torch.float64)
    order = (width - 1) / 2
    expected = order * t.log() + torch.from_numpy(special.kve(order, t.numpy())).log() - t
    torch.testing.assert_close(log_density(t, width), expected, rtol=1e-10, atol=1e-10)


def test_the_density_is_finite_on_the_whole_grid_at_the_widest_embedding() -> None:
    t = torch.tensor([1e-12, 1e-3], dtype=torch.float64)
    order = (8192 - 1) / 2
    limit = torch.full_like(t, (order - 1) * math.log(2) + math.lgamma(order))  # of t^v K_v(t) at 0
    torch.testing.assert_close(log_density(t, 8192), limit, rtol=1e-10, atol=0)


@pytest.mark.parametrize("width", [1, 8, 256])
def test_frequencies_follow_the_density(width: int) -> None:
    frequencies, _ = draw_fourier(width, 20_000, torch.Generator().manual_seed(1), torch.zeros((), dtype=torch.float64))
    lengths = torch.linspace(1e-12, 100, 10_000, dtype=torch.float64)
    probability = torch.cat([cumulative(width)[:1], cumulative(width).diff()])
    drawn = frequencies.square().sum(dim=1).sqrt()
    for quantile in (0.1, 0.5, 0.9):
        boundary = lengths[torch.searchsorted(cumulative(width), quantile)]
        inside = probability[lengths <= boundary].sum()
        assert abs((drawn <= boundary * (1 + 1e-9)).double().mean() - inside) < 0.015  # four deviations


@pytest.mark.parametrize(
    "width", [2, 8, 256]
)  # at width 1 the density has a pole at 0, where the authors' grid is too coarse
def test_features_estimate_the_inverse_multiquadric_kernel(width: int) -> None:
    generator = torch.Generator().manual_seed(2)
    x = torch.rand(6, width, generator=generator, dtype=torch.float64) / math.sqrt(width)
    scale = 0.5
    features = fourier_features(x / scale, *draws(width, 40_000)[0])
    kernel = scale / (scale**2 + torch.cdist(x, x).square()).sqrt()
    torch.testing.assert_close(features @ features.T, kernel, rtol=0, atol=0.025)


# --- the kernel's scale ---


def test_the_scale_climbs_the_authors_objective_by_adam() -> None:
    method = ssl_hsic(target=False, kernel_lr=1e-2).double()
    reference = torch.ones((), dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([reference], lr=1e-2, maximize=True)
    for step in range(5):
        targets = method.targets(batch(step, dtype=torch.float64))
        z = embeddings(2, 12, 8, seed=step)
        rows = torch.stack([row for view in z for row in unit(view)])
        squared = (rows[targets[3][0]] - rows[targets[3][1]]).square().sum(dim=1).requires_grad_()
        kernel_slopes = torch.autograd.grad(
            (reference / (reference**2 + squared).sqrt()).sum(), squared, create_graph=True
        )[0]
        adam.zero_grad()
        (kernel_slopes.square().log() / 2).mean().backward(inputs=[reference])
        adam.step()
        method.after_step(0.0, Embedded(z, z), targets)
        torch.testing.assert_close(method.scale, reference.detach(), rtol=1e-12, atol=0)
    assert abs(method.scale - 1) > 0.01


def test_the_slope_of_the_scale_is_zero_where_its_square_is_half_the_squared_distance() -> None:
    first, second = torch.eye(2, dtype=torch.float64)  # at right angles: squared distance 2
    assert kernel_slope(first[None], second[None], torch.ones((), dtype=torch.float64)).abs() < 1e-12


def test_the_scale_is_learned_in_float32_where_the_networks_compute_in_bfloat16() -> None:
    method = ssl_hsic()
    with torch.autocast("cpu", torch.bfloat16):
        targets = method.targets(batch())
        embedded = method.embed(batch().views).detach()
    assert embedded.embeddings[0].dtype == torch.bfloat16
    method.after_step(0.0, embedded, targets)
    assert method.scale.dtype == torch.float32
    assert method.scale != 1


def test_the_scale_stays_positive_when_embeddings_collapse() -> None:
    method = ssl_hsic(target=False, kernel_lr=0.4)
    z = torch.ones(12, 8)
    for step in range(10):
        method.after_step(0.0, Embedded((z, z), (z, z)), method.targets(batch(step)))
    assert method.scale == torch.tensor(LEAST_SCALE)


def test_the_scale_is_constant_in_the_loss() -> None:
    method = ssl_hsic()
    assert "scale" not in dict(method.named_parameters())
    targets = method.targets(batch())
    embedded = method.embed(batch().views)
    before = method.loss(embedded, targets)
    method.scale += 1
    torch.testing.assert_close(method.loss(embedded, targets), before)


def test_the_state_dict_holds_the_scale_and_its_optimizer() -> None:
    assert {"scale", "scale_moments", "scale_updates"} <= ssl_hsic().state_dict().keys()


# --- the method ---


def test_predictions_and_targets_of_both_views_are_compared() -> None:
    method = ssl_hsic(gamma=2.0)
    assert method.predictor is not None
    targets = method.targets(batch())
    embedded = method.embed(batch().views)
    predictions = [method.predictor(z) for z in embedded.embeddings]
    expected = hsic_loss_exact((*predictions, *targets[1]), 1.0, 2.0)
    torch.testing.assert_close(method.loss(embedded, targets), expected)


def test_without_a_target_the_two_projections_are_compared() -> None:
    method = ssl_hsic(target=False)
    embedded = method.embed(batch().views)
    expected = hsic_loss_exact(embedded.embeddings, 1.0, 3.0)
    torch.testing.assert_close(method.loss(embedded, method.targets(batch())), expected)
    assert {name.split(".")[0] for name, _ in method.named_parameters()} == {"backbone", "projector"}


@pytest.mark.parametrize("count, form, random", FORM_CASES)
def test_the_exact_form_is_for_batches_up_to_512_unless_one_is_asked_for(count: int, form: str, random: int) -> None:
    images = replace(batch(count=count), views=tuple(view[..., :2, :2] for view in batch(count=count).views))
    assert len(ssl_hsic(target=False, form=form).targets(images)[2]) == random


def test_the_random_form_trains_on_two_draws_of_its_features() -> None:
    method = ssl_hsic(form="random", features=20)
    (w1, b1), (w2, _) = method.targets(batch())[2]
    assert w1.shape == (20, 8)
    assert b1.shape == (20,)
    assert not torch.equal(w1, w2)
    method(batch()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.backbone.parameters())


def test_random_choices_are_functions_of_seed_and_step() -> None:
    method = ssl_hsic(form="random", features=4)
    torch.manual_seed(1)
    first = method.targets(batch(step=3))
    torch.manual_seed(2)
    again, later = method.targets(batch(step=3)), method.targets(batch(step=4))
    assert torch.equal(first[2][0][0], again[2][0][0])
    assert torch.equal(first[3], again[3])
    assert not torch.equal(first[2][0][0], later[2][0][0])
    assert not torch.equal(first[3], later[3])


def test_running_statistics_count_each_batch_once() -> None:
    method = ssl_hsic()
    targets = method.targets(batch())
    embedded = method.embed(batch().views)
    method.loss(embedded, targets)
    before = {name: b.clone() for name, b in method.named_buffers() if not name.startswith("scale")}
    method.after_step(0.0, embedded.detach(), targets)
    assert all(torch.equal(b, before[name]) for name, b in method.named_buffers() if not name.startswith("scale"))


def test_the_target_moves_by_its_momentum_after_a_step() -> None:
    method = ssl_hsic(momentum=0.9)
    assert method.target is not None
    start = [p.clone() for p in method.target.parameters()]
    targets, embedded = method.targets(batch()), method.embed(batch().views).detach()
    with torch.no_grad():
        for p in (*method.backbone.parameters(), *method.projector.parameters()):
            p += 1
    method.after_step(0.0, embedded, targets)
    for before, after in zip(start, method.target.parameters(), strict=True):
        torch.testing.assert_close(after, before + 0.1)


def test_the_encoder_has_parameters_averaged_over_the_steps_and_the_statistics_of_training() -> None:
    method = ssl_hsic(average=0.75)
    expected = [p.detach().clone() for p in method.backbone.parameters()]
    for step in range(3):
        targets, embedded = method.targets(batch(step)), method.embed(batch(step).views).detach()
        with torch.no_grad():
            for p in method.backbone.parameters():
                p += step + 1
        method.after_step(0.0, embedded, targets)
        expected = [0.75 * e + 0.25 * p.detach() for e, p in zip(expected, method.backbone.parameters(), strict=True)]
    for p, e in zip(method.encoder.parameters(), expected, strict=True):
        torch.testing.assert_close(p, e)
    online = dict(method.backbone.named_buffers())
    assert {name for name, _ in method.encoder.named_buffers()} == online.keys()
    assert all(torch.equal(buffer, online[name]) for name, buffer in method.encoder.named_buffers())


def test_without_averaging_the_trunk_itself_is_the_encoder() -> None:
    method = ssl_hsic()
    assert method.encoder is method.backbone
