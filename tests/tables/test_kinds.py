"""A spec says what kind of work it is, what it is meant for and how long it is; one dict says what performs it."""

from __future__ import annotations

import importlib
import inspect
from dataclasses import replace

import pytest
from compmod.pretrain.recipes.presets import preset
from compmod.pretrain.specs.imported import Imported
from compmod.pretrain.specs.measurement import Evaluation, FineTuning, Work
from compmod.pretrain.specs.run import KINDS, Device, Kind, Run
from compmod.tables.build import TABLES, build_table
from compmod.tables.reproduce import PERFORMS, performer
from compmod.transfer.spec import Detection, Detector

CIFAR = Run(method="simclr", dataset="cifar10", epochs=3, batch_size=512)
DIGITS = replace(CIFAR, dataset="digits", batch_size=100, train_images=250)
LARGE = preset("byol", "imagenet")
THEIRS = Imported(dataset="cifar10", weights="a" * 64)
EVERY: list[tuple[Work, Kind, str, Device, int]] = [
    (CIFAR, "pretraining", "pretraining", "gpu", 3 * 97),  # 50,000 images, the incomplete batch left out
    (DIGITS, "pretraining", "pretraining", "cpu", 3 * 2),
    (replace(DIGITS, epochs=0), "pretraining", "pretraining", "cpu", 0),
    (replace(CIFAR, dataset="stl10"), "pretraining", "pretraining", "gpu", 3 * 205),  # with 100,000 unlabelled images
    (THEIRS, "import", "import", "gpu", 0),
    (Evaluation(run=CIFAR), "probes", "probes", "gpu", 0),
    (FineTuning(run=DIGITS, epochs=2, batch_size=100), "linear", "linear", "cpu", 2 * 3),
    (FineTuning(run=LARGE, share=0.01, epochs=20), "linear", "linear on 1 %", "gpu", 20 * 51),
    (FineTuning(run=LARGE, share=0.1, backbone_lr=0.1), "fine-tuning", "fine-tuning on 10 %", "gpu", 100 * 501),
    (FineTuning(run=DIGITS, share=0.1, epochs=1), "linear", "linear on 10 %", "cpu", 1),
    (Detection(run=LARGE), "detection", "detection", "gpu", 90_000),
    (Detection(run=LARGE, data="digit-scenes", detector=Detector(iterations=7)), "detection", "detection", "cpu", 7),
]


@pytest.mark.parametrize("spec, kind, protocol, device, updates", EVERY, ids=lambda value: getattr(value, "digest", ""))
def test_a_spec_says_what_it_is(spec: Work, kind: Kind, protocol: str, device: Device, updates: int) -> None:
    assert (spec.kind, spec.protocol, spec.device, spec.updates) == (kind, protocol, device, updates)


def test_the_examples_are_of_every_kind() -> None:
    assert {kind for _, kind, *_ in EVERY} == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_performed_by_a_function_of_the_same_arguments(kind: Kind) -> None:
    arguments = inspect.signature(performer(kind)).parameters
    assert {"runs", "spec", "data", "session"} <= set(arguments)
    assert all(
        name in ("runs", "spec", "data", "session") or given.default is not given.empty
        for name, given in arguments.items()
    )


def test_what_performs_a_kind_is_named_by_module_and_function() -> None:
    assert set(PERFORMS) == set(KINDS)
    for named in PERFORMS.values():
        module, _, function = named.partition(":")
        assert callable(getattr(importlib.import_module(f"compmod.{module}"), function))


@pytest.mark.parametrize("spec", [spec for spec, *_ in EVERY], ids=lambda spec: spec.digest)
def test_the_run_of_a_run_is_itself(spec: Work) -> None:
    assert spec.run is (spec if isinstance(spec, Run) else spec.run)
    assert spec.run.run is spec.run
    assert spec.run.kind == ("import" if spec is THEIRS else "pretraining")


@pytest.mark.parametrize("number", list(TABLES))
def test_every_spec_of_every_table_has_a_kind_that_is_performed(number: int) -> None:
    for spec in build_table(number).specs:
        assert spec.kind in PERFORMS
        assert spec.kind != "pretraining"
        assert spec.updates > 0 or spec.kind == "probes"
        assert spec.batch_size > 0 or spec.kind == "probes"
