"""The hypergradient of a virtual step, exactly, for the price of one forward-mode pass.

An outer loss G sees the meta parameters xi only through a virtual step of the network's parameters psi,

    psi'(xi) = psi - r grad_psi [ L(psi) + w M(F(psi), xi) ],     G(xi) = L(psi'(xi)),

where F maps psi to the network's outputs y and M is a small coupling of y and xi. Then (chain rule, with v the gradient
of L at psi', and u = J v the directional derivative of F at psi along v)

    dG/dxi = - r w grad_xi < u, dM/dy (y, xi) >,

so second derivatives pass through the small M alone and never through the network (paper, Eq. 9; Algorithm 1, line 12).
`unrolled` differentiates the virtual step itself and is the reference; `finite_difference` replaces J by a difference
of two forward passes and is wrong by tens of per cent in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.overrides import TorchFunctionMode

from .distributed import average_, total, world

Parameters = Mapping[str, Tensor]
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
    kept: KeptConvolutions | None = None,
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


def unrolled(
    inner: Callable[[Parameters], Tensor],
    outer: Callable[[Parameters], Tensor],
    parameters: Parameters,
    meta: Sequence[Tensor],
    step_size: float,
) -> list[Tensor]:
    """dG/dxi by differentiating the virtual step itself: second-order autodiff through the whole network.

    `inner` is L + w M as a function of psi (and of xi through its closure), `outer` is L; with several processes the
    result is this process's part, of which the mean is meant.
    """
    start = {name: p.detach().requires_grad_() for name, p in parameters.items()}
    slopes = torch.autograd.grad(inner(start), list(start.values()), create_graph=True, materialize_grads=True)
    moved = {name: p - step_size * total(g) / world() for (name, p), g in zip(start.items(), slopes, strict=True)}
    return list(torch.autograd.grad(outer(moved), meta, materialize_grads=True))


def outer_gradient(
    outer: Callable[[Parameters], Tensor],
    parameters: Parameters,
    slopes: Mapping[str, Tensor | None],
    step_size: float,
) -> Parameters:
    """v, the gradient of L at psi' = psi - step_size * slopes, by parameter name; the mean over processes."""
    moved = {}
    for name, p in parameters.items():
        slope = slopes[name]
        moved[name] = (p.clone() if slope is None else p - step_size * slope).requires_grad_()
    gradients = torch.autograd.grad(outer(moved), list(moved.values()), materialize_grads=True)
    average_(gradients)
    return dict(zip(moved, gradients, strict=True))


def jacobian_vector_product(
    network: Callable[[Parameters], Outputs],
    parameters: Parameters,
    tangents: Parameters,
    kept: KeptConvolutions | None = None,
) -> Outputs:
    """u = J v, the derivative of the network's outputs along `tangents`, by forward-mode differentiation.

    `kept` holds convolution outputs of an earlier call of `network` at the same parameters, which are then not
    computed again.
    """
    with torch.no_grad(), forward_ad.dual_level(), _FusedRules(kept):
        dual = {name: forward_ad.make_dual(p.detach(), tangents[name]) for name, p in parameters.items()}
        outputs = [forward_ad.unpack_dual(output) for output in network(dual)]
        return tuple(
            torch.zeros_like(output.primal) if output.tangent is None else output.tangent for output in outputs
        )


class KeptConvolutions(TorchFunctionMode):
    """As a context around a forward pass: keeps the convolution outputs that are cheapest to hold.

    In a residual network every stage costs as much to compute, and the deeper ones need a fraction of the memory; so
    half of the outputs' bytes spare a later pass at the same parameters three quarters of its convolutions.
    """

    def __init__(self, share: float = 0.5) -> None:
        super().__init__()
        self.share = share  # of all convolution outputs' bytes
        self.outputs: list[Tensor | None] = []
        self._work: list[int] = []  # multiplications an output element costs

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        if function is torch.conv2d:
            self.outputs.append(result.detach())
            self._work.append(args[1][0].numel())
        return result

    def prune(self) -> None:
        """Let go of what exceeds the share, the least work an output byte first."""
        sizes = [output.nbytes for output in self.outputs if output is not None]
        room = self.share * sum(sizes)
        for i in sorted(range(len(sizes)), key=lambda i: (-self._work[i], i)):
            if sizes[i] <= room:
                room -= sizes[i]
            else:
                self.outputs[i] = None


class _FusedRules(TorchFunctionMode):
    """Forward derivatives of batch norm and convolution in as few passes over memory as there are kernels for.

    Batch norm: the Jacobian of x -> (x - mean) / std is symmetric, so the fused backward kernel applied to the input's
    tangent gives the output's; the tangents of scale and shift add a batch norm with known statistics. PyTorch's own
    rule is a dozen elementwise passes, two thirds of a narrow network's product.
    """

    def __init__(self, kept: KeptConvolutions | None) -> None:
        super().__init__()
        self._kept = None if kept is None else iter(kept.outputs)

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if function is torch.nn.functional.batch_norm:
            return _batch_norm_dual(*args, **(kwargs or {}))
        if function is torch.conv2d:
            return _convolution_dual(None if self._kept is None else next(self._kept), *args, **(kwargs or {}))
        return function(*args, **(kwargs or {}))


def _convolution_dual(kept: Tensor | None, x: Tensor, weight: Tensor, bias: Tensor | None = None, *rest: Any) -> Tensor:
    x_primal, x_tangent = forward_ad.unpack_dual(x)
    w_primal, w_tangent = forward_ad.unpack_dual(weight)
    b_primal, b_tangent = (None, None) if bias is None else forward_ad.unpack_dual(bias)
    out = torch.conv2d(x_primal, w_primal, b_primal, *rest) if kept is None else kept
    tangent = None if x_tangent is None else torch.conv2d(x_tangent, w_primal, None, *rest)
    if w_tangent is not None:
        through_weight = torch.conv2d(x_primal, w_tangent, b_tangent, *rest)
        tangent = through_weight if tangent is None else tangent.add_(through_weight)
    dual: Tensor = out if tangent is None else forward_ad.make_dual(out, tangent)
    return dual


def _batch_norm_dual(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    primal, tangent = forward_ad.unpack_dual(x)
    scale, scale_tangent = (None, None) if weight is None else forward_ad.unpack_dual(weight)
    shift, shift_tangent = (None, None) if bias is None else forward_ad.unpack_dual(bias)
    if not training or tangent is None or scale is None or shift is None:
        return torch.batch_norm(x, weight, bias, running_mean, running_var, training, momentum, eps, True)
    out, mean, inverse_std = torch.native_batch_norm(primal, scale, shift, None, None, True, 0.0, eps)
    out_tangent, _, _ = torch.ops.aten.native_batch_norm_backward(
        tangent, primal, scale, None, None, mean, inverse_std, True, eps, [True, False, False]
    )
    if scale_tangent is not None and shift_tangent is not None:
        variance = inverse_std.square().reciprocal() - eps
        out_tangent += torch.batch_norm(primal, scale_tangent, shift_tangent, mean, variance, False, 0.0, eps, False)
    dual: Tensor = forward_ad.make_dual(out, out_tangent)
    return dual


@contextmanager
def frozen_statistics(module: nn.Module) -> Iterator[None]:
    """Batch norm inside `module` uses batch statistics, as in training, and leaves its running statistics alone."""
    tracking = [
        layer
        for layer in module.modules()
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.track_running_stats
    ]
    for layer in tracking:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in tracking:
            layer.track_running_stats = True
