"""Every test of this folder starts with full float32 precision, whatever the one before it has set."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from compmod.pretrain.runtime.settings import numerics


@pytest.fixture(autouse=True)
def _full_float32() -> Iterator[None]:
    with numerics("float32"):
        yield
