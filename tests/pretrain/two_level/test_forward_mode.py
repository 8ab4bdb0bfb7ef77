"""The fused forward-mode rules and kept activations, against torch.func.jvp."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from compmod.pretrain.methods.base import Method
from compmod.pretrain.networks.batch_norm_kernels import _with_tangents
from compmod.pretrain.networks.running_statistics import frozen_statistics
from compmod.pretrain.training.objective import build_objective
from compmod.pretrain.two_level.forward_mode import _Deferred
from compmod.pretrain.two_level.hypergradient import jacobian_vector_product
from compmod.pretrain.two_level.kept import KeptActivations
from small_runs import IMAGES, SIDE, small, small_batch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode


class _Odd(nn.Module):
    """Layers with and without affine batch norm, biases, strides, pooling, and one that no tangent enters."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, bias=True)
        self.norm = nn.BatchNorm2d(6)
        self.second = nn.Conv2d(6, 4, 3, stride=2, padding=1, groups=2)
        self.plain = nn.BatchNorm2d(4, affine=False)
        self.pool = nn.MaxPool2d(2)
        self.last = nn.Linear(16, 5)
        self.head = nn.BatchNorm1d(5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.first(x)))
        out: Tensor = self.head(self.last(self.pool(self.plain(self.second(x))).flatten(1)))
        return out


def test_the_first_product_of_a_process_warns_of_nothing() -> None:
    code = """
import warnings
import torch
from compmod.pretrain.two_level.hypergradient import jacobian_vector_product
warnings.simplefilter("error")
one = {"w": torch.ones(1)}
print(*jacobian_vector_product(lambda parameters: [3 * parameters["w"]], one, one))
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).stdout.strip() == b"tensor([3.])"


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_fused_rules_equal_torchs_own_jvp(layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    network = _Odd().double()
    x = torch.randn(6, 3, 10, 10, dtype=torch.float64).contiguous(memory_format=layout)
    primal = {name: p.detach() + 0.1 for name, p in network.named_parameters()}
    tangent = {name: torch.randn_like(p) for name, p in primal.items()}

    def call(parameters: Any) -> tuple[Tensor]:
        return (torch.func.functional_call(network, parameters, (x,)),)

    with frozen_statistics(network):
        (ours,) = jacobian_vector_product(call, primal, tangent)
        _, (theirs,) = torch.func.jvp(call, (primal,), (tangent,))
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_tangents_of_some_parameters_only_are_enough() -> None:
    torch.manual_seed(0)
    network = _Odd().double()
    x = torch.randn(6, 3, 10, 10, dtype=torch.float64)
    whole = dict(network.named_parameters())
    for chosen in ("first.bias", "norm.weight", "second.weight", "head.bias"):
        primal, tangent = {chosen: whole[chosen].detach()}, {chosen: torch.randn_like(whole[chosen])}

        def call(parameters: Any) -> tuple[Tensor]:
            return (torch.func.functional_call(network, parameters, (x,)),)

        with frozen_statistics(network):
            (ours,) = jacobian_vector_product(call, primal, tangent)
            _, (theirs,) = torch.func.jvp(call, (primal,), (tangent,))
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12, msg=chosen)


class _Residual(nn.Module):
    """Additions in and out of place, a shortcut with a norm, ReLUs in and out of place, a norm as the last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(4) for _ in range(4))
        self.convolutions = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1) for _ in range(3))
        self.last = nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.norms[0](self.stem(x)), inplace=True)
        one = self.norms[1](self.convolutions[0](x))
        both = one + x
        x = functional.relu(both)
        two = self.norms[2](self.convolutions[1](x))
        two += x
        seen = functional.relu(two, inplace=True)
        three = self.norms[3](self.convolutions[2](seen))
        changed = functional.relu(three, inplace=True)
        plain = functional.relu(self.convolutions[0](changed), inplace=True)  # overwrites a convolution's output
        total = both + one + 2 * two + three + changed.exp() + plain
        out: Tensor = self.last((total * three).mean(dim=(2, 3)))
        return out


def _call(network: nn.Module, x: Tensor) -> Callable[[Any], tuple[Tensor]]:
    return lambda parameters: (torch.func.functional_call(network, parameters, (x,)),)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.7, 1.0])
