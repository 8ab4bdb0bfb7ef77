"""CompMod: fusion, g_xi and the two-level step around any method (paper, Eq. 5-9 and Algorithm 1).

One batch: the method's parameters psi take the gradient of L_ssl + lambda1 L_mcr with xi fixed (Eq. 8); a virtual plain
step of psi along it gives psi'; xi takes the gradient of L_ssl(psi'(xi)) + lambda2 L_comp (Eq. 9). psi' is then
dropped: the real update of psi is one step of the recipe's optimiser on the same gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from . import hypergradient
from .coding_rate import comprehensive_loss, inverse_lambda, mcr_loss
from .hypergradient import KeptConvolutions, Outputs, Parameters, frozen_statistics
from .methods.base import Embedded, Method, at_least_float32
from .networks import mlp
from .run import Comprehensive

Autocast = Callable[[], AbstractContextManager[Any]]


class Objective(nn.Module):
    """A plain method as the trainer sees it: the gradients of one batch, and what to log."""

    def __init__(self, method: Method, autocast: Autocast) -> None:
        super().__init__()
        self.method = method
        self.autocast = autocast
        self.psi = {name: p for name, p in method.named_parameters() if p.requires_grad}

    def backward(self, views: Sequence[Tensor], *, lr: float, epoch: float, draw: float) -> dict[str, Tensor]:
        """Fill `.grad` of every trained parameter; return scalars to log, left on the device.

        `lr` is the current learning rate, `epoch` counts from 0 with fractions, `draw` is this batch's uniform number.
        """
        with self.autocast():
            loss = self.method(views)
        _assign(self.psi.values(), torch.autograd.grad(loss, list(self.psi.values())))
        return {"loss": loss.detach()}


class CompMod(Objective):
    """CompMod around `method`. g_xi is drawn from its own generator, so the method's weights are its baseline's."""

    def __init__(self, method: Method, settings: Comprehensive, autocast: Autocast, generator: torch.Generator) -> None:
        super().__init__(method, autocast)
        self.settings = settings
        width, features = method.embedding_width, method.backbone.features
        fused, hidden = {
            "concatenate": (2 * features, features),  # paper: "2d'-d'-d"
            "mixup": (features, features),  # the paper gives no size
            "embedding": (2 * width, width),  # paper, Eq. 12: "2d-d-d"
        }[settings.fusion]
        self.g_xi = mlp((fused, hidden, width))
        _draw_linear_layers(self.g_xi, generator)
        self._bound = _Bound(method)

    def backward(self, views: Sequence[Tensor], *, lr: float, epoch: float, draw: float) -> dict[str, Tensor]:
        """As for a plain method; `.grad` of xi is that of Eq. 9. Logs both parts' norms."""
        settings, psi, xi = self.settings, list(self.psi.values()), list(self.g_xi.parameters())
        coupling = _Coupling(self.g_xi, settings, len(views[0]), self.method.embedding_width, epoch, draw)
        targets = self.method.targets(views)
        kept = KeptConvolutions()
        by_jvp = settings.training == "two-level" and settings.hypergradient == "jvp"
        with self.autocast(), kept if by_jvp else nullcontext():
            embedded, ssl = self._embed_and_loss(views, targets)
        kept.prune()
        y = _outputs(embedded)
        fused = coupling.fuse(y)
        z_hat = self.g_xi(fused)
        mcr, comp = coupling.mcr(y, z_hat), coupling.comp(z_hat)
        inner = ssl + settings.lambda1 * mcr
        logged = {"loss": inner, "loss_ssl": ssl, "loss_mcr": mcr, "loss_comp": comp}
        logged = {name: value.detach() for name, value in logged.items()}
        if settings.training == "joint":
            _assign([*psi, *xi], torch.autograd.grad(inner + settings.lambda2 * comp, [*psi, *xi]))
            return logged

        _assign(psi, torch.autograd.grad(inner, psi))
        y, fused = tuple(output.detach() for output in y), fused.detach()
        del embedded, ssl, z_hat, mcr, comp, inner  # the next graph must not stand beside this one
        with frozen_statistics(self):
            hyper = self._hypergradient(views, targets, coupling, y, fused, kept, lr)
            towards_comp = torch.autograd.grad(settings.lambda2 * coupling.comp(self.g_xi(fused)), xi)
        _assign(xi, [h + c for h, c in zip(hyper, towards_comp, strict=True)])
        return logged | {"hyper_norm": _norm(hyper), "comp_norm": _norm(towards_comp)}

    def _hypergradient(
        self,
        views: Sequence[Tensor],
        targets: Outputs,
        coupling: _Coupling,
        y: Outputs,
        fused: Tensor,
        kept: KeptConvolutions,
        lr: float,
    ) -> list[Tensor]:
        """dL_ssl(psi')/dxi by the backend of the spec; all of it on the same batch, at the psi before its step."""
        settings, xi = self.settings, list(self.g_xi.parameters())
        step_size = lr if settings.virtual_lr is None else settings.virtual_lr
        psi = {name: p.detach() for name, p in self.psi.items()}

        def network(parameters: Parameters) -> Outputs:
            with self.autocast():
                return _outputs(self._bound.call(parameters, self.method.embed, views))

        def inner(parameters: Parameters) -> Tensor:
            with self.autocast():
                embedded, ssl = self._bound.call(parameters, self._embed_and_loss, views, targets)
            outputs = _outputs(embedded)
            loss: Tensor = ssl + settings.lambda1 * coupling.mcr(outputs, self.g_xi(coupling.fuse(outputs)))
            return loss

        def outer(parameters: Parameters) -> Tensor:
            with self.autocast():
                loss: Tensor = self._bound.call(parameters, self._embed_and_loss, views, targets)[1]
            return loss

        def coupled(outputs: Outputs) -> Tensor:
            stopped = settings.flow == "stop"
            return coupling.mcr(outputs, self.g_xi(fused if stopped else coupling.fuse(outputs)))

        if settings.hypergradient == "none" or settings.training == "comp-only":
            return [torch.zeros_like(p) for p in xi]
        if settings.hypergradient == "unrolled":
            return hypergradient.unrolled(inner, outer, psi, xi, step_size)
        slopes = [p.grad for p in self.psi.values() if p.grad is not None]
        v = hypergradient.outer_gradient(outer, psi, slopes, step_size)
        weight = step_size * settings.lambda1
        if settings.hypergradient == "finite-difference":
            return hypergradient.finite_difference(network, coupled, psi, v, xi, weight)
        return hypergradient.jvp(network, coupled, psi, v, y, xi, weight, kept)

    def _embed_and_loss(self, views: Sequence[Tensor], targets: Outputs) -> tuple[Embedded, Tensor]:
        embedded = self.method.embed(views)
        return embedded, self.method.loss(embedded, targets)


