"""Presets: the numbers of the published recipes, typed here once more from the tables they were read in."""

from __future__ import annotations

from dataclasses import fields, replace
from types import ModuleType
from typing import Any

import pytest
import torch
from compmod.pretrain.methods.build import build_method
from compmod.pretrain.recipes import digits, imagenet, imagenet100, small_images, solo_learn
from compmod.pretrain.recipes.presets import preset, recipes
from compmod.pretrain.recipes.scales import SCALES, scaled
from compmod.pretrain.specs.datasets import DATASETS
from compmod.pretrain.specs.methods import METHODS
from compmod.pretrain.specs.run import Comprehensive, Run
from compmod.tables.paper.printed import paper_table
from compmod.tables.paper.scales import LINEAR_EPOCHS, probes

BUILT = ("simclr", "byol", "barlow_twins")
BENCHMARKS = ("cifar10", "cifar100", "stl10", "tiny_imagenet")
RECIPE_S = ("simclr", "byol")

# W-MSE trainer (code htdt/self-supervised): epochs, Adam's rate, embedding width, stem, side of a view
SIZES = {
    "cifar10": (1000, 0.003, 64, "small", 32),
    "cifar100": (1000, 0.003, 64, "small", 32),
    "stl10": (2000, 0.002, 128, "small-pool", 64),
    "tiny_imagenet": (1000, 0.002, 128, "small-pool", 64),
}
JITTER = ("jitter", "brightness", "contrast", "saturation", "hue")


def _values(spec: Any, *names: str) -> tuple[Any, ...]:
    return tuple(getattr(spec, name) for name in names)


@pytest.mark.parametrize("dataset", BENCHMARKS)
@pytest.mark.parametrize("method", BUILT)
def test_epochs_and_stem_are_the_data_sets(method: str, dataset: str) -> None:
    run = preset(method, dataset)
    epochs, _, _, stem, _ = SIZES[dataset]
    assert (run.epochs, run.backbone.stem) == (epochs, stem)


@pytest.mark.parametrize("dataset", BENCHMARKS)
def test_a_view_has_the_side_the_stem_is_made_for(dataset: str) -> None:
    assert (DATASETS[dataset].view_size, preset("simclr", dataset).views[0].size) == (SIZES[dataset][4], 0)


@pytest.mark.parametrize("dataset", BENCHMARKS)
@pytest.mark.parametrize("method", BUILT)
def test_the_trunk_of_small_data_is_a_resnet18_of_full_width(method: str, dataset: str) -> None:
    assert _values(preset(method, dataset).backbone, "name", "width") == ("resnet18", 64)


@pytest.mark.parametrize("dataset", BENCHMARKS)
@pytest.mark.parametrize("method", RECIPE_S)
class TestRecipeS:
    """SimCLR and BYOL: the W-MSE trainer."""

    def test_optimiser_is_adam_with_the_data_sets_rate_for_any_batch(self, method: str, dataset: str) -> None:
        run = preset(method, dataset)
        assert _values(run.optimizer, "name", "lr", "weight_decay") == ("adam", SIZES[dataset][1], 1e-6)
        assert run.peak_lr == SIZES[dataset][1]

    def test_batch_is_512(self, method: str, dataset: str) -> None:
        assert preset(method, dataset).batch_size == 512

    def test_head_is_three_layers_of_1024_to_the_data_sets_width(self, method: str, dataset: str) -> None:
        # The CompMod paper says 3 layers, and "+" is compared with a baseline of the same head.
        head = preset(method, dataset).projector
        assert _values(head, "layers", "hidden", "out") == (3, 1024, SIZES[dataset][2])

    def test_schedule_is_500_steps_of_warm_up_and_two_drops(self, method: str, dataset: str) -> None:
        schedule = preset(method, dataset).schedule
        assert _values(schedule, "kind", "warmup_steps", "warmup_epochs", "warmup_from") == ("steps", 500, 0, 0)
        assert _values(schedule, "drops", "drop_factor") == ((50, 25), 0.2)

    def test_arithmetic_is_float32(self, method: str, dataset: str) -> None:
        assert preset(method, dataset).precision == "float32"

    def test_two_equal_views_crop_at_least_a_fifth_and_turn_a_tenth_grey(self, method: str, dataset: str) -> None:
        first, second = preset(method, dataset).views
        assert first == second
        assert _values(first, "crop", "crop_min", "crop_max", "flip", "grey") == (1, 0.2, 1, 0.5, 0.1)
        assert _values(first, *JITTER) == (0.8, 0.4, 0.4, 0.4, 0.1)
        assert _values(first, "blur", "solarize", "rotation") == (0, 0, 0)


