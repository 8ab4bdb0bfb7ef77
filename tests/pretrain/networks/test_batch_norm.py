"""Our batch norm: what it computes, alone and over several processes, and what that costs."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from compmod.pretrain.memory import peak_bytes
from compmod.pretrain.networks import batch_norm
from compmod.pretrain.networks import batch_norm_kernels as kernels
from compmod.pretrain.networks.batch_norm import BatchNorm, SynchronisedBatchNorm, synchronise_batch_norms
from compmod.pretrain.networks.build import build_backbone
from compmod.pretrain.recipes.presets import preset
from compmod.pretrain.runtime.distributed import GATHER
from compmod.pretrain.specs.datasets import DATASETS
from compmod.pretrain.training.objective import build_objective
from paths import FIXTURES
from process_group import group_of_one_process, messages, run_group
from small_runs import IMAGES, SIDE, small, small_batch
from torch import Tensor, nn

EPS = 1e-5
LAYOUTS = [torch.contiguous_format, torch.channels_last]


@pytest.mark.slow
@pytest.mark.parametrize("world", [1, 2, 4])
def test_over_processes_it_is_pytorchs_over_the_whole_batch(world: int) -> None:
    """Values, statistics, gradients, second and forward derivatives to 1e-10, and one message a pass."""
    command = [sys.executable, str(FIXTURES / "batch_norm_worker.py")]
    run_group(command, world, PYTHONPATH=os.pathsep.join([str(FIXTURES), *sys.path]))


def test_alone_it_is_pytorchs() -> None:
    ours, theirs = BatchNorm(4), nn.BatchNorm2d(4)
    x = torch.randn(3, 4, 5, 5)
    for _ in range(2):
        assert torch.equal(ours(x), theirs(x))
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value)
        assert ours.state_dict()[name].dtype == value.dtype


def test_it_takes_the_state_of_pytorchs() -> None:
    ours, theirs = BatchNorm(4), nn.BatchNorm1d(4)
    theirs(torch.randn(3, 4))
    ours.load_state_dict(theirs.state_dict())
    assert int(ours.get_buffer("num_batches_tracked")) == 1
    assert torch.equal(ours.get_buffer("running_mean"), theirs.get_buffer("running_mean"))


def test_the_count_of_batches_stays_on_the_host() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), BatchNorm(4)).to("meta")
    where = {name: buffer.device.type for name, buffer in network[1].named_buffers()}
    assert where == {"running_mean": "meta", "running_var": "meta", "num_batches_tracked": "cpu"}


@pytest.mark.parametrize("colours", ["rgb", "lab"])
def test_every_norm_of_a_trunk_is_ours(colours: Any) -> None:
    backbone = replace(small("simclr").backbone, colours=colours)
    trunk = build_backbone(backbone, SIDE, DATASETS["digits"])
    norms = [layer for layer in trunk.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    assert norms
    assert all(isinstance(norm, BatchNorm) for norm in norms)


def test_a_norm_of_pytorchs_is_synchronised_too() -> None:
    """A method of the user's own may have one."""
    network = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm2d(2), BatchNorm(2), nn.ReLU())
    synchronise_batch_norms(network)
    assert [type(layer) for layer in network] == [*[SynchronisedBatchNorm] * 3, nn.ReLU]


