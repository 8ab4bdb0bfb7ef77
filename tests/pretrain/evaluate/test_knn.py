"""Nearest neighbours: equal to a comparison of all float64 distances, whatever the chunks, ties and scales."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from compmod.pretrain.evaluate import knn
from compmod.pretrain.evaluate.knn import knn_accuracy, nearest, vote
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def brute_force(train_ND: Tensor, test_MD: Tensor, k: int) -> Tensor:
    """The definition: all distances in float64, sorted, equal ones by index."""
    square_MN = torch.stack([(train_ND.double() - row.double()).square().sum(1) for row in test_MD])
    return square_MN.sort(dim=1, stable=True).indices[:, :k]


def features(kind: str, train: int = 300, test: int = 40, width: int = 16) -> tuple[Tensor, Tensor]:
    """Rows that are hard in one way each."""
    source = torch.Generator().manual_seed(0)
    both = torch.randn(train + test, width, generator=source)
    if kind == "relu":
        both = both.relu()
    if kind == "binary":  # most distances occur many times
        both = (both[:, :5] > 0).float()
    if kind == "far from zero":  # float32 keeps few digits of the differences
        both = both + 1000
    if kind == "collapsed":
        both = 3 + 1e-6 * both
    if kind == "line":  # float32 scores cannot tell neighbours on it apart
        both = both[:, :1] * torch.linspace(0.5, 2, width) + 1
    if kind == "few points":  # last digits of what should be one point; many rows are equal, and no distance is alone
        both = 1 + 2.0**-23 * both[:, :3].round()
    if kind == "one outlier":  # makes the bound on rounding useless for all others
        both[7] *= 1e5
    train_ND, test_MD = both.split([train, test])
    if kind == "duplicates":
        train_ND = train_ND[torch.arange(train) % 3]
    if kind == "all equal":
        train_ND, test_MD = torch.zeros_like(train_ND), torch.zeros_like(test_MD)
    return train_ND, test_MD


KINDS = (
    "normal",
    "relu",
    "binary",
    "far from zero",
    "collapsed",
    "line",
    "few points",
    "one outlier",
    "duplicates",
    "all equal",
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", [1, 5, 300])
def test_neighbours_equal_a_float64_comparison_of_all_distances(kind: str, k: int) -> None:
    train_ND, test_MD = features(kind)
    assert torch.equal(nearest(train_ND, test_MD, k), brute_force(train_ND, test_MD, k))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chunks", [{"scores": 1}, {"columns": 64}, {"scores": 1000, "columns": 100}])
def test_many_chunks_find_what_one_finds(kind: str, chunks: dict[str, int]) -> None:
    train_ND, test_MD = features(kind)
    assert torch.equal(nearest(train_ND, test_MD, 5, **chunks), nearest(train_ND, test_MD, 5))


@pytest.mark.parametrize("kind", KINDS)
def test_rows_prepared_and_ranked_in_several_parts_find_what_one_finds(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_ND, test_MD = features(kind)
    monkeypatch.setattr(knn, "IN_CACHE", 7 * train_ND.shape[1])
    assert torch.equal(nearest(train_ND, test_MD, 5), brute_force(train_ND, test_MD, 5))


def test_float32_scores_that_misorder_neighbours_are_settled_in_float64() -> None:
    # 1 + 2^-20 and 1 - 2^-20 from the test row: float32 squares of features near 4096 cannot tell them apart
    train_ND = torch.tensor([[4096.0, 1 + 2**-20], [4096.0, 1 - 2**-20], [-4096.0, 0.0]])
    assert nearest(train_ND, torch.tensor([[4096.0, 0.0]]), 2).tolist() == [[1, 0]]


def test_float64_features_are_ranked_by_their_own_digits() -> None:
    train_ND = torch.tensor([[1 + 2**-40], [1 - 2**-40], [5.0]], dtype=torch.float64)
    assert nearest(train_ND, torch.zeros(1, 1, dtype=torch.float64), 2).tolist() == [[1, 0]]


def test_half_precision_features_are_ranked_exactly() -> None:
    train_ND, test_MD = (rows.bfloat16() for rows in features("far from zero"))
    assert torch.equal(nearest(train_ND, test_MD, 5), brute_force(train_ND, test_MD, 5))


def test_the_caller_s_tf32_setting_comes_back() -> None:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        nearest(*features("normal"), 5)
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("kind", ["one outlier", "few points"])
def test_close_rows_do_not_end_in_a_comparison_of_all_distances(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    train_ND, test_MD = features(kind, train=4000, test=400)
    compared, distances = [], knn._square_distances

    def counted(train_ND: Tensor, test_RD: Tensor, index_RC: Tensor, scores: int) -> Tensor:
        compared.append(index_RC.numel())
        return distances(train_ND, test_RD, index_RC, scores)

    monkeypatch.setattr(knn, "_square_distances", counted)
    assert torch.equal(nearest(train_ND, test_MD, 5), brute_force(train_ND, test_MD, 5))
    assert sum(compared) < 0.06 * len(train_ND) * len(test_MD)


class Largest(TorchDispatchMode):
    """Records the number of elements of the largest tensor any operation makes."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        sizes = [
            leaf.untyped_storage().nbytes() // leaf.element_size()
            for leaf in tree_leaves(result)
            if isinstance(leaf, Tensor)
        ]
        self.elements = max([self.elements, *sizes])
        return result


@pytest.mark.parametrize("kind", ["normal", "one outlier", "few points", "all equal"])
def test_no_tensor_is_larger_than_the_memory_allowed(kind: str) -> None:
    train_ND, test_MD = features(kind, train=1000, test=200, width=4)
    scores = 20_000
    with Largest() as largest:
        nearest(train_ND, test_MD, 5, scores=scores, columns=1000)
    assert train_ND.numel() < largest.elements <= scores


def test_asking_for_more_neighbours_than_training_rows_is_an_error() -> None:
    with pytest.raises(ValueError, match="between 1 and the number of training rows, 3, not 4"):
        nearest(torch.zeros(3, 2), torch.zeros(1, 2), 4)


def test_features_of_different_widths_are_an_error() -> None:
    with pytest.raises(ValueError, match="training rows have 2 features and test rows 3"):
        nearest(torch.zeros(3, 2), torch.zeros(1, 3), 1)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("side", [0, 1])
def test_non_finite_features_are_an_error(bad: float, side: int) -> None:
    both = [torch.zeros(3, 2), torch.zeros(2, 2)]
    both[side][1, 1] = bad
    with pytest.raises(ValueError, match="hold NaN or infinity"):
        nearest(both[0], both[1], 1)


def test_a_vote_goes_to_the_most_frequent_label_and_ties_to_the_smallest() -> None:
    labels_MK = torch.tensor([[3, 3, 3, 0, 1], [4, 2, 4, 2, 0], [4, 3, 2, 1, 0], [1, 4, 4, 1, 4]])
    assert vote(labels_MK, 5).tolist() == [3, 2, 0, 4]


def test_accuracy_is_the_share_of_test_rows_that_win_their_vote() -> None:
    train_ND = torch.tensor([[0.0], [0.1], [0.2], [5.0], [5.1], [5.2]])
    train_labels = torch.tensor([0, 0, 1, 1, 1, 0])
    test_MD, test_labels = torch.tensor([[0.05], [5.05], [0.0], [5.3]]), torch.tensor([0, 1, 1, 0])
    assert knn_accuracy(train_ND, train_labels, test_MD, test_labels, 3, 2) == 0.5