@pytest.mark.parametrize("dataset", BENCHMARKS)
class TestRecipeL:
    """Barlow Twins: solo-learn's CIFAR settings, with the epochs and inputs of recipe S."""

    def test_optimiser_is_clipped_lars_at_a_rate_of_0_3_per_256(self, dataset: str) -> None:
        optimizer = preset("barlow_twins", dataset).optimizer
        assert _values(optimizer, "name", "lr", "lr_batch", "weight_decay") == ("lars", 0.3, 256, 1e-4)
        assert _values(optimizer, "momentum", "trust", "clip") == (0.9, 0.02, True)

    def test_batch_is_256_so_that_the_peak_rate_is_the_quoted_one(self, dataset: str) -> None:
        run = preset("barlow_twins", dataset)
        assert (run.batch_size, run.peak_lr) == (256, 0.3)

    def test_schedule_is_ten_epochs_of_warm_up_from_3e_5_then_a_cosine_to_zero(self, dataset: str) -> None:
        schedule = preset("barlow_twins", dataset).schedule
        assert _values(schedule, "kind", "warmup_steps", "warmup_epochs") == ("cosine", 0, 10)
        assert _values(schedule, "warmup_from", "final") == (3e-5, 0)

    def test_head_is_2048_three_times(self, dataset: str) -> None:
        assert _values(preset("barlow_twins", dataset).projector, "layers", "hidden", "out") == (3, 2048, 2048)

    def test_loss_is_scaled_by_a_tenth_and_its_weight_left_at_the_papers(self, dataset: str) -> None:
        assert preset("barlow_twins", dataset).options == (("scale", 0.1),)

    def test_views_are_asymmetric_in_solarize_alone(self, dataset: str) -> None:
        first, second = preset("barlow_twins", dataset).views
        assert (first.solarize, second.solarize) == (0, 0.2)
        assert replace(second, solarize=0.0) == first

    def test_views_crop_at_least_8_per_cent_and_turn_a_fifth_grey(self, dataset: str) -> None:
        first = preset("barlow_twins", dataset).views[0]
        assert _values(first, "crop_min", "crop_max", "flip", "grey", "blur") == (0.08, 1, 0.5, 0.2, 0)
        assert _values(first, *JITTER) == (0.8, 0.4, 0.4, 0.2, 0.1)


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("method", [name for name, entry in METHODS.items() if entry.plus])
def test_plus_differs_from_its_baseline_in_method_and_compmod_alone(method: str, dataset: str) -> None:
    plain, plus = preset(method, dataset), preset(method + "+", dataset)
    assert replace(plus, method=method, compmod=Comprehensive()) == plain


@pytest.mark.parametrize("dataset", BENCHMARKS)
@pytest.mark.parametrize("method", BUILT)
def test_plus_has_the_papers_weights_and_the_two_level_step(method: str, dataset: str) -> None:
    compmod = preset(method + "+", dataset).compmod
    assert _values(compmod, "lambda1", "lambda2", "order", "squared_error") == (0.01, 0.1, 4, 64)
    assert _values(compmod, "training", "hypergradient", "fusion") == ("two-level", "jvp", "concatenate")
    assert _values(compmod, "warmup", "warmup_epochs", "flow") == ("auto", 10, "through")


@pytest.mark.parametrize(
    "method, dataset, scale",
    [
        ("simclr+", "cifar10", "literal"),
        ("byol+", "stl10", "literal"),
        ("barlow_twins+", "cifar10", "per_sample"),
        ("barlow_twins+", "tiny_imagenet", "per_sample"),
    ],
)
def test_only_embeddings_wider_than_128_take_the_per_sample_scale(method: str, dataset: str, scale: str) -> None:
    assert preset(method, dataset).compmod.scale == scale


PRESETS = [  # method, data set, variant
    (method, dataset, variant) for method in METHODS for dataset in DATASETS for variant in recipes(method, dataset)
]


@pytest.mark.parametrize("method, dataset, variant", PRESETS)
def test_a_preset_has_settings_that_its_method_takes(method: str, dataset: str, variant: str) -> None:
    run = preset(method, dataset, variant)
    narrow = replace(run, backbone=replace(run.backbone, name="resnet10", width=8))
    with torch.device("meta"):  # shapes without numbers
        assert build_method(narrow, DATASETS[dataset].view_size).embedding_width > 0


@pytest.mark.parametrize("method", METHODS)
def test_no_two_variants_on_a_data_set_are_the_same_run(method: str) -> None:
    for dataset in DATASETS:
        runs = [preset(method, dataset, variant) for variant in recipes(method, dataset)]
        assert len({run.digest for run in runs}) == len(runs)


def test_every_method_has_a_default_preset_on_every_data_set() -> None:
    assert {(method, dataset) for method, dataset, variant in PRESETS if not variant} == {
        (method, dataset) for method in METHODS for dataset in DATASETS
    }


def test_an_unknown_variant_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"^unknown preset '3-views' of w_mse on stl10; known: 2-layer, 2-views$"):
        preset("w_mse", "stl10", "3-views")


