"""What the reference tests of all methods share: random embeddings, and the comparison with values from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from tolerance import rounding
from torch import Tensor

TOLERANCE = 1e-10  # relative, in float64: a million roundings
NUDGE = 2.0**-26  # relative change of the inputs whose effect on a gradient is measured: half of float64's digits
BACKWARD = 4  # operations of a gradient to one of the value (Griewank and Walther, Evaluating Derivatives, 2008, 4.6)

Loss = Callable[..., Tensor]


def draw(shapes: Sequence[tuple[int, ...]], dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(sum(sum(shape) for shape in shapes))
    return [torch.randn(*s, generator=generator, dtype=torch.float64).to(dtype).requires_grad_() for s in shapes]


def compare(ours: Loss, theirs: Loss, *shapes: tuple[int, ...]) -> None:
    """Values and gradients agree: 1e-10 relative in float64, and in float32 as far as rounding allows.

    Both get one random tensor a shape; `theirs` runs in float64. A gradient is compared as a whole. The float32 inputs
    are rounded ones, so theirs get the same rounded numbers in float64. A sum runs over the batch or over a row's
    numbers, and each of its terms may be rounded as much as if the inputs were off by one unit in their last place; how
    much that moves value and gradient is measured on theirs.
    """
    for dtype in (torch.float32, torch.float64):
        drawn = draw(shapes, dtype)
        exact = [tensor.detach().double().requires_grad_() for tensor in drawn]
        loss, expected = ours(*drawn), theirs(*exact)
        slopes = torch.autograd.grad(expected, exact, materialize_grads=True)
        value, gradient = sensitivity(theirs, exact, expected, slopes) if dtype == torch.float32 else (0.0, 0.0)
        longest = max(sum(shape) for shape in shapes)
        allowed = rounding(dtype, longest, 1 + value) if dtype == torch.float32 else TOLERANCE
        assert abs(loss.item() - expected.item()) <= allowed * abs(expected.item()), dtype
        allowed = rounding(dtype, BACKWARD * longest, 1 + gradient) if dtype == torch.float32 else TOLERANCE
        whole = torch.cat([slope.flatten() for slope in slopes]).norm()
        for one, other in zip(torch.autograd.grad(loss, drawn, materialize_grads=True), slopes, strict=True):
            size = whole if dtype == torch.float32 else other.norm()
            assert (one.double() - other).norm() <= allowed * size, dtype


def sensitivity(
    function: Loss, inputs: Sequence[Tensor], value: Tensor, slopes: Sequence[Tensor]
) -> tuple[float, float]:
    """How many times larger than relative changes of the inputs those of the value and of the gradient are.

    The value's is the largest possible one, to first order; the gradient's that of random signs.
    """
    moved = sum(float((slope * given.detach()).abs().sum()) for slope, given in zip(slopes, inputs, strict=True))
    generator = torch.Generator().manual_seed(0)
    signs = [torch.randint(0, 2, given.shape, generator=generator) * 2 - 1 for given in inputs]
    nudged = [(x.detach() * (1 + NUDGE * sign)).requires_grad_() for x, sign in zip(inputs, signs, strict=True)]
    found = torch.autograd.grad(function(*nudged), nudged, materialize_grads=True)
    whole, changed = (torch.cat([slope.flatten() for slope in each]) for each in (slopes, found))
    return moved / abs(value.item()), float((changed - whole).norm() / whole.norm()) / NUDGE


@pytest.fixture
def equal_with_gradients() -> Callable[..., None]:
    """The function `compare(ours, theirs, *shapes)`."""
    return compare