class CudaKernels:
    """The kernels that PyTorch has for CUDA alone, by plain operations: what SyncBatchNorm's source asks of them."""

    @staticmethod
    def batch_norm_stats(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        variance, mean = torch.var_mean(x, others(x), correction=0)
        return mean, (variance + eps).rsqrt()

    @staticmethod
    def batch_norm_gather_stats_with_counts(
        like: Tensor,
        means: Tensor,
        inverse_stds: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        momentum: float,
        eps: float,
        counts: Tensor,
    ) -> tuple[Tensor, Tensor]:
        assert like.dtype == counts.dtype
        shares = (counts / counts.sum())[:, None]
        mean = (shares * means).sum(0)
        variance = (shares * (inverse_stds**-2 - eps + means.square())).sum(0) - mean.square()
        if running_mean is not None and running_var is not None:
            running_mean += momentum * (mean - running_mean)
            running_var += momentum * (variance * counts.sum() / (counts.sum() - 1) - running_var)
        return mean, (variance + eps).rsqrt()

    @staticmethod
    def batch_norm_elemt(
        x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor, inverse_std: Tensor, eps: float
    ) -> Tensor:
        out = (x - along(x, mean)) * along(x, inverse_std)
        out = out if weight is None else out * along(x, weight)
        return out if bias is None else out + along(x, bias)

    @staticmethod
    def batch_norm_backward_reduce(
        slope: Tensor, x: Tensor, mean: Tensor, inverse_std: Tensor, weight: Tensor | None, *wanted: bool
    ) -> tuple[Tensor, Tensor, None, None]:
        assert wanted == (True, False, False)
        return slope.sum(others(x)), (slope * (x - along(x, mean))).sum(others(x)), None, None

    @staticmethod
    def batch_norm_backward_elemt(
        slope: Tensor,
        x: Tensor,
        mean: Tensor,
        inverse_std: Tensor,
        weight: Tensor | None,
        slope_sum: Tensor,
        product_sum: Tensor,
        counts: Tensor,
    ) -> Tensor:
        assert counts.dtype == torch.int32
        total = counts.sum()
        through_variance = (x - along(x, mean)) * along(x, inverse_std.square() * product_sum / total)
        out = (slope - along(x, slope_sum / total) - through_variance) * along(x, inverse_std)
        return out if weight is None else out * along(x, weight)


def others(x: Tensor) -> list[int]:
    return [dim for dim in range(x.ndim) if dim != 1]


def along(x: Tensor, value_C: Tensor) -> Tensor:
    return value_C.view(1, -1, *[1] * (x.ndim - 2))


def whole_computation(affine: bool, layout: torch.memory_format) -> list[Tensor]:
    """What two processes compute of their halves of a batch, in one process: statistics, values and derivatives."""
    generator = torch.Generator().manual_seed(3)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, dtype=torch.float64, generator=generator)

    x, slope = (drawn(8, 3, 4, 2).contiguous(memory_format=layout) for _ in range(2))
    weight, bias = (drawn(3), drawn(3)) if affine else (None, None)
    tangents = drawn(3), drawn(3)
    running = torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    gathered = torch.stack([kernels.own_statistics(half, EPS) for half in x.chunk(2)])
    count = x.numel() // 3
    mean, inverse_std = kernels.combined(gathered, count, EPS, *running, 0.3)
    unmoved = kernels.combined(gathered, count, EPS, None, None, 0.3)
    out = kernels.normalised(x, weight, bias, mean, inverse_std)
    sums = kernels.slope_sums(slope, x, weight, mean, inverse_std)
    through = (slope, x, weight, mean, inverse_std, sums, count)
    gradient, tangent = kernels.through_statistics(*through), kernels.through_statistics(*through, tangents)
    return [mean, inverse_std, *unmoved, *running, out, sums, gradient, tangent]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("affine", [True, False])
def test_cudas_kernels_are_given_what_they_ask_for(
    affine: bool, layout: torch.memory_format, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_cpu = whole_computation(affine, layout)
    for name in vars(CudaKernels):
        if name.startswith("batch_norm"):
            monkeypatch.setattr(torch, name, getattr(CudaKernels, name))
    monkeypatch.setattr(torch.Tensor, "is_cuda", property(lambda self: True))
    for mine, theirs in zip(whole_computation(affine, layout), on_cpu, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_gradient_of_any_layout_is_taken(layout: torch.memory_format) -> None:
    """The gradient of a mean over a map is one number a channel, expanded."""
    x = torch.randn(4, 3, 5, 5, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()
    norm = BatchNorm(3).double()
    (expected,) = torch.autograd.grad(norm(x).mean((2, 3)).square().sum(), x)
    with group_of_one_process(2):
        synchronise_batch_norms(norm)
        (found,) = torch.autograd.grad(norm(x).mean((2, 3)).square().sum(), x)
    assert found.stride() == x.stride()
    assert found.shape == expected.shape


@pytest.mark.parametrize("name, passes", [("simclr", 1), ("simclr+", 3)])
def test_a_step_sends_one_message_a_norm_and_pass(name: str, passes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One forward, one for its derivative. A "+" step has passes at psi, at psi' and along the gradient there."""
    calls: Counter[str] = Counter()

    def counting(called: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            calls[called] += 1
            return function(*args, **kwargs)

        return call

    for called in ("gather", "total", "combined"):
        monkeypatch.setattr(batch_norm, called, counting(called, getattr(batch_norm, called)))
    with group_of_one_process(2), messages() as sent:
        objective = build_objective(small(name), SIDE, IMAGES)
        objective.backward(small_batch(name, dtype=torch.float32), lr=0.1)
    norms = 2 * 12 + 3  # of the trunk on either view, of the head on both together
    assert calls == {"combined": passes * norms, "gather": passes * norms, "total": passes * norms}
    if name == "simclr":  # beside those, the loss gathers two embeddings, and there is one message of gradients
        assert sent == {GATHER: norms + 2, "all_reduce": norms + 2 + 1}


@pytest.mark.slow
def test_over_eight_processes_it_takes_the_memory_of_fused_batch_norm() -> None:
    preset_run = preset("simclr", "cifar10")
    run = replace(preset_run, precision="bfloat16", backbone=replace(preset_run.backbone, name="resnet10"))
    synchronised, fused = (peak_bytes(replace(run, norm_groups=groups), 8) for groups in (1, 8))
    assert 0.95 * fused < synchronised < 1.05 * fused
