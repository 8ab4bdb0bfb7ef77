"""The linear probe: equal to a plain loop of torch's layer, optimiser and schedule, and free of side effects."""

from __future__ import annotations

import pytest
import torch
from compmod.pretrain.evaluate.linear import FIRST_LR, LAST_LR, LinearResult, learning_rate, linear_probe
from compmod.pretrain.runtime.randomness import generator, permutation
from torch import Tensor, nn


def clusters(count: int, classes: int, width: int = 8, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Overlapping clusters: neither trivial nor hopeless for a linear layer."""
    centre_CD = torch.randn(classes, width, generator=torch.Generator().manual_seed(99))
    source = torch.Generator().manual_seed(seed)
    labels_N = torch.randint(classes, (count,), generator=source)
    return centre_CD[labels_N] + torch.randn(count, width, generator=source), labels_N


def plain_loop(
    train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], classes: int, epochs: int, seed: int, batch_size: int
) -> LinearResult:
    """The protocol written with torch's own parts, one batch after the other."""
    layer = nn.Linear(train[0].shape[1], classes)
    source, bound = generator(seed, "linear probe"), train[0].shape[1] ** -0.5
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=source)
        layer.bias.uniform_(-bound, bound, generator=source)
    layer.to(train[0].dtype)
    adam = torch.optim.Adam(layer.parameters(), lr=1e-2, weight_decay=5e-6)
    schedule = torch.optim.lr_scheduler.ExponentialLR(adam, gamma=(1e-6 / 1e-2) ** (1 / (epochs - 1)))
    top1 = []
    for epoch in range(epochs):
        loss_sum = 0.0
        order = permutation(seed, epoch, len(train[1]))
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            loss = nn.functional.cross_entropy(layer(train[0][chosen]), train[1][chosen])
            adam.zero_grad()
            loss.backward()
            adam.step()
            loss_sum += loss.item() * len(chosen)
        schedule.step()
        with torch.no_grad():
            logits_MC = layer(test[0])
        top1.append((logits_MC.argmax(1) == test[1]).double().mean().item())
    ranked = logits_MC.argsort(dim=1, descending=True)[:, :5]
    return LinearResult(
        top1=top1[-1],
        top5=(ranked == test[1][:, None]).any(1).double().mean().item(),
        best_top1=max(top1),
        best_epoch=top1.index(max(top1)) + 1,
        loss=loss_sum / len(order),
    )


def test_the_probe_equals_a_plain_loop_of_torch_s_own_parts() -> None:
    # in float64: Adam divides by the root of small gradients, which lets their rounding grow over the steps
    train, test = ((rows.double(), labels) for rows, labels in (clusters(230, 7), clusters(90, 7, seed=1)))
    ours = linear_probe(*train, *test, 7, epochs=12, seed=3, batch_size=50)
    theirs = plain_loop(train, test, 7, epochs=12, seed=3, batch_size=50)
    assert (ours.top1, ours.top5, ours.best_top1, ours.best_epoch) == pytest.approx(
        (theirs.top1, theirs.top5, theirs.best_top1, theirs.best_epoch)
    )
    assert ours.loss == pytest.approx(theirs.loss, rel=1e-12)


def test_the_rate_falls_from_the_first_epoch_s_to_the_last_s_by_a_constant_factor() -> None:
    rates = [learning_rate(epoch, 5) for epoch in range(5)]
    assert rates == pytest.approx([1e-2, 1e-3, 1e-4, 1e-5, 1e-6])
    assert (rates[0], rates[-1]) == pytest.approx((FIRST_LR, LAST_LR))


def test_a_single_epoch_runs_at_the_first_rate() -> None:
    assert learning_rate(0, 1) == FIRST_LR


def test_separable_classes_are_learned() -> None:
    labels_N = torch.arange(60) % 3
    features_ND = 4 * nn.functional.one_hot(labels_N, 3).float()
    assert linear_probe(features_ND, labels_N, features_ND, labels_N, 3, epochs=60, batch_size=10).top1 == 1


def test_the_best_epoch_is_kept_beside_the_last() -> None:
    train, test = clusters(60, 5), clusters(40, 5, seed=1)
    result = linear_probe(*train, *test, 5, epochs=15, batch_size=10)
    alone = linear_probe(*train, *test, 5, epochs=15, batch_size=10)
    assert result == alone
    assert result.best_top1 >= result.top1
    assert 1 <= result.best_epoch <= 15


def test_the_last_smaller_batch_is_trained_on() -> None:
    # only the image that falls into the second batch of the single epoch tells class 1 from class 0
    last = int(permutation(0, 0, 5)[-1])
    features_ND, labels_N = torch.zeros(5, 1), torch.zeros(5, dtype=torch.long)
    without = linear_probe(features_ND, labels_N, features_ND, labels_N, 2, epochs=1, batch_size=4)
    features_ND[last] = 50.0
    with_it = linear_probe(features_ND, labels_N, features_ND, labels_N, 2, epochs=1, batch_size=4)
    assert without.loss != with_it.loss


def test_top_five_of_at_most_five_classes_is_one() -> None:
    train, test = clusters(40, 3), clusters(20, 3, seed=1)
    assert linear_probe(*train, *test, 3, epochs=2).top5 == 1


def test_equal_seeds_give_equal_results_and_other_seeds_other_losses() -> None:
    train, test = clusters(60, 4), clusters(30, 4, seed=1)
    first, second, other = (linear_probe(*train, *test, 4, epochs=3, seed=seed).loss for seed in (1, 1, 2))
    assert first == second != other


def test_the_global_random_state_is_neither_read_nor_changed() -> None:
    train, test = clusters(60, 4), clusters(30, 4, seed=1)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = linear_probe(*train, *test, 4, epochs=3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert linear_probe(*train, *test, 4, epochs=3) == first


def test_labels_beyond_the_classes_are_an_error() -> None:
    train, test = clusters(60, 4), clusters(30, 4, seed=1)
    with pytest.raises(ValueError, match="training labels run from 0 to 3; expected 0 to 2"):
        linear_probe(*train, *test, 3, epochs=1)


def test_unlabelled_images_are_an_error() -> None:
    train, test = clusters(60, 4), clusters(30, 4, seed=1)
    with pytest.raises(ValueError, match="training labels run from -1 to -1; expected 0 to 3"):
        linear_probe(train[0], torch.full((60,), -1), *test, 4, epochs=1)


def test_one_label_for_each_row_is_asked_for() -> None:
    train, test = clusters(60, 4), clusters(30, 4, seed=1)
    with pytest.raises(ValueError, match="60 rows of training features for 59 labels"):
        linear_probe(train[0], train[1][1:], *test, 4, epochs=1)


def test_non_finite_features_are_an_error() -> None:
    train, test = clusters(60, 4), clusters(30, 4, seed=1)
    test[0][3, 3] = float("nan")
    with pytest.raises(ValueError, match="the test features hold NaN or infinity"):
        linear_probe(*train, *test, 4, epochs=1)


def test_zero_epochs_are_an_error() -> None:
    with pytest.raises(ValueError, match="epochs and batch_size must be at least 1, not 0"):
        linear_probe(*clusters(60, 4), *clusters(30, 4), 4, epochs=0)
