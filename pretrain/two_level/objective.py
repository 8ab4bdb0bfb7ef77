"""TwoLevelObjective: the gradients of one batch for a method with regularisers (paper, Eq. 8, 9, Algorithm 1).

The method's parameters psi take the gradient of L_ssl + w M(F(psi), xi) with xi fixed
(Eq. 8); a virtual plain step of psi along it gives psi'; xi takes the gradient of L_ssl(psi'(xi)) + w' R(xi) (Eq. 9).
psi' is then dropped: the real update of psi is one step of the recipe's optimiser on the same gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn

from ..methods.base import Embedded, Method, Targets
from ..methods.parts.regulariser import Coupling, Outputs, Regulariser
from ..networks.running_statistics import frozen_statistics
from ..runtime.distributed import average_, gather
from ..runtime.gradients import mean_gradients
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
from .next_batch import Origin, Pending
from .virtual_step import optimizer_step, plain_step


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
        self.pending: Pending | None = None  # the step before, where the outer loss is that of the next batch
        self._restored: Origin | None = None  # where that one starts, from a checkpoint, until its batch is there

    def backward(self, batch: Batch, *, lr: float, passengers: Sequence[Tensor] = ()) -> dict[str, Tensor]:
        """Fill `.grad` of psi (None where the loss did not use a parameter) and of xi, equal on all processes.

        `lr` is the current learning rate, `passengers` are scalars to overwrite by their means over processes. Returns
        scalars to log, means over processes, left on the device.
        """
        settings, psi = self.settings, list(self.psi.values())
        two_level = settings.training == "two-level" and settings.hypergradient != "none"
        on_next = two_level and settings.outer_batch == "next"
        step_size = lr if settings.virtual_lr is None else settings.virtual_lr
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
        coupled_loss = _weighted([c.weight for c in couplings], [coupled for coupled, _ in terms])
        inner = ssl + coupled_loss
        own = _weighted([c.own_weight for c in couplings], [own for _, own in terms])
        logged = {"loss": inner, "loss_ssl": ssl}
        for regulariser, (coupled_term, own_term) in zip(self.active, terms, strict=True):
            logged |= {f"loss_{regulariser.coupled_name}": coupled_term, f"loss_{regulariser.own_name}": own_term}
        logged = {name: value.detach() for name, value in logged.items()}
        passengers = [*logged.values(), *passengers]
        if settings.training == "joint":
            fill([*psi, *self.xi], inner + own, passengers)
            return logged

        v: Parameters = {}
        if on_next:
            v = self._fill_apart(ssl, coupled_loss, passengers)
            slopes = []
        elif two_level and settings.hypergradient == "unrolled":
            slopes = _fill_and_keep_the_graph(psi, inner, passengers)
        else:
            fill(psi, inner, passengers)
            slopes = [p.grad for p in psi]
        y = Outputs(*(output.detach() for output in y))
        del embedded, ssl, terms, inner, own, coupled_loss  # the next graph must not stand beside this one
        hyper = [torch.zeros_like(p) for p in self.xi]
        with frozen_statistics(self):
            if on_next:
                hyper = self._pending_hypergradient(v) if self.pending else hyper
                origin = Origin.of(self.psi, self.xi, step_size)
                self.pending = Pending(origin, batch.views, couplings, y, kept)
            elif two_level:
                hyper = self._hypergradient(batch.views, targets, couplings, y, slopes, kept, step_size)
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
        step_size: float,
    ) -> list[Tensor]:
        """dL_ssl(psi')/dxi by the backend of the spec; all of it on the same batch, at the psi before its step.

        `slopes` is the inner loss's gradient by psi: for "unrolled" this process's with its graph, else the mean.
        """
        settings = self.settings
        psi = {name: p.detach() for name, p in self.psi.items()}
        named, weight = dict(zip(psi, slopes, strict=True)), step_size
        step = plain_step(psi, step_size)
        if by_optimizer := settings.virtual_step == "optimizer":
            assert self.optimizer is not None, "the trainer sets it"
            step, weight = optimizer_step(self.optimizer, self.psi), 1.0

        def outer(parameters: Parameters) -> Tensor:
            with self.autocast():
                loss: Tensor = _call(self.method, parameters, self._embed_and_loss, views, targets)[1]
            return loss

        if settings.hypergradient == "unrolled":
            return hypergradient.unrolled(outer, step, named, self.xi)
        if by_optimizer:
            v = hypergradient.outer_gradient_by_slopes(outer, step, named)
        else:
            v = hypergradient.outer_gradient(outer, psi, named, step_size)
        network, coupled = self._network(views), _coupled(couplings)
        if settings.hypergradient == "finite-difference":
            return hypergradient.finite_difference(network, coupled, psi, v, self.xi, weight)
        return hypergradient.jvp(network, coupled, psi, v, y, self.xi, weight, kept)

    def _pending_hypergradient(self, v: Parameters) -> list[Tensor]:
        """The pending step's, with v the gradient of L at the weights and on the batch of now."""
        assert self.pending is not None
        origin, views, couplings, y, kept = (getattr(self.pending, field.name) for field in fields(Pending))
        xi = [p.requires_grad_() for p in origin.xi]

        def coupled(outputs: Sequence[Tensor]) -> Tensor:
            return self._with_xi(xi, _coupled(couplings), outputs)

        return hypergradient.jvp(self._network(views), coupled, origin.psi, v, y, xi, origin.step_size, kept)

    def _fill_apart(self, ssl: Tensor, coupled: Tensor, passengers: Sequence[Tensor]) -> Parameters:
        """As `fill` of both losses; returns the gradient of L_ssl alone."""
        psi = list(self.psi.values())
        parts = mean_gradients(coupled, psi, keep_graph=True), mean_gradients(ssl, psi, passengers)
        for parameter, *gradients in zip(psi, *parts, strict=True):
            there = [gradient for gradient in gradients if gradient is not None]
            parameter.grad = torch.stack(there).sum(0) if len(there) == 2 else there[0] if there else None
        pairs = zip(self.psi.items(), parts[1], strict=True)
        return {name: torch.zeros_like(p) if gradient is None else gradient for (name, p), gradient in pairs}

    def pending_state(self) -> dict[str, Any] | None:
        """What a checkpoint needs, beside the last batch, to go on; None where nothing is pending."""
        origin = self.pending.origin if self.pending else self._restored
        return origin.state() if origin else None

    def restore_pending(self, state: dict[str, Any] | None) -> None:
        """As Objective. Raises ValueError, KeyError or TypeError on what does not fit."""
        if self.settings.outer_batch == "next":
            self._restored, self.incomplete = Origin.restored(state or {}, self.psi, self.xi), True

    def complete_pending(self, batch: Batch) -> None:
        """Make the restored step pending: its first forward pass once more."""
        assert self._restored is not None
        origin, kept = self._restored, None if self.recompute else KeptActivations(self.kept_share)
        psi = {name: p.clone().requires_grad_() for name, p in origin.psi.items()}
        with frozen_statistics(self):
            with eager(), self.autocast(), kept or nullcontext():
                embedded = _call(self.method, psi, self.method.embed, batch.views)
            if kept:
                kept.prune()
            y = _outputs(embedded.detach())
            couplings = [regulariser.on(batch, len(y.z1)) for regulariser in self.active]
            with torch.no_grad():
                self._with_xi(origin.xi, _coupled(couplings), y)  # a coupling may hold what it makes of its first y
        self.pending = Pending(origin, batch.views, couplings, y, kept)
        self._restored, self.incomplete = None, False

    def _network(self, views: Sequence[Tensor]) -> Callable[[Parameters], Outputs]:
        """F: from psi to what regularisers see of these views."""

        def network(parameters: Parameters) -> Outputs:
            with self.autocast():
                embedded = _call(self.method, parameters, self.method.embed, views)
            return _outputs(embedded)

        return network

    def _with_xi(self, xi: Sequence[Tensor], function: Callable[..., Tensor], *args: Any) -> Tensor:
        """The function's value with these parameters in place of the regularisers' own."""
        bound = _Bound(nn.ModuleList(self.active))
        named = dict(zip((name for name, _ in bound.named_parameters()), xi, strict=True))
        value: Tensor = torch.func.functional_call(bound, named, (function, *args))
        return value

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
    """Calls a function with other parameters in place of a module's own: functional_call reaches only `forward`."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, function: Callable[..., Any], *args: Any) -> Any:
        return function(*args)


def _call(method: Method, parameters: Parameters, function: Callable[..., Any], *args: Any) -> Any:
    named = {f"module.{name}": p for name, p in parameters.items()}
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


def _coupled(couplings: Sequence[Coupling]) -> Callable[[Sequence[Tensor]], Tensor]:
    """M: from y to the coupled terms of the inner loss."""

    def coupled(outputs: Sequence[Tensor]) -> Tensor:
        y = Outputs(*outputs)
        return _weighted([c.weight for c in couplings], [coupling(y)[0] for coupling in couplings])

    return coupled


def _weighted(weights: Sequence[float], terms: Sequence[Tensor]) -> Tensor:
    return torch.stack([weight * term for weight, term in zip(weights, terms, strict=True)]).sum()


def _norm(tensors: Sequence[Tensor]) -> Tensor:
    return torch.stack([torch.linalg.vector_norm(t) for t in tensors]).square().sum().sqrt()
