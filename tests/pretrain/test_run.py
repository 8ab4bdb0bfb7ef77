"""Run: what it refuses, how it names itself, and where its results lie."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from compmod.pretrain.data import DATASETS
from compmod.pretrain.methods import METHODS
from compmod.pretrain.run import Backbone, Comprehensive, Evaluation, Optimizer, Projector, Run

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
    "changes, message",
    [
        ({"epochs": -1}, "epochs must be at least 0, not -1"),
        ({"batch_size": 1}, "batch_size must be at least 2, not 1"),
        ({"train_images": -5}, "train_images must be at least 0, not -5"),
        ({"seed": -1}, "seed must be at least 0, not -1"),
        ({"method": "simclr+", "compmod": Comprehensive(order=0)}, "compmod.order must be at least 1, not 0"),
        ({"projector": Projector(layers=0)}, "projector.layers must be at least 1, not 0"),
        ({"train_images": 100, "batch_size": 128}, "train_images 100 is less than one batch of 128"),
    ],
)
def test_a_number_out_of_range_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        replace(SIMCLR, **changes)


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


@pytest.mark.parametrize("method", METHODS)
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
