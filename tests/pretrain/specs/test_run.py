"""Run: what it refuses, how it names itself, and where its results lie."""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import replace
from typing import Any, get_type_hints

import pytest
from compmod.pretrain.specs.datasets import DATASETS
from compmod.pretrain.specs.measurement import Evaluation
from compmod.pretrain.specs.methods import METHODS
from compmod.pretrain.specs.run import Augmentation, Backbone, Comprehensive, Optimizer, Projector, Run, Schedule
from compmod.pretrain.specs.spec import Spec
from compmod.pretrain.training.session import Session
from compmod.transfer.spec import Detector
from ranges import has_range

SIMCLR = Run(method="simclr", dataset="cifar10")


@pytest.mark.parametrize("method", ["simclear", "simclr++", "+", "", "SimCLR"])
def test_an_unknown_method_is_refused_with_all_known_ones(method: str) -> None:
    with pytest.raises(ValueError, match=r"unknown method .*, each also with '\+'$") as caught:
        Run(method=method, dataset="cifar10")
    assert repr(method) in str(caught.value)
    assert all(name in str(caught.value) for name in METHODS)


@pytest.mark.parametrize("dataset", ["cifar", "CIFAR-10", ""])
def test_an_unknown_data_set_is_refused_with_all_known_ones(dataset: str) -> None:
    with pytest.raises(ValueError, match="unknown data set ") as caught:
        Run(method="simclr", dataset=dataset)
    assert str(caught.value) == f"unknown data set {dataset!r}; known: {', '.join(DATASETS)}"


def test_compmod_settings_without_plus_are_refused_with_the_name_that_takes_them() -> None:
    with pytest.raises(ValueError, match=r"^compmod settings need a method with '\+', such as 'simclr\+'$"):
        replace(SIMCLR, compmod=Comprehensive(lambda1=0.1))


@pytest.mark.parametrize(
    "kind, changes, message",
    [
        (Run, {"epochs": -1}, "Run.epochs must be at least 0, not -1"),
        (Run, {"epochs": 1.5}, "Run.epochs must be a whole number, not 1.5"),
        (Run, {"batch_size": 1}, "Run.batch_size must be at least 2, not 1"),
        (Run, {"train_images": -5}, "Run.train_images must be at least 0, not -5"),
        (Run, {"seed": -1}, "Run.seed must be at least 0, not -1"),
        (Run, {"copy": None}, "Run.copy must be a string, not None"),
        (Run, {"precision": "half"}, "Run.precision must be float32, tf32, bfloat16 or float64, not 'half'"),
        (Run, {"options": (("scale",),)}, "Run.options must be a tuple of 2, not (('scale',),)"),
        (Run, {"views": (Augmentation(),)}, "Run.views of simclr must be at least 2, not 1"),
        (Augmentation, {"size": -1}, "Augmentation.size must be at least 0, not -1"),
        (Augmentation, {"flip": 1.1}, "Augmentation.flip must be from 0 to 1, not 1.1"),
        (Augmentation, {"flip": "often"}, "Augmentation.flip must be a number, not 'often'"),
        (Augmentation, {"hue": 0.6}, "Augmentation.hue must be from 0 to 0.5, not 0.6"),
        (Augmentation, {"contrast": -0.1}, "Augmentation.contrast must be at least 0, not -0.1"),
        (Augmentation, {"crop_min": 0.0}, "Augmentation.crop_min must be above 0 and at most 1, not 0.0"),
        (Augmentation, {"crop_max": 0.1}, "Augmentation.crop_min 0.2 must be at most crop_max 0.1"),
        (Augmentation, {"blur_sigma_min": 3.0}, "Augmentation.blur_sigma_min 3.0 must be at most blur_sigma_max 2.0"),
        (Backbone, {"width": 0}, "Backbone.width must be at least 1, not 0"),
        (Backbone, {"stem": "tiny"}, "Backbone.stem must be small, small-pool, large or small-padded, not 'tiny'"),
        (Projector, {"layers": 0}, "Projector.layers must be at least 1, not 0"),
        (Projector, {"hidden": 0}, "Projector.hidden must be at least 1, not 0"),
        (Projector, {"out": 0}, "Projector.out must be at least 1, not 0"),
        (Optimizer, {"lr": 0.0}, "Optimizer.lr must be above 0, not 0.0"),
        (Optimizer, {"weight_decay": -1.0}, "Optimizer.weight_decay must be at least 0, not -1.0"),
        (Optimizer, {"momentum": 1.5}, "Optimizer.momentum must be from 0 to 1, not 1.5"),
        (Optimizer, {"clip": 1}, "Optimizer.clip must be True or False, not 1"),
        (Schedule, {"warmup_steps": -1}, "Schedule.warmup_steps must be at least 0, not -1"),
        (Schedule, {"warmup_epochs": -0.5}, "Schedule.warmup_epochs must be at least 0, not -0.5"),
        (Schedule, {"drops": (50.0, -1.0)}, "Schedule.drops must be at least 0, not (50.0, -1.0)"),
        (Schedule, {"drops": 50.0}, "Schedule.drops must be a tuple, not 50.0"),
        (Schedule, {"drop_factor": 0.0}, "Schedule.drop_factor must be above 0, not 0.0"),
        (Comprehensive, {"lambda1": -0.1}, "Comprehensive.lambda1 must be at least 0, not -0.1"),
        (Comprehensive, {"order": 0}, "Comprehensive.order must be at least 1, not 0"),
        (Comprehensive, {"squared_error": 0}, "Comprehensive.squared_error must be above 0, not 0"),
        (Comprehensive, {"alpha": 1.5}, "Comprehensive.alpha must be from 0 to 1 or uniform, not 1.5"),
        (Comprehensive, {"alpha": "mean"}, "Comprehensive.alpha must be a number or uniform, not 'mean'"),
        (Comprehensive, {"virtual_lr": -1}, "Comprehensive.virtual_lr must be at least 0 or None, not -1"),
        (Comprehensive, {"virtual_lr": math.inf}, "Comprehensive.virtual_lr must be a finite number, not inf"),
        (Evaluation, {"linear_epochs": 0}, "Evaluation.linear_epochs must be at least 1, not 0"),
        (Evaluation, {"neighbours": 0}, "Evaluation.neighbours must be at least 1, not 0"),
        (Evaluation, {"run": "simclr"}, "Evaluation.run must be of type Run, not 'simclr'"),
    ],
)
def test_a_value_that_a_field_cannot_hold_is_refused(kind: type[Spec], changes: dict[str, Any], message: str) -> None:
    needed: dict[type[Spec], dict[str, Any]] = {
        Run: {"method": "simclr", "dataset": "cifar10"},
        Evaluation: {"run": SIMCLR},
    }
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        kind(**(needed.get(kind, {}) | changes))


