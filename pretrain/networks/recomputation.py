"""Recomputation: activations made again in the backward pass instead of kept (Chen et al., 2016, arXiv:1604.06174).

The same operations on the same numbers give the same bits, so this is a matter of memory and time and of no number.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class Recomputable(nn.Module):
    """A network whose parts keep only their input for the backward pass, where `recompute` is set."""

    recompute = False

    def part(self, module: nn.Module, x: Tensor) -> Tensor:
        """`module(x)` for a part of this network. It draws no random numbers.

        The parameters are those at the time of the call, given as inputs: torch.func.functional_call puts others in
        their place and takes them out again before the backward pass. The second pass updates copies of the buffers,
        so that batch norm counts a batch once.
        """
        if not (self.recompute and torch.is_grad_enabled()):
            out: Tensor = module(x)
            return out
        names, parameters = zip(*module.named_parameters(), strict=True)
        passes = 0

        def computed(x: Tensor, *parameters: Tensor) -> Any:
            nonlocal passes
            passes += 1
            state = dict(zip(names, parameters, strict=True))
            if passes > 1:
                state |= {name: buffer.clone() for name, buffer in module.named_buffers()}
            return torch.func.functional_call(module, state, (x,))

        again: Tensor = checkpoint(computed, x, *parameters, use_reentrant=False, preserve_rng_state=False)
        return again


def recompute_activations(module: nn.Module) -> None:
    """Make every network inside `module` that can compute its activations twice do so."""
    for part in module.modules():
        if isinstance(part, Recomputable):
            part.recompute = True
