"""Copies between host and device: several tensors in one, bit for bit; on the host at once."""

from __future__ import annotations

import pytest
import torch
from compmod.pretrain.runtime.copies import HostCopy, send, send_all
from torch import Tensor

CPU = torch.device("cpu")
META = torch.device("meta")
TENSORS = [
    torch.tensor([True, False, True]),
    torch.arange(5),
    torch.empty(0, dtype=torch.int64),
    torch.tensor(-0.0),
    torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).T,
    torch.randn(7, dtype=torch.float64, generator=torch.Generator().manual_seed(1)),
    torch.arange(3, dtype=torch.uint8),
]


def test_on_the_host_nothing_is_copied() -> None:
    assert send(TENSORS[1], CPU) is TENSORS[1]
    assert all(sent is given for sent, given in zip(send_all(TENSORS, CPU), TENSORS, strict=True))


def test_several_tensors_arrive_bit_for_bit_by_one_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    copies: list[Tensor] = []

    def to(tensor: Tensor, device: torch.device, non_blocking: bool) -> Tensor:
        assert non_blocking
        copies.append(tensor)
        return tensor.clone()

    monkeypatch.setattr(Tensor, "pin_memory", Tensor.clone)
    monkeypatch.setattr(Tensor, "to", to)
    sent = send_all(TENSORS, META)
    assert len(copies) == 1
    for arrived, given in zip(sent, TENSORS, strict=True):
        assert arrived.dtype == given.dtype
        assert torch.equal(arrived, given)
        assert torch.equal(torch.signbit(arrived), torch.signbit(given))


def test_a_copy_of_the_host_has_the_values_of_its_moment() -> None:
    counted = torch.tensor([1, 2])
    copy = HostCopy(counted)
    counted += 1
    assert copy.arrived()
    assert copy.values().tolist() == [1, 2]
