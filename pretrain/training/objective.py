"""Objective: the gradients of one batch by a method's own loss, and what to log of them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from ..methods.base import Embedded, Method, Targets
from ..methods.build import build_method
from ..networks.batch_norm import synchronise_batch_norms
from ..networks.recomputation import recompute_activations
from ..runtime.distributed import world
from ..runtime.gradients import mean_gradients
from ..runtime.randomness import generator
from ..specs.run import Run
from ..views.batch import Batch
from .session import Session

Autocast = Callable[[], AbstractContextManager[Any]]


class Objective(nn.Module):
    """A method as the trainer sees it: the gradients of one batch, and what to log."""

    def __init__(self, method: Method, autocast: Autocast = nullcontext) -> None:
        super().__init__()
        self.method = method
        self.autocast = autocast
        own = {id(p) for p in method.regulariser.parameters()} if method.regulariser else set()
        self.psi = {name: p for name, p in method.named_parameters() if p.requires_grad and id(p) not in own}
        self.xi: list[nn.Parameter] = []  # of regularisers, which a plain method has none of
        self.optimizer: torch.optim.Optimizer | None = None  # of psi, at the rates of now; its owner sets it
        self.done: tuple[Embedded, Targets] | None = None  # of the batch whose gradients are filled in
        self.recompute = False  # keep few activations, and compute them again in the backward pass
        self.incomplete = False  # what was restored from a checkpoint waits for `complete_pending`
        self.kept_share = 0.0  # of the activations that a first pass may keep for a later one; here there is none
        self._compiled: Callable[[Sequence[Tensor]], Embedded] | None = None  # the method's `embed`

    def recompute_activations(self) -> None:
        """Spend time to save memory; the gradients stay the same."""
        self.recompute = True
        recompute_activations(self)

    def compute_as(self, session: Session) -> None:
        """Follow the session's `recompute`, `compile` and `kept_share`; the gradients stay the same.

        Compiled are embeddings and their gradients; the method's loss is not. Raises ValueError where several processes
        would compile: their batch norm sends messages, which compiled code may send in another order.
        """
        if session.recompute:
            self.recompute_activations()
        if session.compile:
            if world() > 1:
                raise ValueError(f"compile is for one process, and {world()} share this run; leave --compile out")
            self._compiled = torch.compile(self.method.embed, dynamic=False)
        self.kept_share = session.kept_share

    def backward(self, batch: Batch, *, lr: float, passengers: Sequence[Tensor] = ()) -> dict[str, Tensor]:
        """Fill `.grad` of psi (None where the loss did not use a parameter), equal on all processes.

        `lr` is the current learning rate, `passengers` are scalars to overwrite by their means over processes. Returns
        scalars to log, means over processes, left on the device.
        """
        with self.autocast():
            targets = self.method.targets(batch)
        with self.autocast():
            embedded, loss = self._embed_and_loss(batch.views, targets)
        self.done = embedded.detach(), targets
        logged = {"loss": loss.detach()}
        fill(list(self.psi.values()), loss, [*logged.values(), *passengers])
        return logged

    def pending_state(self) -> dict[str, Any] | None:
        """What a step leaves for the next one beside weights, for a checkpoint: nothing, but for TwoLevelObjective."""
        return None

    def restore_pending(self, state: dict[str, Any] | None) -> None:
        """Take over what `pending_state` gave. While `incomplete`, `complete_pending` must follow."""

    def complete_pending(self, batch: Batch) -> None:
        """Go on from what was restored, with the batch of the step before."""

    def after_step(self, progress: float) -> None:
        """Tell the method that its parameters were updated by the gradients of the last `backward`."""
        assert self.done is not None, "backward comes first"
        self.method.after_step(progress, *self.done)

    def _embed(self, views: Sequence[Tensor]) -> Embedded:
        return (self._compiled or self.method.embed)(views)

    def _embed_and_loss(self, views: Sequence[Tensor], targets: Targets) -> tuple[Embedded, Tensor]:
        embedded = self._embed(views)
        return embedded, self.method.loss(embedded, targets)


def fill(parameters: Sequence[Tensor], loss: Tensor, passengers: Sequence[Tensor]) -> None:
    """Set `.grad` of the parameters to the gradients of the processes' mean loss; average `passengers` with them."""
    for parameter, gradient in zip(parameters, mean_gradients(loss, parameters, passengers), strict=True):
        parameter.grad = gradient


def build_objective(run: Run, size: int, images: int, autocast: Autocast = nullcontext) -> Objective:
    """The objective of `run` for views of side `size` and so many training images.

    Weights depend on the seed alone and are the same for a method with and without "+". Raises ValueError on a wrong
    option, and when batch-norm statistics of parts of the batch are asked for and there is not a process for each.
    """
    if run.norm_groups not in (1, world()):
        raise ValueError(f"norm_groups {run.norm_groups} needs as many processes, or 1; there are {world()}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator(run.seed, "method").initial_seed())
        method = build_method(run, size)
        method.allocate(images)
    if run.norm_groups == 1 and world() > 1:
        for child in method.children():
            if child is not method.regulariser:  # it sees the gathered batch
                synchronise_batch_norms(child)
    if not run.plus and method.regulariser is None:
        return Objective(method, autocast)
    # by name, so that a plain run imports nothing of CompMod and is not stale when that changes
    two_level = importlib.import_module("..two_level.objective", __package__)
    objective: Objective = two_level.regularised_objective(run, method, autocast)
    return objective
