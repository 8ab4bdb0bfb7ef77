"""One process of a group: takes two steps of every method on its share of the batches; the first writes them down.

RANK=0 WORLD_SIZE=2 LOCAL_RANK=0 MASTER_ADDR=... MASTER_PORT=... python tests/distributed_worker.py OUT NAME...
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from compmod.pretrain.distributed import any_says, broadcast_, processes, rank, share
from compmod.pretrain.methods.base import Batch
from compmod.pretrain.two_level import build_objective
from small_runs import IMAGES, SIDE, small, small_batch

STEPS = 2
LR = 0.02


def shared(batch: Batch) -> Batch:
    """This process's part of a batch."""
    views = tuple(share(view) for view in batch.views)
    return replace(batch, views=views, index=share(batch.index), labels=share(batch.labels))


def steps(name: str, **compmod: Any) -> dict[str, Any]:
    """Losses and gradients of each step, and all state at the end."""
    run = small(name)
    if compmod:
        run = replace(run, compmod=replace(run.compmod, **compmod))
    objective = build_objective(run, SIDE, IMAGES).double()
    logged, gradients = [], []
    for step in range(STEPS):
        logged.append(objective.backward(shared(small_batch(name, step)), lr=LR))
        named = {f"psi.{key}": p for key, p in objective.psi.items()}
        named |= {f"xi.{key}": p for key, p in enumerate(objective.xi)}
        gradients.append({key: p.grad.clone() for key, p in named.items() if p.grad is not None})
        with torch.no_grad():
            for key, parameter in named.items():
                if key in gradients[-1]:
                    parameter -= LR * gradients[-1][key]
        objective.after_step(step / STEPS)
    state = objective.state_dict()
    of_first = {key: value.clone() for key, value in state.items()}
    broadcast_(list(of_first.values()))
    differs = any(not torch.equal(value, of_first[key]) for key, value in state.items())
    return {"logged": logged, "gradients": gradients, "state": state, "differs": any_says(differs, "cpu")}


def main() -> None:
    torch.set_num_threads(1)
    out, names = Path(sys.argv[1]), sys.argv[2:]
    with processes("cpu"):
        found = {name: steps(name) for name in names}
        for backend in ("unrolled", "finite-difference"):
            found[f"simclr+ {backend}"] = steps("simclr+", hypergradient=backend)
        found["byol+ joint"] = steps("byol+", training="joint")
        if rank() == 0:
            torch.save(found, out)


if __name__ == "__main__":
    main()
