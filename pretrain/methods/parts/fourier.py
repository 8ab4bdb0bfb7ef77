"""Random Fourier features (Rahimi and Recht, NeurIPS 2007) of SSL-HSIC's kernel (code `deepmind/ssl_hsic`).

The inverse multiquadric c / sqrt(c^2 + |x - y|^2) in D dimensions is the mean of 2 cos(w.x/c + b) cos(w.y/c + b) over
b uniform in [0, 2 pi) and w of uniform direction, whose length t has density proportional to t^v K_v(t). There
v = (D - 1) / 2, and K is the modified Bessel function of the second kind.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from ...runtime.copies import send

Draw = tuple[Tensor, Tensor]  # frequencies, features x D; phases, features

GRID = (1e-12, 100.0, 10_000)  # lengths are drawn from these: first, last, how many; the authors' grid


def fourier_features(x: Tensor, frequencies_FD: Tensor, phases_F: Tensor) -> Tensor:
    """Points (... x D) to features (... x F), whose inner products estimate the kernel of scale 1."""
    return math.sqrt(2 / len(phases_F)) * (x @ frequencies_FD.T + phases_F).cos()


def draw_fourier(width: int, features: int, generator: torch.Generator, like: Tensor) -> Draw:
    """Frequencies and phases for points of `width` dimensions, on the device of `like`, in its type or float32.

    Drawn on the CPU in float64, so that they are equal on every device.
    """
    direction_FD = torch.randn(features, width, generator=generator, dtype=torch.float64)
    uniform_2F = torch.rand(2, features, generator=generator, dtype=torch.float64)
    length_F = torch.linspace(*GRID, dtype=torch.float64)[torch.searchsorted(cumulative(width), uniform_2F[0])]
    frequencies_FD = direction_FD * (length_F / direction_FD.square().sum(dim=1).sqrt())[:, None]
    dtype = torch.promote_types(like.dtype, torch.float32)
    phases_F = 2 * math.pi * uniform_2F[1]
    return send(frequencies_FD.to(dtype), like.device), send(phases_F.to(dtype), like.device)


@lru_cache(maxsize=8)
def cumulative(width: int) -> Tensor:
    """Probability that a frequency's length is at most each point of the grid; ends in 1."""
    sums = log_density(torch.linspace(*GRID, dtype=torch.float64), width).softmax(dim=0).cumsum(dim=0)
    return sums / sums[-1]


def log_density(t: Tensor, width: int) -> Tensor:
    """log(t^v K_v(t)) with v = (width - 1) / 2, for t > 0.

    f_v = t^v K_v obeys f_{v+1} = 2 v f_v + t^2 f_{v-1}: sums of positive terms, so the logarithms climb from the lowest
    order without loss, where K itself overflows at the widths of embeddings.
    """
    log_t = t.log()
    order = ((width - 1) % 2) / 2
    if order:  # K_{1/2}(t) = K_{-1/2}(t) = sqrt(pi / 2t) exp(-t)
        log_f = math.log(math.pi / 2) / 2 - t
        below = log_f - log_t
    else:  # log f_0, and log f_{-1} = log(K_1 / t), which the factor 2 v = 0 makes the only term of f_1
        log_f = torch.special.scaled_modified_bessel_k0(t).log() - t
        below = torch.special.scaled_modified_bessel_k1(t).log() - t - log_t
    while order < (width - 1) / 2:
        from_same = math.log(2 * order) + log_f if order else torch.full_like(t, -torch.inf)
        log_f, below = torch.logaddexp(from_same, below + 2 * log_t), log_f
        order += 1
    return log_f
