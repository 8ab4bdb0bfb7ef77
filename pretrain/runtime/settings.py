"""Settings: PyTorch's global settings during a computation, so that a number depends on its spec alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def own_settings() -> Iterator[None]:
    """Float32 on the CPU by default and gradients on, whatever the caller has set: a number depends on its spec alone.

    Without it another default type would draw other initial weights.
    """
    before = torch.get_default_dtype()
    elsewhere = torch.get_default_device().type != "cpu"
    torch.set_default_dtype(torch.float32)
    try:
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.device("cpu") if elsewhere else contextlib.nullcontext(),  # such a context slows every operation
        ):
            yield
    finally:
        torch.set_default_dtype(before)


@contextlib.contextmanager
def numerics(precision: str) -> Iterator[None]:
    """TF32 where the spec says so, and only convolution algorithms that give the same bits every time.

    Under bfloat16 what autocast leaves in float32, such as a loss, is float32 indeed and not TF32.
    """
    cudnn = torch.backends.cudnn
    before = torch.get_float32_matmul_precision(), cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    cudnn.allow_tf32 = precision == "tf32"
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark = before[1:]
