"""Hypergradient: both gradients of a SimCLR+ batch, ours beside public bi-level libraries on the same problem.

Every contestant gives the gradient of the network by the inner loss, and that of xi through one virtual step of plain
gradient descent. The error is that of xi's gradient in float32 against the exact rule in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from compmod.pretrain.methods.parts.regulariser import Outputs
from compmod.pretrain.recipes.presets import preset
from compmod.pretrain.training.objective import Objective, build_objective
from compmod.pretrain.training.session import Session
from compmod.pretrain.views.batch import Batch
from layouts import LAYOUTS
from page import best, median, times
from rounds import Contestant, Sizes, Subject, Work
from torch import Tensor, nn

LR = 3e-3  # that of the recipe


def prepared(hypergradient: str, sizes: Sizes, dtype: torch.dtype, *, plus: bool = True) -> tuple[Objective, Batch]:
    """The same networks and views for everyone."""
    run = preset("simclr+" if plus else "simclr", "cifar10")
    if plus:
        # without the term of xi alone, so that the gradient is the hypergradient and nothing else
        run = replace(run, compmod=replace(run.compmod, hypergradient=hypergradient, lambda2=0.0))
    run = replace(run, backbone=replace(run.backbone, width=sizes["width"]))
    objective = build_objective(run, sizes["side"], 50_000).to(dtype)
    layout = LAYOUTS[Session().layout("cpu", run.precision, sizes["width"])]
    objective.method.to(memory_format=layout)  # type: ignore[call-overload]
    source = torch.Generator().manual_seed(0)
    shape = (sizes["batch"], 3, sizes["side"], sizes["side"])
    views = [torch.randn(shape, generator=source).to(dtype, memory_format=layout) for _ in range(2)]
    index = torch.arange(sizes["batch"])
    batch = Batch(views=tuple(views), index=index, labels=torch.zeros_like(index), epoch=20.0, draw=0.5)
    return objective, batch


def flat(gradients: Sequence[Tensor | None]) -> Tensor:
    return torch.cat([g.detach().flatten().double() for g in gradients if g is not None])


def judged(gradients: Callable[[], Sequence[Tensor | None]], sizes: Sizes) -> Work:
    """Times a function that returns xi's gradient, with its error."""
    file = Path(sizes["scratch"]) / "exact.pt"
    if not file.exists():  # the contestants are built one after another
        objective, batch = prepared("jvp", sizes, torch.float64)
        objective.backward(batch, lr=LR)
        torch.save(flat([p.grad for p in objective.xi]), file)
    exact = torch.load(file, weights_only=True)

    def work() -> dict[str, float]:
        return {"error": float((flat(gradients()) - exact).norm() / exact.norm())}

    return work


def own(hypergradient: str) -> Callable[[str, Sizes], Work]:
    def build(_: str, sizes: Sizes) -> Work:
        objective, batch = prepared(hypergradient, sizes, torch.float32)

        def gradients() -> list[Tensor | None]:
            objective.backward(batch, lr=LR)
            return [p.grad for p in objective.xi]

        return judged(gradients, sizes)

    return build


def plain(_: str, sizes: Sizes) -> Work:
    objective, batch = prepared("", sizes, torch.float32, plus=False)

    def work() -> None:
        objective.backward(batch, lr=LR)

    return work


