"""The hypergradient of a virtual step, exactly, for the price of one forward-mode pass.

An outer loss G sees the meta parameters xi only through a virtual step of the network's parameters psi,

    psi'(xi) = psi - r grad_psi [ L(psi) + w M(F(psi), xi) ],     G(xi) = L(psi'(xi)),

where F maps psi to the network's outputs y and M is a small coupling of y and xi. Then (chain rule, with v the gradient
of L at psi', and u = J v the directional derivative of F at psi along v)

    dG/dxi = - r w grad_xi < u, dM/dy (y, xi) >,

so second derivatives pass through the small M alone and never through the network (paper, Eq. 9; Algorithm 1, line 12).
Where the virtual step is another function of the gradient, its transposed derivative stands in the place of - r.
`unrolled` differentiates the virtual step itself and is the reference. `finite_difference` replaces J by a difference
of two forward passes: in float32 it was off by 5 to 470 per cent where it was measured, for the price of 2.65 plain
steps against 2.7.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.autograd import forward_ad

from ..runtime.distributed import total, world
from ..runtime.gradients import mean_gradients
from .forward_mode import FusedRules, dual, load_rules_of_torch
from .kept import KeptActivations, eager

Parameters = Mapping[str, Tensor]
Slopes = Mapping[str, Tensor | None]  # a loss's gradient by parameter name; None where it did not use a parameter
Step = Callable[[Slopes], Parameters]  # a virtual step, from the slopes to psi'
Outputs = Sequence[Tensor]
FINITE_DIFFERENCE_STEP = 0.01  # numerator of the step along v / |v|; DARTS (Liu et al., ICLR 2019), section 2.3


def jvp(
    network: Callable[[Parameters], Outputs],
    coupling: Callable[[Outputs], Tensor],
    parameters: Parameters,
    outer_gradient: Parameters,
    outputs: Outputs,
    meta: Sequence[Tensor],
    weight: float,
    kept: KeptActivations | None = None,
) -> list[Tensor]:
    """dG/dxi by one Jacobian-vector product of the network; `weight` is r w, `outputs` is y = F(psi), detached."""
    tangents = jacobian_vector_product(network, parameters, outer_gradient, kept)
    y = [output.detach().requires_grad_() for output in outputs]
    slopes = torch.autograd.grad(coupling(tuple(y)), y, create_graph=True, materialize_grads=True)
    inner = torch.stack([(u * q).sum() for u, q in zip(tangents, slopes, strict=True)]).sum()
    return [-weight * gradient for gradient in torch.autograd.grad(inner, meta, materialize_grads=True)]


def finite_difference(
    network: Callable[[Parameters], Outputs],
    coupling: Callable[[Outputs], Tensor],
    parameters: Parameters,
    outer_gradient: Parameters,
    meta: Sequence[Tensor],
    weight: float,
) -> list[Tensor]:
    """dG/dxi by a central difference of grad_xi M along v; two forward passes, accurate to a few digits at best."""
    norm = torch.linalg.vector_norm(torch.stack([g.norm() for g in outer_gradient.values()]))
    step = FINITE_DIFFERENCE_STEP / norm.clamp_min(torch.finfo(norm.dtype).tiny)
    sides = []
    for sign in (1.0, -1.0):
        with torch.no_grad():
            moved = {name: p + sign * step * outer_gradient[name] for name, p in parameters.items()}
            y = network(moved)
        sides.append(torch.autograd.grad(coupling(y), meta, materialize_grads=True))
    return [-weight * (ahead - behind) / (2 * step) for ahead, behind in zip(*sides, strict=True)]


def unrolled(outer: Callable[[Parameters], Tensor], step: Step, slopes: Slopes, meta: Sequence[Tensor]) -> list[Tensor]:
    """dG/dxi by differentiating the virtual step itself: second-order autodiff through the whole network.

    `slopes` is the gradient of L + w M by psi with its graph, by parameter name, `outer` is L; with several processes
    both are of this process's part, of which the mean is meant, and so is the result.
    """
    means = {name: None if slope is None else total(slope) / world() for name, slope in slopes.items()}
    return list(torch.autograd.grad(outer(step(means)), meta, materialize_grads=True))


def outer_gradient_by_slopes(outer: Callable[[Parameters], Tensor], step: Step, slopes: Slopes) -> Parameters:
    """- the gradient of L(step(slopes)) by the slopes; the mean over processes, as the slopes are.

    As v it gives `jvp` and `finite_difference`, with a weight of 1, the hypergradient of any virtual step; of a plain
    one it is r times the gradient of L at psi'.
    """
    free = {name: None if slope is None else slope.detach().requires_grad_() for name, slope in slopes.items()}
    moved = step(free)
    leaves = {name: p.detach().requires_grad_() for name, p in moved.items()}
    gradients = dict(zip(leaves, mean_gradients(outer(leaves), list(leaves.values())), strict=True))
    used = {name: slope for name, slope in free.items() if slope is not None and gradients[name] is not None}
    back = torch.autograd.grad([moved[name] for name in used], list(used.values()), [gradients[name] for name in used])
    return {name: torch.zeros_like(p) for name, p in moved.items()} | {
        name: -gradient for name, gradient in zip(used, back, strict=True)
    }


def outer_gradient(
    outer: Callable[[Parameters], Tensor],
    parameters: Parameters,
    slopes: Slopes,
    step_size: float,
) -> Parameters:
    """v, the gradient of L at psi' = psi - step_size * slopes, by parameter name; the mean over processes."""
    moved = {name: p.detach().clone() for name, p in parameters.items()}
    used = [(moved[name], slope) for name, slope in slopes.items() if slope is not None]
    torch._foreach_add_([p for p, _ in used], [slope for _, slope in used], alpha=-step_size)  # in few kernels
    for p in moved.values():
        p.requires_grad_()
    gradients = mean_gradients(outer(moved), list(moved.values()))
    return {
        name: torch.zeros_like(p) if gradient is None else gradient
        for (name, p), gradient in zip(moved.items(), gradients, strict=True)
    }


def jacobian_vector_product(
    network: Callable[[Parameters], Outputs],
    parameters: Parameters,
    tangents: Parameters,
    kept: KeptActivations | None = None,
) -> Outputs:
    """u = J v, the derivative of the network's outputs along `tangents`, by forward-mode differentiation.

    `kept` holds results of an earlier call of `network` at the same parameters, which are then not computed again.
    """
    load_rules_of_torch()
    with torch.no_grad(), eager(), forward_ad.dual_level(), FusedRules(kept):
        duals = {name: forward_ad.make_dual(p.detach(), tangents[name]) for name, p in parameters.items()}
        outputs = [forward_ad.unpack_dual(dual(output)) for output in network(duals)]
        return tuple(
            torch.zeros_like(output.primal) if output.tangent is None else output.tangent for output in outputs
        )
