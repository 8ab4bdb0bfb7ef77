"""CUDA: the Jacobian-vector product through cuDNN convolutions and batch norm, bf16, and what a step leaves alone."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch
from compmod.pretrain.methods.build import load_method
from compmod.pretrain.recipes.presets import preset
from compmod.pretrain.specs.methods import METHODS as ENTRIES
from compmod.pretrain.specs.run import Backbone, Projector
from compmod.pretrain.training.objective import build_objective
from compmod.pretrain.views.batch import Batch
from gpu_device import DEVICE, allocated, distance

pytestmark = pytest.mark.gpu
METHODS = [f"{name}+" for name, entry in ENTRIES.items() if entry.plus]


def _xi_gradient(method: str, dtype: torch.dtype, layout: torch.memory_format, **changes: Any) -> torch.Tensor:
    autocast = changes.pop("autocast", nullcontext)
    run = preset(method, "digits")
    run = replace(
        run,
        projector=Projector(layers=3, hidden=64, out=32),
        options=tuple((n, 64 if n in ("queue", "whitening") else v) for n, v in load_method(method[:-1]).small),
        compmod=replace(run.compmod, lambda2=0.0, alpha=0.3, **changes),
        backbone=Backbone(width=16),
        batch_size=64,
    )
    objective = build_objective(run, 32, 64, autocast)
    objective.to(device=DEVICE, dtype=dtype)
    objective.method.to(memory_format=layout)  # type: ignore[call-overload]
    views = [torch.randn(64, 3, 32, 32, generator=torch.Generator().manual_seed(i)) for i in range(len(run.views))]
    batch = Batch(
        views=tuple(v.to(DEVICE, dtype).contiguous(memory_format=layout) for v in views),
        index=torch.arange(64),
        labels=torch.zeros(64, dtype=torch.long, device=DEVICE),
        epoch=20.0,
        draw=0.4,
    )
    objective.backward(batch, lr=0.1)
    return torch.cat([p.grad.flatten().double() for p in objective.regularisers.parameters() if p.grad is not None])


@pytest.mark.parametrize("flow", ["through", "stop"])
@pytest.mark.parametrize("fusion", ["concatenate", "mixup", "embedding"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("method", METHODS)
def test_jvp_equals_unrolled_in_float64(method: str, layout: torch.memory_format, fusion: str, flow: str) -> None:
    exact = _xi_gradient(method, torch.float64, layout, hypergradient="unrolled", fusion=fusion, flow=flow)
    ours = _xi_gradient(method, torch.float64, layout, hypergradient="jvp", fusion=fusion, flow=flow)
    assert distance(ours, exact) < 1e-10


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("method", METHODS)
def test_jvp_equals_unrolled_through_cudnn_in_float32(method: str, layout: torch.memory_format) -> None:
    exact = _xi_gradient(method, torch.float64, torch.contiguous_format, hypergradient="unrolled")
    for backend in ("unrolled", "jvp"):
        ours = _xi_gradient(method, torch.float32, layout, hypergradient=backend)
        assert distance(ours, exact) < 1e-3, backend


@pytest.mark.parametrize("method", METHODS)
def test_jvp_under_bfloat16_autocast_is_as_close_as_unrolled(method: str) -> None:
    def autocast() -> Any:
        return torch.autocast(DEVICE, torch.bfloat16)

    exact = _xi_gradient(method, torch.float64, torch.contiguous_format, hypergradient="unrolled")
    ours, reference = (
        distance(
            _xi_gradient(method, torch.float32, torch.channels_last, hypergradient=backend, autocast=autocast), exact
        )
        for backend in ("jvp", "unrolled")
    )
    print(f"{method}: relative error in bfloat16, jvp {ours:.3f}, unrolled {reference:.3f}")
    assert ours < max(0.05, 1.5 * reference)


def test_a_two_level_step_leaves_no_graph_behind() -> None:
    _xi_gradient("simclr+", torch.float32, torch.channels_last)
    before = allocated()
    for _ in range(3):
        _xi_gradient("simclr+", torch.float32, torch.channels_last)
    assert allocated() == before
