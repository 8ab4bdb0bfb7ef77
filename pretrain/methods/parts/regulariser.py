"""Regulariser: a small network xi beside a method, trained through the virtual step of the method's parameters psi."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from torch import Tensor, nn

if TYPE_CHECKING:
    from ...views.batch import Batch


class Outputs(NamedTuple):
    """y = F(psi): what a regulariser sees of a method, of the first two views and the whole batch of N samples."""

    z1: Tensor  # embeddings, N x D
    z2: Tensor
    h1: Tensor  # representations, N x D'
    h2: Tensor


class Coupling(Protocol):
    """A regulariser with one batch's numbers filled in."""

    weight: float  # of the coupled term in the inner loss, which trains psi
    own_weight: float  # of xi's own term in the outer loss, which trains xi alone

    def __call__(self, y: Outputs) -> tuple[Tensor, Tensor]:
        """The coupled term and xi's own; pure, and through y and xi alone."""


class Regulariser(nn.Module):
    """Base of CompMod and of a method's own meta network."""

    coupled_name: str  # of the coupled term and of its hypergradient in the log, such as "mcr"
    own_name: str  # of xi's own term

    def on(self, batch: Batch, samples: int) -> Coupling:
        """The coupling of one batch; `samples` is the size of the whole batch, over all processes."""
        raise NotImplementedError
