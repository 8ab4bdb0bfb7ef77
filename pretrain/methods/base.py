"""Method: what every self-supervised method is made of, so that the trainer and CompMod need to know nothing more.

A method is split where the two-level step has to cut it (see hypergradient.py): `embed` depends on the trained
parameters and is differentiated, `targets` is everything held fixed for a batch (an EMA network's outputs, a queue),
and `loss` is a pure function of the two. Writing a new method means these three, in one file, and a line in METHODS.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..networks import build_backbone, mlp, projector_widths
from ..run import Run


class Embedded(NamedTuple):
    """What a method makes of its views, one entry a view."""

    representations: tuple[Tensor, ...]  # each N x D', the trunk's output: what is evaluated
    embeddings: tuple[Tensor, ...]  # each N x D, the projector's output, not normalised


class Method(nn.Module):
    """Base of every method: a trunk, a projector and a loss.

    A subclass's own settings are the keyword-only parameters of its `__init__`; `Run.options` sets them by name.
    """

    def __init__(self, run: Run, size: int, *, projector: nn.Module | None = None) -> None:
        super().__init__()
        self.backbone = build_backbone(run.backbone, size)
        head = run.projector
        self.projector = projector or mlp(projector_widths(self.backbone.features, head.layers, head.hidden, head.out))
        self.embedding_width = head.out

    def embed(self, views: Sequence[Tensor]) -> Embedded:
        """Representations and embeddings of each view (N x 3 x S x S): trunk and projector once a view."""
        representations = tuple(self.backbone(view) for view in views)
        return Embedded(representations, tuple(self.projector(h) for h in representations))

    @torch.no_grad()
    def targets(self, views: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """What the loss compares with and no gradient reaches; computed once a batch. Most methods have none."""
        return ()

    def loss(self, embedded: Embedded, targets: tuple[Tensor, ...]) -> Tensor:
        """The self-supervised loss, a scalar; pure given the parameters."""
        raise NotImplementedError

    def forward(self, views: Sequence[Tensor]) -> Tensor:
        """Loss of one batch of views."""
        targets = self.targets(views)
        return self.loss(self.embed(views), targets)

    def after_step(self, progress: float) -> None:
        """Called after each update with the share of training done, 0 to 1 and constant within an epoch."""


def build_method(run: Run, size: int) -> Method:
    """The method of `run` for views of side `size`. Raises ValueError on a setting it does not have."""
    from . import METHODS

    kind = METHODS[run.base_method].load()
    known = method_options(kind)
    for name, value in run.options:
        if name not in known:
            raise ValueError(f"unknown option {name!r} of {run.base_method}; known: {', '.join(known) or 'none'}")
        if isinstance(value, str) != isinstance(known[name], str):
            expected = "a word" if isinstance(known[name], str) else "a number"
            raise ValueError(f"option {name!r} of {run.base_method} is {expected}, not {value!r}")
    if len(dict(run.options)) < len(run.options):
        raise ValueError(f"an option of {run.base_method} is given twice; known: {', '.join(known)}")
    settings: dict[str, Any] = dict(run.options)
    return kind(run, size, **settings)


def method_options(kind: type[Method]) -> dict[str, Any]:
    """A method's own settings and their defaults."""
    parameters = inspect.signature(kind.__init__).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is not None}


def full_precision(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Run a loss outside autocast with its tensors in float32 or better, whatever the networks computed in."""

    @functools.wraps(loss)
    def wrapped(*args: Any, **kwargs: Any) -> Tensor:
        device = next(arg.device.type for arg in args if isinstance(arg, Tensor))
        with torch.autocast(device, enabled=False):
            return loss(*(at_least_float32(a) if isinstance(a, Tensor) else a for a in args), **kwargs)

    return wrapped


def at_least_float32(tensor: Tensor) -> Tensor:
    """The tensor itself, or in float32 where autocast left it narrower."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
