"""CUDA: a step of compiled networks is as close to the exact one as an eager step has to be."""

from __future__ import annotations

import pytest
from compmod.pretrain.training.objective import Objective
from gpu_steps import check_closeness

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize(
    "name, precision", [("simclr", "float32"), ("simclr", "bfloat16"), ("simclr+", "bfloat16"), ("byol", "bfloat16")]
)
def test_a_compiled_step_is_as_close_as_an_eager_one(name: str, precision: str) -> None:
    check_closeness(name, precision, Objective.compile)
