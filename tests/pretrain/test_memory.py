"""Memory of a step, counted on fake tensors: what is counted, and that it is what the same step on numbers takes."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
import torch
from compmod.pretrain import memory
from compmod.pretrain.memory import BLOCK, LiveMemory, _step, answer, peak_bytes
from compmod.pretrain.methods.build import build_method
from compmod.pretrain.recipes.presets import preset
from compmod.pretrain.specs.methods import METHODS
from compmod.pretrain.specs.run import Run
from small_runs import small

ALL = [*METHODS, *(f"{name}+" for name in METHODS if METHODS[name].plus)]


def narrow(method: str, **changes: object) -> Run:
    """A run on CIFAR-10 whose step a test can afford."""
    run = preset(method, "cifar10")
    backbone = replace(run.backbone, name="resnet10", width=16)
    return replace(run, backbone=backbone, batch_size=16, precision="float32", **changes)  # type: ignore[arg-type]


def test_storage_counts_in_blocks_from_when_it_is_made_until_nothing_holds_it() -> None:
    with LiveMemory() as live:
        first = torch.empty(1000)  # 4,000 bytes
        assert live.live == 8 * BLOCK
        view = first.view(10, 100)[3:]
        second = view + 1  # 2,800 bytes
        assert live.live == (8 + 6) * BLOCK
        del first
        assert live.live == (8 + 6) * BLOCK
        del view
        assert live.live == 6 * BLOCK
        second += 1
        assert live.live == 6 * BLOCK
    assert live.peak == (8 + 6) * BLOCK


@pytest.mark.parametrize(
    "name, precision, recompute",
    [
        ("simclr", "float32", False),
        ("moco", "bfloat16", False),
        ("vicreg+", "bfloat16", False),
        ("simclr+", "float32", True),
    ],
)
def test_a_step_takes_on_fake_tensors_what_it_takes_on_numbers(
    name: str, precision: str, recompute: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = (("queue", 64),) if name == "moco" else ()
    run = replace(narrow(name, options=options), precision=precision)  # type: ignore[arg-type]
    fake = _step(run, 1, run.batch_size, recompute=recompute)
    monkeypatch.setattr(memory, "FakeTensorMode", contextlib.nullcontext)
    assert _step(run, 1, run.batch_size, recompute=recompute) == pytest.approx(fake, rel=0.01)


def test_what_lasts_is_weights_gradients_and_moments() -> None:
    run = narrow("simclr")
    weights = sum(p.nbytes for p in build_method(run, 32).parameters())
    assert run.optimizer.name == "adam"
    assert _step(run, 1, run.batch_size, recompute=False)[1] == pytest.approx(4 * weights, rel=0.1)


def test_images_of_a_small_data_set_lie_on_the_device_and_large_ones_do_not() -> None:
    assert memory._images_bytes(narrow("simclr")) == 50_000 * (3 * 32 * 32 + 8)
    assert memory._images_bytes(preset("simclr", "imagenet")) == 0
    assert peak_bytes(narrow("simclr")) > 50_000 * 3 * 32 * 32


@pytest.mark.parametrize("name", ALL)
def test_a_step_of_every_method_can_be_counted(name: str) -> None:
    assert peak_bytes(small(name), 2) > 0


def test_a_process_takes_less_of_a_batch_that_others_share() -> None:
    run = replace(narrow("simclr"), batch_size=64)
    alone, shared = (peak_bytes(run, processes) - memory._images_bytes(run) for processes in (1, 4))
    assert shared < 0.5 * alone


def test_a_larger_batch_takes_more_and_recomputation_less() -> None:
    run = replace(narrow("simclr"), batch_size=64)
    step = peak_bytes(run) - memory._images_bytes(run)
    assert peak_bytes(replace(run, batch_size=16)) - memory._images_bytes(run) < 0.5 * step
    assert peak_bytes(run, recompute=True) - memory._images_bytes(run) < 0.9 * step


def test_processes_that_cannot_share_the_batch_are_refused() -> None:
    with pytest.raises(ValueError, match="batch_size 16 cannot be shared equally by 3 processes"):
        peak_bytes(narrow("simclr"), 3)


def test_the_group_of_several_processes_is_gone_afterwards() -> None:
    peak_bytes(small("simclr"), 2)
    assert not torch.distributed.is_initialized()


def test_a_step_that_cannot_be_counted_is_answered_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    request = {"run": narrow("simclr").to_dict(), "processes": 3, "recompute": False}
    assert answer(request) == {
        "bytes": None,
        "error": "ValueError: batch_size 16 cannot be shared equally by 3 processes",
    }
