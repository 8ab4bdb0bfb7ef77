"""Exact nearest neighbours by Euclidean distance, and the 5-nn probe on raw features (protocol of the W-MSE code).

|a - b|^2 orders the b of one a as b.b/2 - a.b does, so one float32 matrix product scores all pairs. It only chooses
candidates: a bound on its rounding says which rows it settles, and the others are ranked by float64 distances. Where
more candidates than are kept lie that close, as in features that collapsed onto a line, scores are taken in float64.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .features import full_precision

SPARE = 3  # candidates kept beyond k, so that rounding seldom reaches past the last of them
GROWTH = 16  # factor on the candidates of rows that are still open
COLUMNS = 8192  # training rows prepared and scored at once
SCORES = 2**22  # numbers held at once, 16 MiB in float32
LOOKUP = 16  # how much longer it takes to look up a score and rank it than to rank one that lies in order
IN_CACHE = 2**18  # numbers centred or ranked at once: few enough to stay in cache, 8 to 20 % faster
ROUNDING = 2.0**-53  # float64, half the distance from 1 to the next number


def nearest(train_ND: Tensor, test_MD: Tensor, k: int, *, scores: int = SCORES, columns: int = COLUMNS) -> Tensor:
    """Indices, test rows x k, of the k training rows nearest to each test row, by (distance, index).

    Exact, as if all distances were taken in float64. Beside copies of the test rows and of `columns` training rows,
    it holds at most `scores` numbers at once, or those of one test row where that is more.
    """
    if not 1 <= k <= len(train_ND):
        raise ValueError(f"k must be between 1 and the number of training rows, {len(train_ND)}, not {k}")
    if train_ND.shape[1:] != test_MD.shape[1:]:
        raise ValueError(f"training rows have {train_ND.shape[1]} features and test rows {test_MD.shape[1]}")
    train_ND, test_MD = (rows.to(torch.promote_types(rows.dtype, torch.float32)) for rows in (train_ND, test_MD))
    with full_precision(test_MD.device), torch.no_grad():
        nearest_MK, settled_M = _search(train_ND, test_MD, k, k + SPARE, scores, columns, torch.float32)
        if not bool(settled_M.all()):
            open_R = (~settled_M).nonzero().squeeze(1)
            # many ties keep a row open; collapsed features give many equal rows, and each is searched once
            rows_UD, copy_R = torch.unique(test_MD[open_R], dim=0, return_inverse=True)
            nearest_MK[open_R] = _nearest_of_close(train_ND, rows_UD, k, scores, columns)[copy_R]
    return nearest_MK


def knn_accuracy(
    train_ND: Tensor, train_labels: Tensor, test_MD: Tensor, test_labels: Tensor, k: int, classes: int
) -> float:
    """Share of test rows whose label wins the unweighted vote of their k neighbours; ties to the smallest label."""
    return knn_hits(train_ND, train_labels, test_MD, test_labels, k, classes) / len(test_MD)


def knn_hits(train_ND: Tensor, train_labels: Tensor, test_MD: Tensor, test_labels: Tensor, k: int, classes: int) -> int:
    """How many test rows `knn_accuracy` takes the share of."""
    nearest_MK = nearest(train_ND, test_MD, k)
    predicted_M = vote(train_labels.to(nearest_MK.device)[nearest_MK], classes)
    return int((predicted_M == test_labels.to(nearest_MK.device)).sum())


def vote(labels_MK: Tensor, classes: int) -> Tensor:
    """The most frequent label of each row; the smallest of equals."""
    counts_MC = torch.zeros(len(labels_MK), classes, dtype=torch.int32, device=labels_MK.device)
    counts_MC.scatter_add_(1, labels_MK.long(), torch.ones_like(labels_MK, dtype=torch.int32))
    largest_M1 = counts_MC.amax(1, keepdim=True)
    # of equal maxima, argmax may return any: rank the winners by label instead
    return (counts_MC == largest_M1).int().mul_(torch.arange(classes, 0, -1, device=labels_MK.device)).argmax(1)


def _nearest_of_close(train_ND: Tensor, test_UD: Tensor, k: int, scores: int, columns: int) -> Tensor:
    """As `nearest`, by float64 scores, and with ever more candidates for the rows that these do not settle either."""
    nearest_UK = torch.empty(len(test_UD), k, dtype=torch.long, device=test_UD.device)
    open_U, index_P = (torch.arange(len(rows), device=rows.device) for rows in (test_UD, train_ND))
    train_PD, kept = train_ND, k + SPARE
    while len(open_U):
        kept, still_open = GROWTH * kept, []
        for part_R in open_U.split(max(1, scores // (2 * kept))):  # the best so far and those of a block
            nearest_RK, settled_R = _search(train_PD, test_UD[part_R], k, kept, scores, columns, torch.float64)
            nearest_UK[part_R] = index_P[nearest_RK]
            still_open.append(part_R[~settled_R])
        open_U = torch.cat(still_open)
        if len(open_U):  # exact ties
            index_P = _first_copies(train_ND, k)
            train_PD = train_ND[index_P]
    return nearest_UK


def _first_copies(rows_ND: Tensor, k: int) -> Tensor:
    """Indices, ascending, of all rows but those that equal k rows before them, which are nobody's k nearest."""
    _, group_N = torch.unique(rows_ND, dim=0, return_inverse=True)
    ordered_N, order_N = group_N.sort(stable=True)
    is_late_N = torch.zeros_like(group_N, dtype=torch.bool)
    is_late_N[k:] = ordered_N[k:] == ordered_N[:-k]
    first: Tensor = order_N[~is_late_N].sort().values
    return first