def test_fewer_training_images_than_one_batch_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^train_images 100 is less than one batch of 128$"):
        replace(SIMCLR, train_images=100, batch_size=128)


@pytest.mark.parametrize("order", [3, 5])
def test_an_odd_taylor_order_above_one_is_refused_with_the_reason(order: int) -> None:
    with pytest.raises(ValueError, match=f"order must be 1 or even, not {order}: an odd polynomial rewards one huge"):
        Comprehensive(order=order)


@pytest.mark.parametrize("order", [1, 2, 4, 6])
def test_order_one_and_even_orders_are_taken(order: int) -> None:
    assert Comprehensive(order=order).order == order


def test_raw_pixels_are_not_trained() -> None:
    pixels = replace(SIMCLR, backbone=Backbone(name="pixels"), epochs=0)
    assert pixels.epochs == 0
    with pytest.raises(ValueError, match=r"^backbone pixels has no parameters to train; use --epochs 0$"):
        replace(pixels, epochs=1)


def test_a_value_read_from_json_is_checked_like_one_given_in_python() -> None:
    encoded = SIMCLR.to_dict()
    encoded["Run"]["backbone"]["Backbone"]["name"] = "vit"
    with pytest.raises(
        ValueError, match=r"^Backbone\.name must be resnet10, resnet18, resnet34, resnet50 or pixels, not 'vit'$"
    ):
        Run.from_dict(encoded)


