"""What stays in float32 under bfloat16 autocast: everything but the layers of the networks, in a step of every name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from compmod.pretrain.optim import build_optimizer
from compmod.pretrain.runtime import distributed
from compmod.pretrain.runtime.settings import numerics
from compmod.pretrain.specs.methods import METHODS
from compmod.pretrain.training.objective import Objective, build_objective
from compmod.pretrain.two_level import hypergradient
from small_runs import IMAGES, SIDE, small, small_batch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

ALL = [*METHODS, *(f"{name}+" for name, entry in METHODS.items() if entry.plus)]
NARROW = torch.bfloat16
# Operations that compute nothing: copies, among them those of autocast, views, and questions of forward mode.
MOVES = {"_to_copy", "alias", "cat", "clone", "detach", "expand", "select", "slice", "split", "stack", "t", "unbind"}
MOVES |= {"copy_", "unsqueeze", "view", "_unsafe_view", "is_same_size", "_has_same_storage_numel"}
NORMS = {"native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training", "cudnn_batch_norm"}


def autocast() -> torch.autocast:
    return torch.autocast("cpu", dtype=NARROW)


class Watch(TorchDispatchMode):
    """Notes every operation in bfloat16 outside the networks' layers, and every batch norm with narrow statistics."""

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.depth, self.convolutions = 0, 0
        self.outside: set[str] = set()
        meta = set() if objective.method.regulariser is None else set(objective.method.regulariser.modules())
        for module in set(objective.method.modules()) - meta - {objective.method}:
            module.register_forward_pre_hook(self._enter)
            module.register_forward_hook(self._leave)

    def _enter(self, module: nn.Module, args: Any) -> None:
        self.depth += 1

    def _leave(self, module: nn.Module, args: Any, result: Any) -> None:
        self.depth -= 1

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        name = function.overloadpacket.__name__
        narrow = [t for t in tree_leaves((args, kwargs, result)) if isinstance(t, Tensor) and t.dtype == NARROW]
        if not narrow:
            return result
        self.convolutions += name == "convolution"
        if name in NORMS and not all(t.dtype == torch.float32 for t in (*result[1:], *_tensors(args[1:5]))):
            self.outside.add(f"{name} with narrow statistics or parameters")
        # a backward pass of the layers is theirs; that of a loss in float32 is in float32 by itself
        backwards = torch._C._current_graph_task_id() != -1
        # the forward-mode pass computes a norm's values when they are asked for, which may be after the layer
        late = name in NORMS and forward_ad._current_level >= 0
        if not (self.depth or backwards or late or name in MOVES):
            self.outside.add(name)
        return result


def _tensors(values: Any) -> list[Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, Tensor)]


@contextmanager
def watched_hypergradient(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[torch.dtype]]:
    """The types of v, u, y, slopes of the coupling, and of the result."""
    seen: list[torch.dtype] = []

    def noting(function: Any) -> Any:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            result = function(*args, **kwargs)
            seen.extend(t.dtype for t in _tensors((args, kwargs, result)))
            return result

        return wrapped

    with monkeypatch.context() as patch:
        for name in ("outer_gradient", "jacobian_vector_product", "jvp"):
            patch.setattr(hypergradient, name, noting(getattr(hypergradient, name)))
        yield seen


def step(name: str) -> tuple[Objective, Watch, list[torch.optim.Optimizer]]:
    """Two whole steps of a method, the second with what the first left behind: queues, banks, averages."""
    run = small(name, precision="bfloat16")
    objective = build_objective(run, SIDE, IMAGES, autocast)
    optimizers = [build_optimizer(p, run.optimizer, 1e-3) for p in (objective.psi, objective.xi) if p]
    watch = Watch(objective)
    for number in range(2):
        with watch:
            logged = objective.backward(small_batch(name, number, torch.float32), lr=1e-3)
            for optimizer in optimizers:
                optimizer.step()
            objective.after_step(0.5)
        assert {value.dtype for value in logged.values()} == {torch.float32}
    return objective, watch, optimizers


@pytest.mark.parametrize("name", ALL)
def test_only_the_layers_of_the_networks_compute_in_bfloat16(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with watched_hypergradient(monkeypatch) as hyper:
        objective, watch, optimizers = step(name)
    assert watch.convolutions  # the trunk does, or the rest says nothing
    assert watch.outside == set()
    assert NARROW not in hyper
    assert bool(hyper) == bool(objective.xi)
    kept = [*objective.state_dict().values(), *_tensors([optimizer.state_dict() for optimizer in optimizers])]
    kept += [p.grad for p in objective.parameters() if p.grad is not None]
    assert {t.dtype for t in kept if t.is_floating_point()} == {torch.float32}


def test_the_check_sees_a_loss_a_regulariser_and_a_gradient_in_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the guards taken away, the check above sees what it guards."""
    objective = build_objective(small("simclr+"), SIDE, IMAGES, autocast)
    batch = small_batch("simclr+", 0, torch.float32)
    watch = Watch(objective)
    loss = objective.method.loss
    monkeypatch.setattr(objective.method, "loss", lambda *parts: loss(*parts) + parts[0].embeddings[0].square().mean())
    with watch:
        objective.backward(batch, lr=1e-3)
    assert {"mean", "pow"} <= watch.outside
    monkeypatch.undo()

    watch = Watch(objective)
    backward = objective.backward
    with watch, autocast():  # around the regulariser, too
        backward(batch, lr=1e-3)
    assert {"addmm", "native_batch_norm"} <= watch.outside


def test_embeddings_are_gathered_and_their_gradients_summed_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[torch.dtype] = []

    def all_gather(out: Tensor, x: Tensor) -> None:
        sent.append(x.dtype)
        out.copy_(torch.cat([x, x]))

    monkeypatch.setattr(distributed, "world", lambda: 2)
    monkeypatch.setattr(distributed.dist, distributed.GATHER, all_gather)
    monkeypatch.setattr(distributed.dist, "all_reduce", lambda out: sent.append(out.dtype))
    z_ND = torch.ones(3, 2, dtype=NARROW, requires_grad=True)
    gathered = distributed.gather(z_ND)
    gathered.sum().backward()
    assert gathered.shape == (6, 2)
    assert sent == [torch.float32, torch.float32]
    index = distributed.gather(torch.arange(3))
    assert index.dtype == torch.int64


def test_float32_products_beside_autocast_are_no_tf32() -> None:
    for name, allowed in (("bfloat16", False), ("float32", False), ("float64", False), ("tf32", True)):
        with numerics(name):
            assert (torch.get_float32_matmul_precision() != "highest") is allowed, name
            assert torch.backends.cudnn.allow_tf32 is allowed, name