@pytest.mark.parametrize("kind", [_Odd, _Residual])
def test_kept_activations_change_nothing_but_the_work(kind: type[nn.Module], share: float) -> None:
    torch.manual_seed(0)
    network = kind().double()
    x = torch.randn(6, 3, 10, 10, dtype=torch.float64)
    primal = {name: p.detach() + 0.1 for name, p in network.named_parameters()}
    tangent = {name: torch.randn_like(p) for name, p in primal.items()}
    call = _call(network, x)
    with frozen_statistics(network):
        kept = KeptActivations(share)
        with kept:
            call({name: p.clone().requires_grad_() for name, p in primal.items()})
        whole = sum(result.value.nbytes for result in kept.results if result.value is not None)
        kept.prune()
        held = sum(result.value.nbytes for result in kept.results if result.value is not None)
        (ours,) = jacobian_vector_product(call, primal, tangent, kept)
        (again,) = jacobian_vector_product(call, primal, tangent)
        _, (theirs,) = torch.func.jvp(call, (primal,), (tangent,))
    assert held <= share * whole
    assert held >= (share - 0.2) * whole or kind is _Odd  # whose convolutions are few
    assert (held == whole) == (share == 1.0)
    assert all(statistics is not None for statistics in kept.statistics)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(again, theirs, rtol=1e-10, atol=1e-12)


def test_the_forward_mode_pass_computes_no_convolution_batch_norm_or_relu_that_was_kept() -> None:
    """Two convolutions a layer are its price: of the tangent, and of the weight's tangent."""
    objective = build_objective(small("simclr+"), SIDE, IMAGES).double()
    batch = small_batch("simclr")
    psi = {name: p.detach() for name, p in objective.psi.items()}

    def counted(share: float) -> Counter[str]:
        kept = KeptActivations(share)
        with kept:
            objective.method.embed(batch.views)
        kept.prune()

        def network(parameters: Any) -> Any:
            return torch.func.functional_call(_Embeds(objective.method), parameters, (batch.views,))

        with frozen_statistics(objective), _Operations() as operations:
            jacobian_vector_product(network, {f"method.{name}": p for name, p in psi.items()}, named, kept)
        return operations.counts

    named = {f"method.{name}": torch.randn_like(p) for name, p in psi.items()}
    layers = sum(isinstance(layer, nn.Conv2d) for layer in objective.method.modules())
    everything, nothing = counted(1.0), counted(0.0)
    assert everything["convolution"] == 2 * (2 * layers - 1)  # two views; no tangent enters the first layer
    assert nothing["convolution"] == 2 * (3 * layers - 1)
    assert everything["relu"] == 0
    assert nothing["relu"] > 0


class _Embeds(nn.Module):
    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, views: Any) -> Any:
        return self.method.embed(views).embeddings


class _Operations(TorchDispatchMode):
    """Counts what PyTorch computes, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.counts[function._schema.name.removeprefix("aten::").rstrip("_")] += 1
        return function(*args, **(kwargs or {}))


def test_a_network_that_computes_something_else_the_second_time_is_refused() -> None:
    torch.manual_seed(0)
    network, x = _Residual().double(), torch.randn(6, 3, 10, 10, dtype=torch.float64)
    primal = {name: p.detach() for name, p in network.named_parameters()}
    kept = KeptActivations(1.0)
    with frozen_statistics(network), kept:
        network.norms[0](network.stem(x))
    with frozen_statistics(network), pytest.raises(RuntimeError, match="something else in its forward-mode pass"):
        jacobian_vector_product(_call(network, x), primal, primal, kept)


def test_a_deferred_value_read_behind_the_rules_is_an_error_and_no_wrong_number() -> None:
    deferred = _Deferred(lambda: torch.ones(3), torch.ones(3))
    with pytest.raises(RuntimeError, match="has not computed"):
        deferred + 1


@pytest.mark.parametrize("scales", [(1.0, -0.5, 2.0), (1.0, 0.0, -1e-30), None])
@pytest.mark.parametrize("shape", [(6, 3), (6, 3, 5, 5)])
def test_tangents_of_scale_and_shift_fit_into_the_kernel_of_a_gpu(
    shape: tuple[int, ...], scales: tuple[float, ...] | None
) -> None:
    """The kernel's formula as PyTorch's source has it, for a machine without a GPU; `make test-gpu` runs the kernel."""
    torch.manual_seed(0)
    dims = [dim for dim in range(len(shape)) if dim != 1]
    wide = [1, -1, *[1] * (len(shape) - 2)]
    x, t = torch.randn(2, *shape, dtype=torch.float64)
    shift, scale_t, shift_t = torch.randn(3, 3, dtype=torch.float64)
    scale = None if scales is None else torch.tensor(scales, dtype=torch.float64)
    ones = torch.ones(3, dtype=torch.float64)
    variance, mean = torch.var_mean(x, dims, correction=0)
    std, count = (variance + 1e-5).rsqrt(), x.numel() // 3
    sums = t.sum(dims), (t * (x - mean.view(wide))).sum(dims)
    parts = _with_tangents(scale, *sums, (scale_t, shift_t), std, count)
    m, s, weight, sum_t, product = (part.view(wide) for part in (mean, std, *parts))
    ours = (t - sum_t / count - (x - m) * s**2 * product / count) * weight * s
    _, theirs = torch.func.jvp(
        lambda *given: functional.batch_norm(given[0], None, None, *given[1:], training=True),
        (x, ones if scale is None else scale, shift),
        (t, scale_t, shift_t),
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-11)
