"""Gradients averaged while the backward pass runs, and what travels with them."""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest
import torch
import torch.distributed as dist
from compmod.pretrain.runtime import gradients
from compmod.pretrain.runtime.gradients import mean_gradients
from paths import FIXTURES
from process_group import group_of_one_process, run_group
from torch import nn

WIDTH = 4


@pytest.mark.parametrize("world", [1, 2])
def test_means_passengers_and_the_agreement_to_stop(world: int) -> None:
    command = [sys.executable, str(FIXTURES / "messages_worker.py")]
    run_group(command, world, PYTHONPATH=os.pathsep.join([str(FIXTURES), *sys.path]))


def events(monkeypatch: pytest.MonkeyPatch, layers: list[nn.Module], used: list[int]) -> list[str]:
    """What happens in a backward pass through the layers `used`, a message a layer: gradients come, messages leave."""
    monkeypatch.setattr(gradients, "MESSAGE_BYTES", WIDTH**2 * 4)
    happened: list[str] = []
    send = dist.all_reduce

    def sending(*args: Any, **kwargs: Any) -> Any:
        assert kwargs["async_op"]
        happened.append("sent")
        return send(*args, **kwargs)

    monkeypatch.setattr(dist, "all_reduce", sending)
    for number, layer in enumerate(layers):
        for parameter in layer.parameters():
            parameter.register_hook(lambda _, number=number: happened.append(f"layer {number}"))
    x = torch.randn(2, WIDTH)
    for number in used:
        x = layers[number](x)
    with group_of_one_process(2):
        mean_gradients(x.sum(), [parameter for layer in layers for parameter in layer.parameters()])
    return happened


def test_a_message_leaves_as_soon_as_its_gradients_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    layers: list[nn.Module] = [nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(3)]
    happened = events(monkeypatch, layers, [0, 1, 2])
    assert happened == ["layer 2", "sent", "layer 1", "sent", "layer 0", "sent"]


def test_messages_leave_in_the_same_order_whatever_the_order_of_the_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    layers: list[nn.Module] = [nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(3)]
    happened = events(monkeypatch, layers, [2, 1, 0])
    assert happened == ["layer 0", "layer 1", "layer 2", "sent", "sent", "sent"]


def test_an_unused_parameter_holds_up_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    layers: list[nn.Module] = [nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(3)]
    happened = events(monkeypatch, layers, [0, 2])
    assert happened == ["layer 2", "sent", "layer 0", "sent", "sent"]


def test_the_hooks_are_gone_after_an_error() -> None:
    parameter = torch.ones(2, requires_grad=True)

    class Fails(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, slope: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("out of memory")

    loss = Fails.apply(parameter).sum()  # type: ignore[no-untyped-call]
    with group_of_one_process(2), pytest.raises(RuntimeError, match="out of memory"):
        mean_gradients(loss, [parameter])
    assert not parameter._backward_hooks
