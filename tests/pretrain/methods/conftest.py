"""What the reference tests of all methods share: random embeddings, and the comparison with values from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-10}  # relative

Loss = Callable[..., Tensor]


def draw(shapes: Sequence[tuple[int, ...]], dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(sum(sum(shape) for shape in shapes))
    return [torch.randn(*s, generator=generator, dtype=torch.float64).to(dtype).requires_grad_() for s in shapes]


def compare(ours: Loss, theirs: Loss, *shapes: tuple[int, ...]) -> None:
    """Values and gradients agree: 1e-6 relative in float32, 1e-10 in float64; `theirs` runs in float64.

    Both get one random tensor a shape. A gradient is compared as a whole; in float32 it may be off by ten times the
    value's tolerance, being a sum over the batch of rounded terms. The float32 inputs are rounded ones, so theirs
    get the same rounded numbers in float64.
    """
    for dtype, tolerance in TOLERANCE.items():
        drawn = draw(shapes, dtype)
        exact = [tensor.detach().double().requires_grad_() for tensor in drawn]
        loss, expected = ours(*drawn), theirs(*exact)
        assert abs(loss.item() - expected.item()) <= tolerance * abs(expected.item()), dtype
        slopes = torch.autograd.grad(expected, exact, materialize_grads=True)
        for one, other in zip(torch.autograd.grad(loss, drawn, materialize_grads=True), slopes, strict=True):
            error = (one.double() - other).norm()
            assert error <= (10 if dtype == torch.float32 else 1) * tolerance * other.norm(), dtype


@pytest.fixture
def equal_with_gradients() -> Callable[..., None]:
    """The function `compare(ours, theirs, *shapes)`."""
    return compare
