"""What every test of this folder needs: a device, and full float32 precision, whatever the test before it has set."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from compmod.pretrain.runtime.settings import numerics
from gpu_device import REHEARSAL


@pytest.fixture(autouse=True)
def _full_float32() -> Iterator[None]:
    with numerics("float32"):
        yield


@pytest.fixture(autouse=True, scope="session")
def _device() -> None:
    """Without a GPU one line says so, instead of an error a test."""
    if not REHEARSAL and not torch.cuda.is_available():
        pytest.exit("no usable CUDA device here; COMPMOD_TEST_DEVICE=cpu rehearses these tests on the CPU", 2)
