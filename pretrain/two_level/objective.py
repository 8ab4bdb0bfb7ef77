"""TwoLevelObjective: the gradients of one batch for a method with regularisers (paper, Eq. 8, 9, Algorithm 1).

The method's parameters psi take the gradient of L_ssl + w M(F(psi), xi) with xi fixed
(Eq. 8); a virtual plain step of psi along it gives psi'; xi takes the gradient of L_ssl(psi'(xi)) + w' R(xi) (Eq. 9).
psi' is then dropped: the real update of psi is one step of the recipe's optimiser on the same gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from ..methods.base import Embedded, Method, Targets
from ..methods.parts.regulariser import Coupling, Outputs, Regulariser
from ..networks.running_statistics import frozen_statistics
from ..runtime.distributed import average_, gather
from ..runtime.precision import at_least_float32
from ..runtime.randomness import generator
from ..specs.run import Comprehensive, Run
from ..training.objective import Autocast, Objective, fill
from ..training.session import Session
from ..views.batch import Batch
from . import hypergradient
from .compmod import CompMod
from .hypergradient import Parameters
from .kept import KeptActivations, eager


class TwoLevelObjective(Objective):
    """A method and what regularises it."""

    def __init__(
        self,
        method: Method,
        autocast: Autocast = nullcontext,
        regularisers: Sequence[Regulariser] = (),
        settings: Comprehensive | None = None,
    ) -> None:
        super().__init__(method, autocast)
        self.settings = settings or Comprehensive()
        self.regularisers = nn.ModuleList(regularisers)
        self.active = [method.regulariser, *regularisers] if method.regulariser else list(regularisers)
        assert self.active, "a method without regularisers has a plain objective"
        self.xi = [p for regulariser in self.active for p in regulariser.parameters()]
        self.kept_share = Session.kept_share

    def backward(self, batch: Batch, *, lr: float, passengers: Sequence[Tensor] = ()) -> dict[str, Tensor]:
        """Fill `.grad` of psi (None where the loss did not use a parameter) and of xi, equal on all processes.

        `lr` is the current learning rate, `passengers` are scalars to overwrite by their means over processes. Returns
        scalars to log, means over processes, left on the device.
        """
        settings, psi = self.settings, list(self.psi.values())
        two_level = settings.training == "two-level" and settings.hypergradient != "none"
        keep = two_level and settings.hypergradient == "jvp" and not self.recompute
        kept = KeptActivations(self.kept_share) if keep else None
        with self.autocast():
            targets = self.method.targets(batch)
        with self.autocast():
            # compiled, it shows nothing to keep and has no second derivative
            with eager() if two_level else nullcontext(), kept or nullcontext():
                embedded = self._embed(batch.views)
            ssl = self.method.loss(embedded, targets)
        if kept:
            kept.prune()
        self.done = embedded.detach(), targets
        y = _outputs(embedded)
        couplings = [regulariser.on(batch, len(y.z1)) for regulariser in self.active]
        terms = [coupling(y) for coupling in couplings]
        inner = ssl + _weighted([c.weight for c in couplings], [coupled for coupled, _ in terms])
        own = _weighted([c.own_weight for c in couplings], [own for _, own in terms])
        logged = {"loss": inner, "loss_ssl": ssl}
        for regulariser, (coupled_term, own_term) in zip(self.active, terms, strict=True):
            logged |= {f"loss_{regulariser.coupled_name}": coupled_term, f"loss_{regulariser.own_name}": own_term}
        logged = {name: value.detach() for name, value in logged.items()}
        passengers = [*logged.values(), *passengers]
        if settings.training == "joint":
            fill([*psi, *self.xi], inner + own, passengers)
            return logged

        if two_level and settings.hypergradient == "unrolled":
            slopes = _fill_and_keep_the_graph(psi, inner, passengers)
        else:
            fill(psi, inner, passengers)
            slopes = [p.grad for p in psi]
        y = Outputs(*(output.detach() for output in y))
        del embedded, ssl, terms, inner, own  # the next graph must not stand beside this one
        hyper = [torch.zeros_like(p) for p in self.xi]
        with frozen_statistics(self):
            if two_level:
                hyper = self._hypergradient(batch.views, targets, couplings, y, slopes, kept, lr)
            own = _weighted([c.own_weight for c in couplings], [coupling(y)[1] for coupling in couplings])
            towards_own = torch.autograd.grad(own, self.xi, materialize_grads=True)
        both = [h + c for h, c in zip(hyper, towards_own, strict=True)]
        average_(both)
        for parameter, gradient in zip(self.xi, both, strict=True):
            parameter.grad = gradient
        return logged | self._norms(hyper, towards_own)

    def _hypergradient(
        self,
        views: Sequence[Tensor],
        targets: Targets,
        couplings: Sequence[Coupling],
        y: Outputs,
        slopes: Sequence[Tensor | None],
        kept: KeptActivations | None,
        lr: float,
    ) -> list[Tensor]:
        """dL_ssl(psi')/dxi by the backend of the spec; all of it on the same batch, at the psi before its step.

        `slopes` is the inner loss's gradient by psi: for "unrolled" this process's with its graph, else the mean.
        """
        settings = self.settings
        step_size = lr if settings.virtual_lr is None else settings.virtual_lr
        psi = {name: p.detach() for name, p in self.psi.items()}
        named = dict(zip(psi, slopes, strict=True))

        def network(parameters: Parameters) -> Outputs:
            with self.autocast():
                embedded = _call(self.method, parameters, self.method.embed, views)
            return _outputs(embedded)

        def coupled(outputs: Sequence[Tensor]) -> Tensor:
            y = Outputs(*outputs)
            return _weighted([c.weight for c in couplings], [coupling(y)[0] for coupling in couplings])

        def outer(parameters: Parameters) -> Tensor:
            with self.autocast():
                loss: Tensor = _call(self.method, parameters, self._embed_and_loss, views, targets)[1]
            return loss

        if settings.hypergradient == "unrolled":
            return hypergradient.unrolled(outer, psi, named, self.xi, step_size)
        v = hypergradient.outer_gradient(outer, psi, named, step_size)
        if settings.hypergradient == "finite-difference":
            return hypergradient.finite_difference(network, coupled, psi, v, self.xi, step_size)
        return hypergradient.jvp(network, coupled, psi, v, y, self.xi, step_size, kept)

    def _norms(self, hyper: Sequence[Tensor], towards_own: Sequence[Tensor]) -> dict[str, Tensor]:
        norms, start = {}, 0
        for regulariser in self.active:
            end = start + len(list(regulariser.parameters()))
            norms[f"hyper_norm_{regulariser.coupled_name}"] = _norm(hyper[start:end])
            norms[f"norm_{regulariser.own_name}"] = _norm(towards_own[start:end])
            start = end
        return norms


def regularised_objective(run: Run, method: Method, autocast: Autocast) -> TwoLevelObjective:
    """The objective of a run with "+", or of a method with a regulariser of its own."""
    regularisers = []
    if run.plus:
        own = generator(run.seed, "g_xi")
        regularisers = [CompMod(run.compmod, method.embedding_width, method.backbone.features, own)]
    return TwoLevelObjective(method, autocast, regularisers, run.compmod)


class _Bound(nn.Module):
    """Calls a function with other parameters in place of a method's own: functional_call reaches only `forward`."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, function: Callable[..., Any], *args: Any) -> Any:
        return function(*args)


def _call(method: Method, parameters: Parameters, function: Callable[..., Any], *args: Any) -> Any:
    named = {f"method.{name}": p for name, p in parameters.items()}
    return torch.func.functional_call(_Bound(method), named, (function, *args))


def _outputs(embedded: Embedded) -> Outputs:
    """What regularisers see, in float32 or better."""
    return Outputs(*(gather(at_least_float32(t)) for t in (*embedded.embeddings[:2], *embedded.representations[:2])))


def _fill_and_keep_the_graph(psi: Sequence[Tensor], loss: Tensor, passengers: Sequence[Tensor]) -> list[Tensor | None]:
    """As `fill`; returns the gradients of this process's loss with their graph, so that they are not computed twice."""
    slopes = torch.autograd.grad(loss, psi, allow_unused=True, create_graph=True)
    for parameter, slope in zip(psi, slopes, strict=True):
        parameter.grad = None if slope is None else slope.detach().clone()
    average_([*(p.grad for p in psi if p.grad is not None), *passengers])
    return list(slopes)


def _weighted(weights: Sequence[float], terms: Sequence[Tensor]) -> Tensor:
    return torch.stack([weight * term for weight, term in zip(weights, terms, strict=True)]).sum()


def _norm(tensors: Sequence[Tensor]) -> Tensor:
    return torch.stack([torch.linalg.vector_norm(t) for t in tensors]).square().sum().sqrt()
