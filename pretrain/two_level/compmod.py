"""CompMod: fusion, g_xi and the coding-rate terms, the paper's regulariser around any method (Eq. 5-7, 11, 12)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..methods.parts.coding_rate import comprehensive_loss, inverse_lambda, mcr_loss
from ..methods.parts.regulariser import Outputs, Regulariser
from ..networks.heads import mlp
from ..specs.run import Comprehensive

if TYPE_CHECKING:
    from ..views.batch import Batch


class CompMod(Regulariser):
    """g_xi makes the comprehensive embedding of both views. It is drawn from a generator of its own, so that the
    method's weights are its baseline's."""

    coupled_name, own_name = "mcr", "comp"

    def __init__(self, settings: Comprehensive, width: int, features: int, generator: torch.Generator) -> None:
        """`width` and `features` are those of the method's embeddings and representations."""
        super().__init__()
        self.settings, self.width = settings, width
        fused, hidden = {
            "concatenate": (2 * features, features),  # paper: "2d'-d'-d"
            "mixup": (features, features),  # the paper gives no size
            "embedding": (2 * width, width),  # paper, Eq. 12: "2d-d-d"
        }[settings.fusion]
        self.g_xi = mlp((fused, hidden, width))
        _draw_linear_layers(self.g_xi, generator)

    def on(self, batch: Batch, samples: int) -> CodingRates:
        """Fusion and losses of one batch."""
        return CodingRates(self.g_xi, self.settings, samples, self.width, batch)


class CodingRates:
    """L_mcr and L_comp of one batch, as functions of a method's outputs y and of xi."""

    def __init__(self, g_xi: nn.Module, settings: Comprehensive, samples: int, width: int, batch: Batch) -> None:
        self.g_xi = g_xi
        self.settings = settings
        self.weight, self.own_weight = settings.lambda1, settings.lambda2
        self.alpha = batch.draw if settings.alpha == "uniform" else float(settings.alpha)
        # at 64 or narrower the series converges anyway
        warm = settings.warmup == "on" or (settings.warmup == "auto" and width > 64)
        warmup_epochs = settings.warmup_epochs if warm else 0.0
        moment = batch.epoch, warmup_epochs, batch.step_epochs
        self.inverse_lambda = inverse_lambda(samples, width, settings.squared_error, *moment)
        self._stopped: Tensor | None = None

    def __call__(self, y: Outputs) -> tuple[Tensor, Tensor]:
        """L_mcr (Eq. 7) and L_comp (Eq. 6)."""
        settings = self.settings
        z_hat = self.g_xi(self.fuse(y))
        mcr = mcr_loss(y.z1, y.z2, z_hat, self.inverse_lambda, settings.order, settings.scale)
        return mcr, comprehensive_loss(z_hat, self.inverse_lambda, settings.order, settings.scale)

    def fuse(self, y: Outputs) -> Tensor:
        """Input of g_xi: N x (2D', D' or 2D). Where the spec stops the flow there, that of the batch's first y."""
        if self._stopped is not None:
            return self._stopped
        if self.settings.fusion == "mixup":
            fused = self.alpha * y.h1 + (1 - self.alpha) * y.h2  # paper, Eq. 11
        else:  # Eq. 12, Eq. 5
            fused = torch.cat([y.z1, y.z2] if self.settings.fusion == "embedding" else [y.h1, y.h2], dim=1)
        if self.settings.flow == "stop":
            self._stopped = fused = fused.detach()
        return fused


def _draw_linear_layers(module: nn.Module, generator: torch.Generator) -> None:
    """PyTorch's default initialisation of linear layers, uniform in +-1/sqrt(width in), from a generator of our own."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            bound = 1 / math.sqrt(layer.in_features)
            for parameter in layer.parameters():
                nn.init.uniform_(parameter, -bound, bound, generator=generator)