class Problem(nn.Module):
    """The same losses for a library that wants a module and a loss: views -> what xi sees, and the method's loss."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        objective, self.batch = prepared("jvp", sizes, torch.float32)
        self.method = objective.method
        self.xi: list[Tensor] = list(objective.xi)
        self.couplings: Any = [r.on(self.batch, sizes["batch"]) for r in objective.active]  # type: ignore[operator, union-attr]
        self.targets = self.method.targets(self.batch)

    def forward(self, views: Sequence[Tensor]) -> tuple[Outputs, Tensor]:
        embedded = self.method.embed(views)
        y = Outputs(*embedded.embeddings[:2], *embedded.representations[:2])
        return y, self.method.loss(embedded, self.targets)

    def inner(self, y: Outputs, ssl: Tensor) -> Tensor:
        loss: Tensor = ssl + sum(coupling.weight * coupling(y)[0] for coupling in self.couplings)
        return loss


def higher(_: str, sizes: Sizes) -> Work:
    import higher as library

    problem = Problem(sizes)
    views = problem.batch.views
    descent = torch.optim.SGD(problem.parameters(), lr=LR)

    def gradients() -> Sequence[Tensor]:
        with library.innerloop_ctx(problem, descent) as (stateless, virtual):
            virtual.step(problem.inner(*stateless(views)))
            return torch.autograd.grad(stateless(views)[1], problem.xi)

    return judged(gradients, sizes)


def torchopt(_: str, sizes: Sizes) -> Work:
    import torchopt as library

    problem = Problem(sizes)
    views = problem.batch.views
    virtual = library.MetaSGD(problem, lr=LR)
    start = library.extract_state_dict(problem, by="copy"), library.extract_state_dict(virtual, by="copy")

    def gradients() -> Sequence[Tensor]:
        virtual.step(problem.inner(*problem(views)))
        found = torch.autograd.grad(problem(views)[1], problem.xi)
        library.recover_state_dict(problem, start[0])
        library.recover_state_dict(virtual, start[1])
        return found

    return judged(gradients, sizes)


def betty(_: str, sizes: Sizes) -> Work:
    """Its finite differences, called as its engine does: on the problem before the virtual step."""
    from types import SimpleNamespace

    from betty.hypergradient.darts import darts

    problem = Problem(sizes)
    views = problem.batch.views
    psi = list(problem.parameters())
    level = SimpleNamespace(
        config=SimpleNamespace(darts_alpha=0.01),
        cur_batch=views,
        trainable_parameters=lambda: psi,
        training_step_exec=lambda batch: problem.inner(*problem(batch)),
    )
    above = SimpleNamespace(trainable_parameters=lambda: problem.xi)

    def gradients() -> Sequence[Tensor]:
        slopes = torch.autograd.grad(problem.inner(*problem(views)), psi)
        before = [p.detach().clone() for p in psi]
        with torch.no_grad():
            for p, slope in zip(psi, slopes, strict=True):
                p -= LR * slope
        vector = torch.autograd.grad(problem(views)[1], psi)
        with torch.no_grad():
            for p, value in zip(psi, before, strict=True):
                p.copy_(value)
        found = [LR * gradient for gradient in darts(vector, level, above)]
        with torch.no_grad():
            for p, value in zip(psi, before, strict=True):  # it leaves them moved
                p.copy_(value)
        return found

    return judged(gradients, sizes)


SUBJECT = Subject(
    title='The exact "+" step',
    text="Both gradients of SimCLR+ on a batch: ResNet-18 (small stem, {side} px, batch {batch}), float32. The error "
    "is that of xi's gradient against float64; one rounding of the weights to float32, and no other, moves it by 0.02.",
    cases=["ResNet-18"],
    contestants=[
        Contestant("plain SimCLR", "compmod", plain),
        Contestant("SimCLR+, exact (jvp)", "compmod", own("jvp")),
        Contestant("SimCLR+, unrolled", "compmod", own("unrolled")),
        Contestant("SimCLR+, finite differences", "compmod", own("finite-difference")),
        Contestant("higher, unrolled", "higher", higher),
        Contestant("torchopt, unrolled", "torchopt", torchopt),
        Contestant("betty, finite differences", "betty-ml", betty),
    ],
    sizes={"side": 32, "batch": 32, "width": 64},
    tiny={"side": 16, "batch": 16, "width": 4},
    columns={
        "median ms": lambda f, _: f"{1e3 * median(f):,.0f}",
        "least ms": lambda f, _: f"{1e3 * best(f):,.0f}",
        "plain steps, by time": lambda f, plain: times(f, plain).replace(" x", ""),
        "by core time": lambda f, plain: times(f, plain, "core_seconds").replace(" x", ""),
        "memory, MiB": lambda f, _: f"{f['memory_mib']:,.0f}",
        "error of the gradient": lambda f, _: f"{median(f, 'error'):.1e}" if "error" in f else "",
    },
)
