"""How far the gradients of one step are from those of float32: under bfloat16, and by finite differences.

The first step of the digits' presets on a real batch, on a CPU. The gradient is that of the method's parameters; the
hypergradient is that of g_xi's through the virtual step, without g_xi's own term.

    python tests/benchmarks/gradients.py
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from compmod.pretrain.data.load import read
from compmod.pretrain.recipes.presets import preset
from compmod.pretrain.specs.run import Run
from compmod.pretrain.training.objective import build_objective
from compmod.pretrain.views.batch import Batch
from compmod.pretrain.views.batches import feed
from torch import Tensor

METHODS = ("simclr+", "byol+", "barlow_twins+")


def gradients(run: Run, batch: Batch, hypergradient: str, precision: str) -> tuple[Tensor, Tensor]:
    """Of psi and of xi, each as one vector."""
    settings = replace(run.compmod, hypergradient=hypergradient, lambda2=0.0)  # type: ignore[arg-type]
    autocast = nullcontext if precision == "float32" else (lambda: torch.autocast("cpu", torch.bfloat16))
    objective = build_objective(replace(run, compmod=settings), 16, 5752, autocast)
    objective.backward(batch, lr=1e-3)
    psi, xi = (torch.cat([p.grad.flatten() for p in part]) for part in (objective.psi.values(), objective.xi))  # type: ignore[union-attr]
    return psi, xi


def main() -> None:
    """Print the table: relative error and cosine."""
    torch.set_num_threads(1)
    images = read("digits", "pretrain", Path())
    print("| method | gradient, bfloat16 | hypergradient, bfloat16 | hypergradient, float32, by finite differences |")
    print("|---|---|---|---|")
    for name in METHODS:
        run = preset(name, "digits")
        batch = next(iter(feed(images, run, range(1), torch.device("cpu"), 0)))
        psi, xi = gradients(run, batch, "jvp", "float32")
        narrow_psi, narrow_xi = gradients(run, batch, "jvp", "bfloat16")
        differenced = gradients(run, batch, "finite-difference", "float32")[1]
        compared = ((narrow_psi, psi), (narrow_xi, xi), (differenced, xi))
        cells = [f"{(a - b).norm() / b.norm():.2f}, {a @ b / a.norm() / b.norm():.2f}" for a, b in compared]
        print("|", " | ".join([name, *cells]), "|", flush=True)


if __name__ == "__main__":
    main()
