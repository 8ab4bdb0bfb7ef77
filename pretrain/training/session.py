"""Session: how one process trains, as far as another process on the same spec may do it otherwise.

Device, layout in memory, how often to save and to probe. Imports no torch, so that commands read its defaults.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Annotated, Literal

from ..loggers.names import DEFAULT, LoggerName, chosen
from ..runtime.launch import cores_here, usable_cores
from ..specs.fields import Amount, Count, Range, Share, Whole, check_fields

MOVES_NO_NUMBER = "holds what two processes on one spec may do otherwise"
# Up to this width a trunk (or CMC's half of one) has a strided 1 x 1 convolution of at most 8 channels, whose backward
# pass on a CPU ends the process in channels-last on maps of 56 px (oneDNN in torch 2.11); such a trunk is fast anyway.
NARROW = 15


@dataclass(frozen=True, kw_only=True)
class Session:
    """How this process trains: what may differ between two processes that work on the same spec."""

    device: str = "auto"
    checkpoint_minutes: Amount = 10.0
    checkpoint_epochs: Whole = 0  # additionally every so many epochs; 0 = by time alone
    log_every: Count = 10  # steps a line of metrics.jsonl averages over
    memory_format: Literal["auto", "channels-last", "contiguous"] = "auto"  # what auto stands for: `layout`
    compile: bool = False  # Inductor's kernels; to be the default on CUDA once `make test-gpu` has shown them equal
    kept_share: Share = 0.8  # "+" alone: of a first pass's activations that can spare work later; less saves memory
    recompute: bool = False  # compute activations again in the backward pass, which takes less memory and more time
    online_every: Whole = 20  # epochs between online probes, W-MSE code; a quarter of it in the last 5 % of training
    linear_epochs: Count = 50  # of an online linear probe; a tenth of the real one
    workers: Annotated[
        int, Range(-1, cap=4096)
    ] = -1  # processes that decode large images; -1 = a core's each, shared with the run's other processes
    quiet: bool = False
    logger: tuple[LoggerName, ...] = DEFAULT  # where curves are shown; metrics.jsonl is written in any case

    def __post_init__(self) -> None:
        check_fields(self)
        chosen(self.logger)
        if self.compile and self.recompute:  # a compiler decides by itself what it keeps
            raise ValueError("compile and recompute exclude each other; give one of the two")

    def layout(self, device: str, precision: str, width: int) -> Literal["channels-last", "contiguous"]:
        """The layout of images in memory for training a trunk of this width, on "cpu" or "cuda".

        Tensor cores and CPUs compute convolutions in channels-last; cuDNN's float32 kernels, which do not use tensor
        cores, are made for the contiguous layout, and channels-last costs them a transposition.
        """
        if device == "cpu" and width <= NARROW:
            return "contiguous"
        if self.memory_format != "auto":
            return self.memory_format
        return "contiguous" if device == "cuda" and precision in ("float32", "float64") else "channels-last"

    @property
    def loader_workers(self) -> int:
        """How many processes decode images for this one."""
        return self.workers if self.workers >= 0 else cores_here(os.environ, usable_cores())


def resolve_device(device: str) -> str:
    """The device to compute on: "auto" is CUDA where there is one. Raises ValueError where this machine lacks it."""
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device not in ("cpu", "cuda"):
        raise ValueError(f"unknown device {device!r}; known: auto, cpu, cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device 'cuda' was asked for and this machine has no usable CUDA device; valid: auto, cpu")
    return device
