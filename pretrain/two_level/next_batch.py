"""The outer loss on the next batch: what a step leaves for the following one, which has the gradient of that loss.

With psi_t, xi_t, batch t and a plain virtual step psi'(xi), and with psi_t+1 the weights that the optimiser made of
psi_t, the gradient of step t is that of

    G(xi) = L(psi_t+1 + psi'(xi) - psi'(xi_t)),     L on batch t+1,     at xi = xi_t,

that is - r w grad_xi < J v, dM/dy > of step t with v the gradient of L at psi_t+1, a part of step t+1's own inner
gradient. Under plain SGD without weight decay and at the virtual rate, psi_t+1 is psi'(xi_t), and G is L(psi'(xi))
exactly. Under another optimiser it is not: v is taken where the weights really went, and their way there is
differentiated as if it were a plain step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..methods.parts.regulariser import Coupling, Outputs
from .kept import KeptActivations


@dataclass(frozen=True)
class Origin:
    """Where a virtual step starts: psi_t, xi_t and the step's rate. With batch t it determines all else."""

    psi: dict[str, Tensor]
    xi: list[Tensor]
    step_size: float

    @classmethod
    def of(cls, psi: Mapping[str, Tensor], xi: Sequence[Tensor], step_size: float) -> Origin:
        """Copies of what they are now."""
        return cls({name: p.detach().clone() for name, p in psi.items()}, [p.detach().clone() for p in xi], step_size)

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"psi": self.psi, "xi": self.xi, "step_size": self.step_size}

    @classmethod
    def restored(cls, state: Mapping[str, Any], psi: Mapping[str, Tensor], xi: Sequence[Tensor]) -> Origin:
        """From a checkpoint, on the devices of psi and xi. Raises any error on what does not fit these."""
        if list(state["psi"]) != list(psi):
            raise ValueError("the checkpoint's pending step is of other parameters")
        copies = {name: _copied(p, state["psi"][name]) for name, p in psi.items()}
        return cls(copies, [_copied(*pair) for pair in zip(xi, state["xi"], strict=True)], float(state["step_size"]))


@dataclass(frozen=True)
class Pending:
    """A step whose hypergradient waits for the gradient on the next batch."""

    origin: Origin
    views: Sequence[Tensor]
    couplings: Sequence[Coupling]
    y: Outputs
    kept: KeptActivations | None


def _copied(like: Tensor, saved: Tensor) -> Tensor:
    if saved.shape != like.shape:
        raise ValueError(f"the checkpoint's pending step has a tensor of shape {tuple(saved.shape)}")
    return torch.empty_like(like, requires_grad=False).copy_(saved)
