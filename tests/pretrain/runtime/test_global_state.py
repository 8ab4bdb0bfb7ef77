"""Numbers that depend on their arguments alone: under another default dtype all is as before, and inputs stay."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from compmod.pretrain.data.images import Images
from compmod.pretrain.evaluate.features import extract, network_input
from compmod.pretrain.evaluate.finetune import fine_tune
from compmod.pretrain.evaluate.knn import knn_accuracy, nearest, vote
from compmod.pretrain.evaluate.linear import linear_probe
from compmod.pretrain.evaluate.probe import evaluate
from compmod.pretrain.optim import build_optimizer
from compmod.pretrain.recipes.presets import preset
from compmod.pretrain.runtime.randomness import permutation, uniform
from compmod.pretrain.specs.datasets import DATASETS
from compmod.pretrain.specs.measurement import Evaluation, FineTuning
from compmod.pretrain.specs.methods import METHODS
from compmod.pretrain.specs.run import PLUS, Optimizer
from compmod.pretrain.trainer import train
from compmod.pretrain.training.objective import build_objective
from compmod.pretrain.training.session import Session
from compmod.pretrain.views.augment import Views
from compmod.pretrain.views.colour import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    grayscale,
    solarize,
)
from compmod.pretrain.views.geometry import gaussian_blur, resized_crop, rotate
from one_cell_tables import tiny_run
from safetensors.torch import load_file
from small_runs import IMAGES, SIDE, small, small_batch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

DIGITS = DATASETS["digits"]


@pytest.fixture
def in_both() -> Iterator[Callable[[Callable[[], object]], tuple[object, object]]]:
    """Calls what it is given under the default dtype float32, then under float64."""
    before = torch.get_default_dtype()

    def call(make: Callable[[], object]) -> tuple[object, object]:
        torch.set_default_dtype(torch.float32)
        usual = make()
        torch.set_default_dtype(torch.float64)
        return usual, make()

    yield call
    torch.set_default_dtype(before)


def rows(count: int, width: int = 12, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(count), dtype=torch.float64).to(dtype)


def images(count: int = 12, side: int = 16) -> Tensor:
    source = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, side, side), generator=source, dtype=torch.uint8)


def each(count: int = 12) -> Tensor:
    return torch.linspace(0.3, 1.4, count, dtype=torch.float32)


def whole(value: float, count: int = 12) -> Tensor:
    return torch.full((count,), value, dtype=torch.float32)


PIXELS = (images().float() / 255).clone()
BOXES = (whole(2).long(), whole(1).long(), whole(9).long(), whole(12).long(), torch.arange(12) % 2 == 0)
LABELS = torch.arange(60) % 3

# what each computes of its inputs; inputs are float32, whole numbers or uint8
OPERATIONS: dict[str, tuple[Callable[..., object], tuple[Tensor, ...]]] = {
    "neighbours": (lambda train, test: nearest(train, test, 5), (rows(300), rows(40))),
    "neighbours of float64": (lambda a, b: nearest(a, b, 5), (rows(300, dtype=torch.float64), rows(40))),
    "5-nn": (lambda a, y, b, t: knn_accuracy(a, y, b, t, 5, 3), (rows(60), LABELS, rows(30), LABELS[:30])),
    "vote": (lambda labels: vote(labels, 5), (torch.arange(60).view(-1, 5) % 5,)),
    "linear probe": (
        lambda a, y, b, t: linear_probe(a, y, b, t, 3, epochs=3, batch_size=20),
        (rows(60), LABELS, rows(30), LABELS[:30]),
    ),
    "network input": (lambda pixels: network_input(pixels, DIGITS), (images(),)),
    "resized network input": (
        lambda pixels: network_input(pixels, replace(DIGITS, test_resize=14, view_size=12)),
        (images(),),
    ),
    "uniform": (lambda index: uniform(1, 2, index, 0, 9), (torch.arange(20),)),
    "permutation": (lambda: permutation(1, 2, 30), ()),
    "brightness": (adjust_brightness, (PIXELS, each())),
    "contrast": (adjust_contrast, (PIXELS, each())),
    "saturation": (adjust_saturation, (PIXELS, each())),
    "hue": (adjust_hue, (PIXELS, each() - 0.8)),
    "grey": (grayscale, (PIXELS,)),
    "solarize": (lambda x: solarize(x, 0.5), (PIXELS,)),
    "resized crop": (lambda *given: resized_crop(*given, 8), (PIXELS, *BOXES)),
    "rotation": (rotate, (PIXELS, 30 * each())),
    "blur": (lambda x, sigma: gaussian_blur(x, sigma, 5), (PIXELS, each())),
    "views": (
        lambda pixels, index: [
            Views(v, DIGITS, 3, n)(pixels, index, 4) for n, v in enumerate(preset("byol", "digits").views)
        ],
        (images(), torch.arange(12)),
    ),
    "views of crops": (
        lambda pixels, index: Views(replace(preset("byol", "digits").views[0], size=16), DIGITS, 3, 0).after_crop(
            pixels, index, 4
        ),
        (images(), torch.arange(12)),
    ),
}


def same(one: object, other: object) -> bool:
    mine, theirs = tree_leaves(one), tree_leaves(other)
    return len(mine) == len(theirs) and all(
        a.dtype == b.dtype and torch.equal(a, b) if isinstance(a, Tensor) else a == b
        for a, b in zip(mine, theirs, strict=True)
    )


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_default_dtype_changes_no_number(name: str, in_both: Callable[..., tuple[object, object]]) -> None:
    operation, inputs = OPERATIONS[name]
    assert same(*in_both(lambda: operation(*(value.clone() for value in inputs))))


@pytest.mark.parametrize("default", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", OPERATIONS)
def test_inputs_stay_as_they_are(name: str, default: torch.dtype, in_both: Callable[..., object]) -> None:
    operation, inputs = OPERATIONS[name]
    for dtype in (torch.float32, torch.float64):  # a conversion that changes nothing returns its argument itself
        given = [value.to(dtype) if value.is_floating_point() else value.clone() for value in inputs]
        kept = [value.clone() for value in given]
        torch.set_default_dtype(default)
        operation(*given)
        assert same(given, kept)


def test_features_do_not_depend_on_the_default_dtype(in_both: Callable[..., tuple[object, object]]) -> None:
    trunk = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 5)).requires_grad_(False)
    chosen = Images(images().numpy(), np.zeros(12, dtype=np.int64), "made up")
    assert same(*in_both(lambda: extract(trunk, chosen, DIGITS, "cpu", 5)))


@pytest.mark.parametrize(
    "name", [name + plus for name, entry in METHODS.items() for plus in ("", PLUS) if entry.plus or not plus]
)
def test_a_step_of_a_built_method_does_not_depend_on_the_default_dtype(
    name: str, in_both: Callable[..., tuple[object, object]]
) -> None:
    objective = build_objective(small(name), SIDE, IMAGES)  # in float32
    batch = small_batch(name, dtype=torch.float32)
    kept = [view.clone() for view in batch.views]

    def step() -> object:
        mine = copy.deepcopy(objective)
        optimizer = build_optimizer(mine.psi, small(name).optimizer, 0.01)
        logged = mine.backward(batch, lr=0.01)
        optimizer.step()
        mine.after_step(0.1)
        return logged, dict(mine.state_dict())

    assert same(*in_both(step))
    assert same(list(batch.views), kept)


@pytest.mark.parametrize("name", ["adam", "sgd", "lars", "larc"])
def test_an_update_does_not_depend_on_the_default_dtype(
    name: Literal["adam", "sgd", "lars", "larc"], in_both: Callable[..., tuple[object, object]]
) -> None:
    def updated() -> object:
        weight, bias = (nn.Parameter(rows(5, 4).clone()), nn.Parameter(rows(1, 4)[0].clone()))
        optimizer = build_optimizer([weight, bias], Optimizer(name=name, lr=0.1, weight_decay=1e-3), 0.1)
        for _ in range(3):
            weight.grad, bias.grad = rows(5, 4) / 3, rows(1, 4)[0] / 3
            optimizer.step()
        return weight.detach(), bias.detach()

    assert same(*in_both(updated))


@contextmanager
def elsewhere(state: str) -> Iterator[None]:
    """What another part of the caller's program may have left on."""
    before = torch.get_default_dtype()
    with ExitStack() as on:
        if state == "float64":
            torch.set_default_dtype(torch.float64)
            on.callback(torch.set_default_dtype, before)
        elif state == "no gradients":
            on.enter_context(torch.no_grad())
        elif state == "inference":
            on.enter_context(torch.inference_mode())
        elif state == "device":
            on.enter_context(torch.device("meta"))
        yield


@pytest.mark.parametrize("state", ["float64", "no gradients", "inference", "device"])
def test_a_run_and_its_measurements_do_not_depend_on_what_the_caller_has_set(state: str, tmp_path: Path) -> None:
    run = tiny_run()
    session = Session(device="cpu", online_every=1, linear_epochs=1, quiet=True)
    specs = Evaluation(run=run, linear_epochs=2), FineTuning(run=run, epochs=1, batch_size=32)
    found = []
    for there, around in ((tmp_path / "usual", ""), (tmp_path / "other", state)):
        with elsewhere(around):
            record = train(run, there, tmp_path, session)
            results = [
                evaluate(there, specs[0], tmp_path, session).results,
                fine_tune(there, specs[1], tmp_path, session).results,
            ]
        found.append((load_file(record.path / "encoder.safetensors"), results))
    assert same(*found)