@pytest.mark.parametrize(
    "encoded, message",
    [
        ({"Run": {"method": "simclr"}}, "Run lacks dataset"),
        ({"Run": {}}, "Run lacks method, dataset"),
        ({"Run": 3}, "the fields of Run are names with values, not 3"),
    ],
)
def test_json_without_the_needed_fields_is_refused(encoded: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        Run.from_dict(encoded)


@pytest.mark.parametrize(
    "changes",
    [{"epochs": 0}, {"batch_size": 2}, {"train_images": 512}, {"seed": 0}, {"projector": Projector(layers=1)}],
)
def test_the_least_allowed_number_is_taken(changes: dict[str, Any]) -> None:
    run = replace(SIMCLR, **changes)
    assert {name: getattr(run, name) for name in changes} == changes


def test_options_are_sorted_so_that_their_order_makes_no_other_run() -> None:
    one = replace(SIMCLR, options=(("temperature", 0.2), ("output_norm", 0)))
    other = replace(SIMCLR, options=(("output_norm", 0), ("temperature", 0.2)))
    assert one == other
    assert one.digest == other.digest
    assert one.options == (("output_norm", 0), ("temperature", 0.2))


@pytest.mark.parametrize("method", [name for name, entry in METHODS.items() if entry.plus])
def test_plus_is_told_from_the_name_of_every_method(method: str) -> None:
    plain, plus = Run(method=method, dataset="cifar10"), Run(method=method + "+", dataset="cifar10")
    assert (plain.plus, plain.base_method) == (False, method)
    assert (plus.plus, plus.base_method) == (True, method)


@pytest.mark.parametrize(
    "method, label",
    [("simclr", "SimCLR"), ("byol+", "BYOL+"), ("barlow_twins", "BarlowTwins"), ("barlow_twins+", "BarlowTwins+")],
)
def test_a_run_is_labelled_as_the_paper_prints_it(method: str, label: str) -> None:
    assert Run(method=method, dataset="cifar10").label == label


def test_the_data_label_is_the_data_sets_name_alone_for_official_data() -> None:
    assert replace(SIMCLR, dataset="tiny_imagenet").data_label == "Tiny ImageNet"


def test_the_data_label_names_a_copy_and_a_subset() -> None:
    run = replace(SIMCLR, copy="cifar10-jpeg", train_images=2000)
    assert run.data_label == "CIFAR-10 (copy: cifar10-jpeg), 2000 images"


def test_a_run_lies_in_a_folder_of_method_data_set_and_digest() -> None:
    run = Run(method="barlow_twins+", dataset="stl10")
    assert run.folder == f"barlow_twins+-stl10-{run.digest}"


def test_an_evaluation_lies_inside_the_folder_of_its_run() -> None:
    spec = Evaluation(run=SIMCLR)
    assert spec.folder == f"{SIMCLR.folder}/evaluation-{spec.digest}"


def test_two_evaluations_of_one_run_lie_apart() -> None:
    assert Evaluation(run=SIMCLR).folder != Evaluation(run=SIMCLR, linear_epochs=50).folder


def test_an_evaluations_digest_depends_on_its_run() -> None:
    assert Evaluation(run=SIMCLR).digest != Evaluation(run=replace(SIMCLR, seed=1)).digest


def test_a_rate_quoted_for_a_batch_is_scaled_by_the_batch() -> None:
    lars = Optimizer(name="lars", lr=0.3, lr_batch=256)
    assert replace(SIMCLR, optimizer=lars, batch_size=1024).peak_lr == pytest.approx(1.2)


def test_a_rate_quoted_for_no_batch_holds_for_any() -> None:
    assert replace(SIMCLR, optimizer=Optimizer(lr=3e-3), batch_size=64).peak_lr == 3e-3


def test_a_run_holds_no_path_device_or_worker_count() -> None:
    names = set(SIMCLR.to_dict()["Run"]) | set(Backbone().to_dict()["Backbone"])
    assert not {"device", "workers", "runs", "data", "path", "cluster"} & names


CLASSES = [kind for kind in (*Spec._classes.values(), Session) if kind.__module__.startswith("compmod.")]
FIELDS = [(kind, field.name) for kind in CLASSES for field in dataclasses.fields(kind)]


@pytest.mark.parametrize("kind, name", FIELDS, ids=[f"{kind.__name__}.{name}" for kind, name in FIELDS])
def test_every_number_of_every_spec_declares_its_range(kind: type[Any], name: str) -> None:
    if not (issubclass(kind, Run) and name == "options"):  # whose ranges the methods declare
        hint = get_type_hints(kind, include_extras=True)[name]
        assert has_range(hint), f"{kind.__name__}.{name} needs a Range"


@pytest.mark.parametrize(
    "kind, changes, message",
    [
        (Augmentation, {"size": 99_999}, "Augmentation.size must be at most 4096, not 99999"),
        (Backbone, {"width": 10**6}, "Backbone.width must be at most 10000, not 1000000"),
        (Projector, {"hidden": 10**9}, "Projector.hidden must be at most 1000000, not 1000000000"),
        (Projector, {"layers": 10**4}, "Projector.layers must be at most 100, not 10000"),
        (Optimizer, {"lr": 1e308}, "Optimizer.lr must be at most 1e+30, not 1e+308"),
        (Optimizer, {"lr": True}, "Optimizer.lr must be a number, not True"),
        (Schedule, {"drops": (1e99,)}, "Schedule.drops must be at most 1e+30, not (1e+99,)"),
        (Run, {"epochs": 10**40}, f"Run.epochs must be at most 1000000000, not {10**40}"),
        (Run, {"epochs": True}, "Run.epochs must be a whole number, not True"),
        (Run, {"batch_size": 10**9}, "Run.batch_size must be at most 1000000, not 1000000000"),
        (Run, {"seed": 2**63}, f"Run.seed must be at most {2**63 - 1}, not {2**63}"),
        (Session, {"log_every": 0}, "Session.log_every must be at least 1, not 0"),
        (Session, {"checkpoint_minutes": math.nan}, "Session.checkpoint_minutes must be a finite number, not nan"),
        (Session, {"workers": -2}, "Session.workers must be at least -1, not -2"),
        (Detector, {"longest": 10**6}, "Detector.longest must be at most 10000, not 1000000"),
        (Detector, {"lr": 1e300}, "Detector.lr must be at most 1e+30, not 1e+300"),
    ],
)
def test_a_number_that_nobody_means_is_refused(kind: type[Any], changes: dict[str, Any], message: str) -> None:
    needed = {"method": "simclr", "dataset": "cifar10"} if kind is Run else {}
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        kind(**(needed | changes))