def test_a_variant_where_there_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^unknown preset 'v1' of moco on cifar100; known: the default alone$"):
        preset("moco", "cifar100", "v1")


def test_plus_takes_its_baselines_variants() -> None:
    assert replace(preset("byol+", "cifar10", "solo-learn"), method="byol", compmod=Comprehensive()) == preset(
        "byol", "cifar10", "solo-learn"
    )


@pytest.mark.parametrize("method", BUILT)
def test_digits_run_on_a_narrow_network_for_few_epochs(method: str) -> None:
    run = preset(method, "digits")
    assert run.backbone.width <= 32
    assert run.epochs <= 100


def test_an_unknown_method_or_data_set_has_no_preset() -> None:
    with pytest.raises(ValueError, match="unknown method 'mocca'; known: "):
        preset("mocca", "cifar10")
    with pytest.raises(ValueError, match="unknown data set 'svhn'; known: "):
        preset("simclr", "svhn")


def test_scale_paper_is_the_recipe_itself() -> None:
    assert scaled("byol+", "stl10", "paper") == preset("byol+", "stl10")


@pytest.mark.parametrize("dataset", BENCHMARKS)
@pytest.mark.parametrize("method", [*BUILT, *(name + "+" for name in BUILT)])
def test_scale_short_is_a_tenth_of_everything_counted_in_epochs(method: str, dataset: str) -> None:
    paper, short = preset(method, dataset), scaled(method, dataset, "short")
    assert short.epochs * 10 == paper.epochs
    assert short.schedule.warmup_steps * 10 == paper.schedule.warmup_steps
    assert short.schedule.warmup_epochs * 10 == paper.schedule.warmup_epochs
    assert tuple(10 * drop for drop in short.schedule.drops) == paper.schedule.drops
    if paper.plus:
        assert short.compmod.warmup_epochs * 10 == paper.compmod.warmup_epochs


@pytest.mark.parametrize("method", ["simclr", "simclr+", "barlow_twins+"])
def test_scale_short_changes_nothing_else(method: str) -> None:
    paper, short = preset(method, "cifar10"), scaled(method, "cifar10", "short")
    same = {field.name for field in fields(Run)} - {"epochs", "schedule", "compmod"}
    assert {name: getattr(short, name) for name in same} == {name: getattr(paper, name) for name in same}
    assert replace(short.compmod, warmup_epochs=paper.compmod.warmup_epochs) == paper.compmod


def test_scale_short_has_a_tenth_of_the_options_counted_in_epochs() -> None:
    paper, short = (dict(scaled("swav", "cifar10", scale).options) for scale in ("paper", "short"))
    assert (paper["queue_epoch"], paper["freeze_epochs"]) == (50, 2)
    assert short == paper | {"queue_epoch": 5, "freeze_epochs": 0.2}


def test_a_scale_has_the_variants_of_its_preset() -> None:
    assert scaled("w_mse", "cifar10", "paper", "2-views") == preset("w_mse", "cifar10", "2-views")


@pytest.mark.parametrize("dataset", DATASETS)
def test_scale_demo_is_digits_whatever_the_data_set(dataset: str) -> None:
    assert scaled("byol+", dataset, "demo") == preset("byol+", "digits")


def test_an_unknown_scale_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown scale 'tiny'; known: paper, short, laptop, demo"):
        scaled("simclr", "cifar10", "tiny")  # type: ignore[arg-type]


@pytest.mark.parametrize("scale, epochs", [("paper", 500), ("short", 50)])
def test_the_linear_probe_is_scaled_with_the_table(scale: Any, epochs: int) -> None:
    spec = probes(scaled("simclr", "cifar10", scale), scale)
    assert (spec.linear_epochs, spec.neighbours, spec.split) == (epochs, 5, "test")


def test_every_scale_has_a_length_of_the_linear_probe() -> None:
    assert set(LINEAR_EPOCHS) == set(SCALES)


TOLD = ["Command", "Time", "Expected", "Source"]


@pytest.mark.parametrize("module", [digits, small_images, solo_learn, imagenet100, imagenet])
def test_a_module_of_recipes_tells_command_time_expected_number_and_source(module: ModuleType) -> None:
    first_words = [line.partition(":")[0] for line in (module.__doc__ or "").splitlines()]
    assert [word for word in first_words if word in TOLD] == TOLD


@pytest.mark.parametrize(
    "module, dataset",
    [*((small_images, name) for name in BENCHMARKS), (imagenet100, "imagenet100"), (imagenet, "imagenet")],
)
def test_the_expected_numbers_of_simclr_are_those_that_the_paper_prints(module: ModuleType, dataset: str) -> None:
    printed = [
        number.text
        for (row, group, _, metric), number in paper_table(2 if DATASETS[dataset].large else 1).items()
        if (row, group, metric) == ("SimCLR", DATASETS[dataset].label, "top1") and number
    ]
    assert printed
    assert all(number in (module.__doc__ or "") for number in printed)
