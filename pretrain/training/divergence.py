"""Divergence: the one exception of every training whose numbers are no longer finite, and words that are true of it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ..records.files import newest_updates
from ..specs.run import Run

if TYPE_CHECKING:
    from torch import Tensor

MOVES_NO_NUMBER = "words an error"

EARLY = 3  # steps within which a setting of the loss is as likely a cause as the rate


class NonFiniteLoss(RuntimeError):
    """The loss, or the weights that it gave, are NaN or infinite: the training has diverged."""


def all_finite(tensors: Iterable[Tensor]) -> Tensor:
    """Whether every number is finite, as a tensor on the device, so that asking does not wait for it."""
    import torch  # here, so that who only knows the exception does not wait for it

    return torch.stack([torch.isfinite(tensor).all() for tensor in tensors]).all()


def diverged(what: str, step: int, total: int, checkpoints: Path, advice: str) -> NonFiniteLoss:
    """The error: `what` (loss, weights) was not finite by `step`; says which checkpoint is kept, if there is one."""
    kept = newest_updates(checkpoints)
    saved = f"the checkpoint of step {kept} in {checkpoints} is kept" if kept else "no checkpoint was saved before"
    return NonFiniteLoss(f"the {what} became NaN or infinite at or before step {step} of {total}; {saved}; {advice}")


def pretraining_advice(run: Run, good: int, remedy: str) -> str:
    """What to change in `run` after `good` finite steps; `remedy` is the method's own."""
    given = ", ".join(f"{name} {value}" for name, value in run.options)
    options = f"the options of {run.method}" + (f" ({given})" if given else "")
    if good == 0:
        advice = f"already the first loss was, which no optimizer.lr changes: look at {options} and at the images"
    else:
        advice = f"a lower optimizer.lr than {run.optimizer.lr:g} is the usual cure"
        if good < EARLY:
            advice += f", but so early {options} may be the cause"
    if run.precision in ("bfloat16", "tf32"):
        advice += f"; {run.precision} is coarse: precision float32 may help"
    return f"{advice}; {remedy}" if remedy else advice
