"""CMC: both losses against slow loops; its memory banks, negatives and normalisers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from compmod.pretrain.methods.build import build_method
from compmod.pretrain.methods.cmc import CMC, contrast_loss, nce_loss
from compmod.pretrain.recipes.presets import preset
from compmod.pretrain.specs.run import Backbone, Projector
from compmod.pretrain.views.batch import Batch
from torch import Tensor

SHAPES = [(4, 3, 6), (7, 8, 2), (3, 16, 40)]  # samples, width, rows
SAMPLES, IMAGES, WIDTH = 5, 30, 4


def build(colours: str = "lab", layers: int = 1, seed: int = 0, **options: int | float | str) -> CMC:
    run = replace(
        preset("cmc", "digits"),
        seed=seed,
        backbone=replace(Backbone(name="resnet10", width=4), colours=colours),
        projector=Projector(layers=layers, hidden=8, out=WIDTH),
        options=tuple({"negatives": 6, **options}.items()),
    )
    torch.manual_seed(0)
    method = build_method(run, 8)
    assert isinstance(method, CMC)
    method.double().allocate(IMAGES)
    return method


def batch(step: int = 0, first: int = 0) -> Batch:
    """Samples `first`, `first` + 1, ... of the data set."""
    index = torch.arange(first, first + SAMPLES)
    generator = torch.Generator().manual_seed(first)
    views = (torch.randn(SAMPLES, 3, 8, 8, generator=generator, dtype=torch.float64),)
    return Batch(views=views, index=index, labels=torch.full((SAMPLES,), -1), step=step)


def step(method: CMC, given: Batch) -> Tensor:
    """The loss of one batch, then what follows an update."""
    targets, embedded = method.targets(given), method.embed(given.views)
    loss = method.loss(embedded, targets)
    method.after_step(0.0, embedded.detach(), targets)
    return loss


@pytest.mark.parametrize("shape", SHAPES)
def test_the_nce_loss_equals_a_slow_loop(
    shape: tuple[int, int, int], equal_with_gradients: Callable[..., None]
) -> None:
    samples, width, rows = shape
    images, normaliser, temperature = 50, 90.0, 0.2

    def loop(z: Tensor, bank: Tensor) -> Tensor:
        noise, total = (rows - 1) / images, torch.zeros((), dtype=z.dtype)
        for n in range(samples):
            unit = z[n] / z[n].square().sum().sqrt()
            for r in range(rows):
                p = torch.exp(bank[n, r] @ unit / temperature) / normaliser
                total = total - torch.log((noise if r else p) / (p + noise + 1e-7))
        return total / samples

    logarithm = torch.tensor(normaliser, dtype=torch.float64).log()
    equal_with_gradients(
        lambda z, bank: nce_loss(z, bank, logarithm, images, temperature),
        loop,
        (samples, width),
        (samples, rows, width),
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_the_softmax_loss_equals_a_slow_loop(
    shape: tuple[int, int, int], equal_with_gradients: Callable[..., None]
) -> None:
    samples, width, rows = shape

    def loop(z: Tensor, bank: Tensor) -> Tensor:
        total = torch.zeros((), dtype=z.dtype)
        for n in range(samples):
            unit = z[n] / z[n].square().sum().sqrt()
            exponentials = [torch.exp(bank[n, r] @ unit / 0.2) for r in range(rows)]
            total = total - torch.log(exponentials[0] / sum(exponentials))
        return total / samples

    equal_with_gradients(lambda z, b: contrast_loss(z, b, 0.2), loop, (samples, width), (samples, rows, width))


def test_the_nce_loss_stays_finite_in_float32_at_a_tiny_temperature() -> None:
    z = torch.tensor([[1.0, 0.0]], requires_grad=True)
    rows = torch.tensor([[[1.0, 0.0], [-1.0, 0.0], [0.9, 0.1]]])
    loss = nce_loss(z, rows, torch.tensor(900.0), 10, 1e-3)
    loss.backward()
    assert z.grad is not None
    assert torch.isfinite(loss)
    assert torch.isfinite(z.grad).all()


@pytest.mark.parametrize("form", ["nce", "softmax"])
def test_the_loss_adds_colour_against_lightness_and_lightness_against_colour(form: str) -> None:
    method, given = build(form=form), batch()
    step(method, batch())
    rows, normalisers, _ = targets = method.targets(given)
    lightness, colour = (embedded := method.embed(given.views)).embeddings
    if form == "nce":
        expected = nce_loss(colour, rows[0], normalisers[0], IMAGES, 0.07)
        expected = expected + nce_loss(lightness, rows[1], normalisers[1], IMAGES, 0.07)
    else:
        expected = contrast_loss(colour, rows[0], 0.07) + contrast_loss(lightness, rows[1], 0.07)
    torch.testing.assert_close(method.loss(embedded, targets), expected, rtol=1e-12, atol=0)


def test_gradients_reach_both_trunks_and_both_heads() -> None:
    method = build(layers=2)
    method(batch()).backward()
    assert all(p.grad is not None for p in method.parameters())
    for part in (method.backbone.lightness, method.backbone.colour, *method.projector):
        assert all(p.grad is not None and p.grad.any() for p in part.parameters() if p.ndim > 1)


def test_the_representation_is_both_trunks_features() -> None:
    method, given = build("ycbcr"), batch()
    (representation,) = method.embed(given.views).representations
    assert representation.shape == (SAMPLES, method.backbone.features)
    torch.testing.assert_close(representation, method.backbone(given.views[0]))


def test_a_sample_is_compared_with_its_own_row_first_and_rows_of_the_whole_bank() -> None:
    method = build(negatives=2000)
    rows, _, index = method.targets(batch(first=3))
    assert rows.shape == (2, SAMPLES, 2001, WIDTH)
    assert index.tolist() == [3, 4, 5, 6, 7]
    for compared, bank in zip(rows, method.banks, strict=True):
        assert torch.equal(compared[:, 0], bank[3:8])
        found = (compared[:, 1:, None] == bank).all(3)  # samples x negatives x images
        assert (found.sum(2) == 1).all()
        counts = found.sum((0, 1))
        assert counts.min() > 0.7 * 2000 * SAMPLES / IMAGES
        assert counts.max() < 1.3 * 2000 * SAMPLES / IMAGES


def test_negatives_are_functions_of_seed_step_and_sample() -> None:
    method = build()
    rows = method.targets(batch(step=4))[0]
    one = replace(batch(step=4), index=torch.tensor([2]))
    assert torch.equal(method.targets(one)[0][:, 0], rows[:, 2])
    assert not torch.equal(method.targets(batch(step=5))[0], rows)
    method.seed = 1
    assert not torch.equal(method.targets(batch(step=4))[0], rows)


def test_banks_start_as_uniform_numbers_of_the_seed_with_rows_of_about_unit_length() -> None:
    banks = torch.stack([build(seed=seed).banks for seed in (0, 0, 1)])
    assert torch.equal(banks[0], banks[1])
    assert not torch.equal(banks[0], banks[2])
    bound = (3 / WIDTH) ** 0.5
    assert banks.abs().max() <= bound
    assert banks.max() > 0.95 * bound
    assert banks.min() < -0.95 * bound
    assert banks[0].square().sum(-1).mean().item() == pytest.approx(1, abs=0.15)


def test_a_step_moves_the_batchs_rows_towards_their_embeddings_and_no_others() -> None:
    method, given = build(bank_momentum=0.75), batch(first=10)
    before = method.banks.clone()
    embeddings = method.embed(given.views).embeddings
    step(method, given)
    for bank, old, z in zip(method.banks, before, embeddings, strict=True):
        expected = F.normalize(0.75 * old[10:15] + 0.25 * F.normalize(z))
        torch.testing.assert_close(bank[10:15], expected, rtol=1e-12, atol=1e-14)
        assert torch.equal(bank[:10], old[:10])
        assert torch.equal(bank[15:], old[15:])


def test_normalisers_are_fixed_from_the_first_batch() -> None:
    method, given = build(), batch()
    (rows, unknown, _), (lightness, colour) = method.targets(given), method.embed(given.views).embeddings
    assert unknown is None
    expected = []
    for z, compared in ((colour, rows[0]), (lightness, rows[1])):
        scores = [compared[n, r] @ F.normalize(z, dim=1)[n] for n in range(SAMPLES) for r in range(7)]
        expected.append(torch.stack(scores).div(0.07).exp().mean() * IMAGES)
    first = step(method, given)
    torch.testing.assert_close(method.log_normalisers.exp(), torch.stack(expected), rtol=1e-10, atol=0)
    by_hand = [
        nce_loss(z, compared, normaliser.log().detach(), IMAGES, 0.07)
        for z, compared, normaliser in zip((colour, lightness), rows, expected, strict=True)
    ]
    torch.testing.assert_close(first, sum(by_hand), rtol=1e-10, atol=0)
    fixed = method.log_normalisers.clone()
    step(method, batch(step=1, first=9))
    assert torch.equal(method.log_normalisers, fixed)


@pytest.mark.parametrize("form", ["nce", "softmax"])
def test_a_saved_state_goes_on_with_the_same_losses(form: str) -> None:
    first, second = build(form=form), build(form=form)
    for count in range(3):
        step(first, batch(step=count, first=count))
    second.load_state_dict(first.state_dict())
    losses = [[step(method, batch(step=s, first=1)).item() for s in (3, 4)] for method in (first, second)]
    assert losses[0] == losses[1]
    assert len(set(losses[0])) == 2


def test_the_loss_leaves_every_state_as_it_was() -> None:
    method, given = build(), batch()
    targets, embedded = method.targets(given), method.embed(given.views)
    before = {name: value.clone() for name, value in method.state_dict().items()}
    losses = [method.loss(embedded, targets) for _ in range(2)]
    assert torch.equal(*losses)
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())


def test_rgb_trunks_are_refused() -> None:
    with pytest.raises(ValueError, match=r"backbone\.colours must be lab or ycbcr, not rgb"):
        build("rgb")
