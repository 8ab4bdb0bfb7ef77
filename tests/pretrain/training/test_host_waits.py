"""No step makes the host wait for its device: whole steps of every method, on a device without values."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from compmod.pretrain.data.images import Images
from compmod.pretrain.records.record import Record
from compmod.pretrain.runtime.copies import HostCopy, send
from compmod.pretrain.specs.methods import METHODS
from compmod.pretrain.specs.run import Augmentation, Run
from compmod.pretrain.trainer import Trainer
from compmod.pretrain.training.divergence import NonFiniteLoss
from compmod.pretrain.training.interruption import Stop
from compmod.pretrain.training.monitor import Monitor
from compmod.pretrain.training.session import Session
from host_waits import DEVICE, Waits, no_waits
from small_runs import small
from torch import Tensor

ALL = [*METHODS, *(f"{name}+" for name, entry in METHODS.items() if entry.plus)]
IMAGES = 120  # ten steps an epoch: none of these tests ends one, where a run is probed, saved and looked at
STEPS = 2
EVERYTHING = Augmentation(rotation=0.5, blur=0.5, solarize=0.3, grey=0.2)


@pytest.fixture
def trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Run], Trainer]]:
    """A trainer on the device without values, of random pictures."""

    def made(run: Run) -> Trainer:
        dice = np.random.default_rng(0)
        pixels = dice.integers(0, 256, (IMAGES, 3, 8, 8), dtype=np.uint8)
        images = Images(pixels, dice.integers(0, 10, IMAGES), np.arange(IMAGES))
        record = Record(tmp_path, run)
        record.start()
        session = Session(device="meta", online_every=0, quiet=True, log_every=1)
        return Trainer(record, run, images, tmp_path, session, Stop())

    autocast = torch.autocast

    def on_the_device(kind: str, *args: object, **kwargs: object) -> contextlib.AbstractContextManager[object]:
        return contextlib.nullcontext() if kind == DEVICE.type else autocast(kind, *args, **kwargs)  # type: ignore

    monkeypatch.setattr("compmod.pretrain.trainer.CHECKED_EVERY", 1)
    monkeypatch.setattr(torch, "autocast", on_the_device)  # it knows no such device
    torch.__future__.set_swap_module_params_on_conversion(True)  # parameters stay the same objects, as on a GPU
    yield made
    torch.__future__.set_swap_module_params_on_conversion(False)


@pytest.mark.parametrize("name", ALL)
def test_no_step_waits_for_the_device(
    name: str, trainer: Callable[[Run], Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = small(name)
    run = replace(run, views=tuple(replace(EVERYTHING, blur=0.5 + 0.1 * n) for n in range(len(run.views))))
    training = trainer(run)
    with no_waits(monkeypatch) as watch, training._running():
        watch.may_wait = True  # the first batch uploads the images
        for batch in training._batches(range(STEPS)):
            watch.may_wait = False
            training._train_step(batch)
            training._after_step()
            watch.steps += 1
        watch.may_wait = True
    trained = [*training.objective.psi.values(), *training.objective.xi]
    assert all(parameter.grad is not None and parameter.grad.device == DEVICE for parameter in trained)
    assert watch.sent >= 2 * (STEPS - 1)
    assert watch.fetched == 2 * STEPS  # sums to log, and the flag that losses are finite
    assert training.step == STEPS
    lines = [json.loads(line) for line in (training.record.path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]


@pytest.mark.parametrize("arrives", [True, False])
def test_a_divergence_ends_every_process_at_the_same_step_whenever_its_copies_arrive(
    arrives: bool, trainer: Callable[[Run], Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that raised first would leave the others waiting for it."""

    class Copy:
        def __init__(self, tensor: Tensor) -> None:
            self.sent_at = training.step

        def arrived(self) -> bool:
            return arrives

        def values(self) -> Tensor:
            return torch.tensor(self.sent_at < 6)

    training = trainer(small("simclr"))
    training.good = torch.tensor(4)
    training.monitor = Monitor(training.record, training.run, 0, 10, quiet=True)
    monkeypatch.setattr("compmod.pretrain.trainer.CHECKED_EVERY", 3)
    monkeypatch.setattr("compmod.pretrain.runtime.copies.HostCopy", Copy)
    monkeypatch.setattr(training, "_log", lambda: None)

    def go_on() -> None:
        for training.step in range(1, 10):
            training._after_step()

    with training.monitor, pytest.raises(NonFiniteLoss, match="at or before step 9 of"):
        go_on()


WAITS: dict[str, Callable[[Tensor], object]] = {
    "a number is read": lambda x: x.sum().item(),
    "numbers are read": lambda x: x.tolist(),
    "a branch": lambda x: 1 if x.sum() > 0 else 0,
    "a comparison": lambda x: torch.equal(x, x),
    "a copy to the host": lambda x: x.cpu(),
    "an asynchronous copy to memory that is not pinned": lambda x: x.to("cpu", non_blocking=True),
    "places are counted": lambda x: x.nonzero(),
    "a boolean index": lambda x: x[x > 0],
    "a boolean index that is written": lambda x: x.index_put_((x > 0,), torch.zeros((), device=DEVICE)),
    "a selection": lambda x: x.masked_select(x > 0),
    "different values": lambda x: x.unique(),
    "repetitions by numbers of the device": lambda x: x.repeat_interleave(x.long().flatten()),
    "a checked decomposition": lambda x: torch.linalg.cholesky(x),
    "a checked inverse": lambda x: torch.linalg.inv(x),
    "a pageable copy": lambda x: torch.ones(4).to(x.device, non_blocking=True),
    "a blocking copy": lambda x: torch.ones(4).pin_memory().to(x.device),
    "a blocking copy in place": lambda x: x.copy_(torch.ones(4, 4).pin_memory()),
    "a tensor of numbers": lambda x: torch.tensor([1.0, 2.0], device=x.device),
    "a tensor of numbers like another": lambda x: x.new_tensor([1.0, 2.0]),
    "an index of the host": lambda x: x[torch.arange(2)],
    "an index of numbers": lambda x: x[[0, 1]],
    "a sum of two devices": lambda x: x + torch.ones(4),
    "an event": lambda x: HostCopy(x).values(),
}


@pytest.mark.parametrize("what", WAITS)
def test_a_wait_is_noticed(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.ones(4, 4, device=DEVICE)
    with pytest.raises((Waits, NotImplementedError, RuntimeError)), no_waits(monkeypatch):  # torch's own: no values
        WAITS[what](x)


def test_what_does_not_wait_is_let_through(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.ones(4, 4, device=DEVICE)
    with no_waits(monkeypatch) as watch:
        y = send(torch.ones(4), DEVICE) + x[torch.arange(2, device=DEVICE)].sum(0)
        torch.linalg.cholesky_ex(torch.where(x > 0, x, 0.0) * torch.tensor(2.0))
        late = HostCopy(y)
        assert not late.arrived()
        assert late.arrived()
        assert late.values().shape == (4,)
    assert (watch.sent, watch.fetched) == (1, 1)