def _search(
    train_ND: Tensor, test_MD: Tensor, k: int, kept: int, scores: int, columns: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """The k nearest by (distance, index), and whether that is certain for each row, from `kept` candidates a row.

    Scores are of `dtype`, float32 or float64.
    """
    kept = min(kept, len(train_ND))
    mean_D = train_ND.mean(0)  # distances from the centre are small numbers, and so is their rounding
    mean_D = mean_D.to(torch.promote_types(mean_D.dtype, dtype))  # the differences are rounded once, to `dtype`
    test_MF, norm_M = _factor(test_MD, mean_D, dtype)
    if not bool(torch.isfinite(mean_D).all() & torch.isfinite(norm_M).all()):
        raise ValueError("the features hold NaN or infinity; expected finite numbers")
    test_MF[:, -1] = 1
    best_MC = test_MF.new_full((len(test_MD), kept), -torch.inf)
    index_MC = torch.zeros_like(best_MC, dtype=torch.long)
    largest_norm = norm_M.new_zeros(())
    for start in range(0, len(train_ND), columns):
        block_BF, norm_B = _factor(train_ND[start : start + columns], mean_D, dtype)
        block_BF[:, -1] = -norm_B.square() / 2
        largest_norm = torch.maximum(largest_norm, norm_B.max())
        rows = max(1, scores // len(block_BF))
        score_RB = test_MF.new_empty(min(rows, len(test_MF)), len(block_BF))
        for row in range(0, len(test_MF), rows):
            chosen = slice(row, row + rows)
            test_RF = test_MF[chosen]
            torch.mm(test_RF, block_BF.T, out=score_RB[: len(test_RF)])
            value_RC, column_RC = _largest(score_RB[: len(test_RF)], min(kept, len(block_BF)))
            value_RC = torch.cat([best_MC[chosen], value_RC], 1)
            column_RC = torch.cat([index_MC[chosen], column_RC + start], 1)
            best_MC[chosen], order_RC = value_RC.topk(kept)
            index_MC[chosen] = column_RC.gather(1, order_RC)
    # Rounding of the product and norms (features + 2 terms, on sizes up to half the square of the sum of both norms)
    # and of the centring (once that square), and that of the float64 distances of what is left out and of the k-th
    rounding = torch.finfo(dtype).eps / 2 + 2 * ROUNDING
    error_M = rounding * (train_ND.shape[1] / 2 + 4) * (norm_M + largest_norm).square()
    return _settle(train_ND, test_MD, k, best_MC.double(), index_MC, norm_M, error_M, scores)


def _largest(score_RB: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` largest scores of each row and their columns, in no order.

    They lie in the `count` groups of columns with the largest maxima, and maxima take less time than `topk`.
    """
    rows, columns = score_RB.shape
    members = math.isqrt(columns // (LOOKUP * count))  # of a group: maxima and look-ups then take about equally long
    if members < 2:
        return score_RB.topk(count, sorted=False)
    groups = columns // members
    grouped = groups * members
    group_RC = score_RB[:, :grouped].view(rows, members, groups).amax(1).topk(count, sorted=False).indices
    member_M1 = torch.arange(0, grouped, groups, device=score_RB.device)[:, None]
    column_RP = (group_RC[:, None] + member_M1).flatten(1)
    value_RP = torch.cat([score_RB.gather(1, column_RP), score_RB[:, grouped:]], 1)  # with those in no group
    value_RC, place_RC = value_RP.topk(count, sorted=False)
    in_no_group = column_RP.shape[1]
    column_RC = column_RP.gather(1, place_RC.clamp(max=in_no_group - 1))
    return value_RC, torch.where(place_RC < in_no_group, column_RC, place_RC - in_no_group + grouped)


def _factor(rows_ND: Tensor, mean_D: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The centred rows as one side of the product, with room for one more feature, and their norms.

    That feature is -b.b/2 of a training row b and 1 of a test row, so that the product is the score.
    """
    count, width = rows_ND.shape
    factor_NF = torch.empty(count, width + 1, dtype=dtype, device=rows_ND.device)
    norm_N = torch.empty(count, dtype=torch.float64, device=rows_ND.device)
    together = max(1, IN_CACHE // max(1, width))
    for start in range(0, count, together):
        chosen = slice(start, start + together)
        centred_PD = torch.sub(rows_ND[chosen], mean_D, out=factor_NF[chosen, :-1])
        norm_N[chosen] = centred_PD.double().square().sum(1).sqrt()
    return factor_NF, norm_N


def _settle(
    train_ND: Tensor,
    test_MD: Tensor,
    k: int,
    best_MC: Tensor,
    index_MC: Tensor,
    norm_M: Tensor,
    error_M: Tensor,
    scores: int,
) -> tuple[Tensor, Tensor]:
    """Rank the candidates, sorted by score; by distance where two scores are closer than rounding can tell."""
    complete = best_MC.shape[1] == len(train_ND)
    nearest_MK, settled_M = index_MC[:, :k].clone(), torch.ones_like(error_M, dtype=torch.bool)
    gap_MK = best_MC[:, : k + 1].diff(dim=1).neg()
    close_R = (gap_MK <= 2 * error_M[:, None]).any(1).nonzero().squeeze(1)
    # -infinity stands for what was left out when nothing was
    left_out_M = torch.full_like(error_M, -torch.inf) if complete else best_MC[:, -1] + error_M
    together = max(1, min(scores, IN_CACHE) // (index_MC.shape[1] * train_ND.shape[1]))
    for rows_R in torch.split(close_R, together):
        index_RC = index_MC[rows_R].sort(1).values
        square_RC = _square_distances(train_ND, test_MD[rows_R], index_RC, scores)
        square_RC, order_RC = square_RC.sort(dim=1, stable=True)  # stable: equal distances stay ordered by index
        nearest_MK[rows_R] = index_RC.gather(1, order_RC)[:, :k]
        kth_R = (norm_M[rows_R].square() - square_RC[:, k - 1]) / 2
        settled_M[rows_R] = complete | (kth_R > left_out_M[rows_R])
    return nearest_MK, settled_M


def _square_distances(train_ND: Tensor, test_RD: Tensor, index_RC: Tensor, scores: int) -> Tensor:
    """Squared distances in float64 from each test row to its own training rows."""
    wanted = max(1, scores // max(1, test_RD.numel()))
    parts = [
        (train_ND[part_RP].double() - test_RD[:, None].double()).square_().sum(2)
        for part_RP in torch.split(index_RC, wanted, dim=1)
    ]
    return torch.cat(parts, 1)
