"""Counter-based random numbers: uniform, independent, and functions of their arguments alone."""

from __future__ import annotations

import math

import pytest
import torch
from compmod.pretrain.runtime import randomness
from compmod.pretrain.runtime.randomness import generator, permutation, uniform

INDEX_N = torch.arange(20_000)
GOLDEN_UNIFORM = [[10610124, 10850576], [5662766, 8335933]]  # in units of 2^-24
GOLDEN_PERMUTATION = [6, 0, 2, 7, 1, 5, 4, 3]


def correlation(x: torch.Tensor, y: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack([x.double(), y.double()]))[0, 1])


def test_numbers_lie_in_the_half_open_unit_interval() -> None:
    x = uniform(0, 0, INDEX_N, 0, 32)
    assert x.dtype == torch.float32
    assert x.shape == (20_000, 32)
    assert 0 <= float(x.min()) < 1e-5
    assert 1 - 1e-5 < float(x.max()) < 1


@pytest.mark.parametrize("seed, epoch, view", [(0, 0, 0), (1, 0, 0), (0, 999, 0), (0, 0, 1), (2**40, 7, 3)])
def test_every_column_passes_a_chi_square_test_of_uniformity(seed: int, epoch: int, view: int) -> None:
    bins = 64
    x = uniform(seed, epoch, INDEX_N, view, 8)
    for column in x.unbind(1):
        counts = torch.histc(column.double(), bins, 0, 1)
        expected = len(INDEX_N) / bins
        statistic = float(((counts - expected) ** 2 / expected).sum())
        assert abs(statistic - (bins - 1)) < 5 * math.sqrt(2 * (bins - 1))


def test_low_bits_are_uniform_too() -> None:
    low = (uniform(3, 0, INDEX_N, 0, 4) * 2**24).long() % 256
    counts = torch.bincount(low.flatten(), minlength=256).double()
    expected = low.numel() / 256
    assert abs(float(((counts - expected) ** 2 / expected).sum()) - 255) < 5 * math.sqrt(2 * 255)


def test_mean_and_variance_are_those_of_the_uniform_distribution() -> None:
    x = uniform(0, 0, INDEX_N, 0, 32).double()
    assert abs(float(x.mean()) - 1 / 2) < 5 * math.sqrt(1 / 12 / x.numel())
    assert abs(float(x.var()) - 1 / 12) < 5 * math.sqrt(1 / 180 / x.numel())


@pytest.mark.parametrize("lag", [1, 2, 3, 16, 1024])
def test_neighbouring_samples_are_uncorrelated(lag: int) -> None:
    x = uniform(0, 0, INDEX_N, 0, 1)[:, 0]
    assert abs(correlation(x[lag:], x[:-lag])) < 5 / math.sqrt(len(x) - lag)


def test_columns_are_uncorrelated() -> None:
    correlations = torch.corrcoef(uniform(0, 0, INDEX_N, 0, 32).double().T) - torch.eye(32)
    assert float(correlations.abs().max()) < 5 / math.sqrt(len(INDEX_N))


@pytest.mark.parametrize("other", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1)])
def test_another_seed_epoch_or_view_gives_uncorrelated_numbers(other: tuple[int, int, int]) -> None:
    seed, epoch, view = other
    first, second = uniform(0, 0, INDEX_N, 0, 4), uniform(seed, epoch, INDEX_N, view, 4)
    for column in range(4):
        assert abs(correlation(first[:, column], second[:, column])) < 5 / math.sqrt(len(INDEX_N))


def test_seed_epoch_and_view_are_not_interchangeable() -> None:
    draws = {float(uniform(*words, torch.tensor([5]), 2, 1)) for words in [(1, 2), (2, 1)]}
    draws |= {float(uniform(1, 2, torch.tensor([5]), 2, 1)), float(uniform(2, 2, torch.tensor([5]), 1, 1))}
    assert len(draws) == 3


def test_rows_follow_their_sample_when_a_batch_is_reordered_or_split() -> None:
    whole = uniform(4, 2, INDEX_N[:100], 1, 7)
    order = torch.randperm(100, generator=generator(0, "order"))
    assert torch.equal(uniform(4, 2, INDEX_N[:100][order], 1, 7), whole[order])
    parts = [uniform(4, 2, part, 1, 7) for part in torch.tensor_split(INDEX_N[:100], 3)]
    assert torch.equal(torch.cat(parts), whole)


def test_more_columns_leave_the_first_ones_as_they_are() -> None:
    assert torch.equal(uniform(0, 0, INDEX_N, 0, 9)[:, :4], uniform(0, 0, INDEX_N, 0, 4))


def test_numbers_are_pinned_for_ever() -> None:
    # A change here changes every view of every run: results stop being reproducible. Renew only with a new release.
    golden = (uniform(7, 3, torch.tensor([0, 41]), 1, 2) * 2**24).long()
    assert golden.tolist() == GOLDEN_UNIFORM
    assert permutation(7, 3, 8).tolist() == GOLDEN_PERMUTATION


def test_the_mixer_is_splitmix64s_on_unsigned_words() -> None:
    # First output of splitmix64 for seed 1234567, from the generator's published test vector.
    mixed = int(randomness._mix(torch.tensor([(1234567 + randomness._INCREMENT) % 2**64 - 2**64])))
    assert mixed % 2**64 == 6457827717110365317


def test_an_index_that_is_no_int64_vector_is_refused() -> None:
    with pytest.raises(ValueError, match=r"vector of int64, not \(3,\) of torch.int32"):
        uniform(0, 0, torch.arange(3, dtype=torch.int32), 0, 1)


def test_a_permutation_holds_every_sample_once() -> None:
    assert torch.equal(permutation(0, 0, 1001).sort().values, torch.arange(1001))


def test_permutations_differ_between_epochs_and_seeds_and_repeat_for_the_same_pair() -> None:
    assert torch.equal(permutation(5, 6, 100), permutation(5, 6, 100))
    assert not torch.equal(permutation(5, 6, 100), permutation(5, 7, 100))
    assert not torch.equal(permutation(5, 6, 100), permutation(6, 5, 100))


def test_every_sample_visits_every_place_equally_often() -> None:
    counts = torch.zeros(6, 6, dtype=torch.float64)
    draws = 3000
    for epoch in range(draws):
        counts[permutation(0, epoch, 6), torch.arange(6)] += 1
    expected = draws / 6
    assert abs(float(((counts - expected) ** 2 / expected).sum()) - 25) < 5 * math.sqrt(2 * 25)


def test_generators_repeat_for_the_same_purpose_and_differ_between_purposes_and_seeds() -> None:
    def draw(seed: int, purpose: str) -> float:
        return float(torch.rand(1, generator=generator(seed, purpose)))

    assert draw(0, "backbone") == draw(0, "backbone")
    assert len({draw(0, "backbone"), draw(0, "projector"), draw(1, "backbone")}) == 3