class _Coupling:
    """What ties psi's outputs y to xi in one batch: fusion, L_mcr and L_comp with this batch's numbers filled in."""

    def __init__(self, g_xi: nn.Module, settings: Comprehensive, n: int, d: int, epoch: float, draw: float) -> None:
        self.g_xi = g_xi
        self.settings = settings
        self.alpha = draw if settings.alpha == "uniform" else float(settings.alpha)
        warm = settings.warmup == "on" or (settings.warmup == "auto" and d > 64)  # d <= 64: the series converges anyway
        warmup_epochs = settings.warmup_epochs if warm else 0.0
        self.inverse_lambda = inverse_lambda(n, d, settings.squared_error, epoch, warmup_epochs)

    def fuse(self, y: Outputs) -> Tensor:
        """Input of g_xi: N x (2D', D' or 2D). Cut from psi's graph where the spec stops the gradient there."""
        z1, z2, h1, h2 = y
        if self.settings.fusion == "mixup":
            fused = self.alpha * h1 + (1 - self.alpha) * h2  # paper, Eq. 11
        else:
            fused = torch.cat([z1, z2] if self.settings.fusion == "embedding" else [h1, h2], dim=1)  # Eq. 12, Eq. 5
        return fused.detach() if self.settings.flow == "stop" else fused

    def mcr(self, y: Outputs, z_hat: Tensor) -> Tensor:
        """L_mcr (Eq. 7)."""
        loss: Tensor = mcr_loss(y[0], y[1], z_hat, self.inverse_lambda, self.settings.order, self.settings.scale)
        return loss

    def comp(self, z_hat: Tensor) -> Tensor:
        """L_comp (Eq. 6)."""
        loss: Tensor = comprehensive_loss(z_hat, self.inverse_lambda, self.settings.order, self.settings.scale)
        return loss


class _Bound(nn.Module):
    """Calls any function of a method with other parameters in place of the method's own."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, function: Callable[..., Any], *args: Any) -> Any:
        return function(*args)

    def call(self, parameters: Parameters, function: Callable[..., Any], *args: Any) -> Any:
        named = {f"method.{name}": p for name, p in parameters.items()}
        return torch.func.functional_call(self, named, (function, *args))


def _outputs(embedded: Embedded) -> Outputs:
    """y = (Z1, Z2, H1, H2) of the first two views, in float32 or better."""
    return tuple(at_least_float32(t) for t in (*embedded.embeddings[:2], *embedded.representations[:2]))


def _assign(parameters: Iterable[Tensor], gradients: Iterable[Tensor]) -> None:
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient


def _norm(tensors: Sequence[Tensor]) -> Tensor:
    return torch.stack([torch.linalg.vector_norm(t) for t in tensors]).square().sum().sqrt()


def _draw_linear_layers(module: nn.Module, generator: torch.Generator) -> None:
    """PyTorch's default initialisation of linear layers, uniform in +-1/sqrt(width in), from a generator of our own."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            bound = 1 / math.sqrt(layer.in_features)
            for parameter in layer.parameters():
                nn.init.uniform_(parameter, -bound, bound, generator=generator)
