"""Tolerances that follow from the arithmetic and hold on every machine. On the path of every test.

Other processors, numbers of threads and versions of a library add in another order, with or without fused operations.
So nothing but the textbook's bound on rounding may be asked for: a sum or product of n terms is off by at most n units
in the last place of the sum of its terms' sizes (Higham, Accuracy and Stability of Numerical Algorithms, 2002, 3.1).
Where terms cancel, the result is smaller than they are by a factor: the condition of what is computed.
"""

from __future__ import annotations

import torch


def rounding(dtype: torch.dtype, terms: float = 1, condition: float = 1) -> float:
    """Relative error of a number that `terms` rounded operations in a row lead to, on inputs of this condition."""
    return terms * condition * torch.finfo(dtype).eps
