"""Scales: what short and demo make of runs, probes and fine-tunings, and what ablations vary."""

from __future__ import annotations

from dataclasses import replace

import pytest
from compmod.pretrain.recipes.augmentations import augmentation_row
from compmod.pretrain.recipes.evaluation import linear_protocol, semi_protocol
from compmod.pretrain.recipes.fusions import FUSIONS, fused
from compmod.pretrain.recipes.presets import preset
from compmod.pretrain.recipes.scales import scaled
from compmod.pretrain.specs.run import Augmentation, Comprehensive
from compmod.tables.paper.printed import printed_columns, printed_rows
from compmod.tables.paper.scales import ablated, copied, linear, over_seeds, probes, scale_notes, semi
from compmod.tables.table4 import augmented, table4
from compmod.tables.table6 import table6, weighted

METHODS = ("simclr+", "byol+", "barlow_twins+")


def test_the_paper_scale_is_the_recipe_itself() -> None:
    assert scaled("swav", "imagenet", "paper") == preset("swav", "imagenet")


def test_the_short_scale_divides_what_is_counted_in_epochs() -> None:
    paper, short = scaled("swav", "imagenet", "paper"), scaled("swav", "imagenet", "short")
    assert (short.epochs, short.schedule.warmup_epochs) == (paper.epochs // 10, paper.schedule.warmup_epochs / 10)
    assert dict(short.options)["freeze_epochs"] == dict(paper.options)["freeze_epochs"] / 10


def test_a_linear_layer_on_large_data_follows_barlow_twins_at_the_papers_scale() -> None:
    run = scaled("byol", "imagenet", "paper")
    assert linear(run, "paper") == linear_protocol(run, "barlow_twins")


def test_short_fine_tunings_have_a_tenth_of_the_epochs_and_no_other_setting() -> None:
    run = scaled("byol", "imagenet", "short")
    assert linear(run, "short") == replace(linear_protocol(run), epochs=10)
    assert semi(run, 0.1, "short") == replace(semi_protocol(run, 0.1, lists="simclr"), epochs=2)


@pytest.mark.parametrize("share", [0.01, 0.1])
def test_the_official_imagenet_is_fine_tuned_on_the_published_lists_and_a_copy_on_a_draw(share: float) -> None:
    run = scaled("byol", "imagenet", "paper")
    assert semi(run, share, "paper").lists == "simclr"
    assert semi(replace(run, copy="small"), share, "paper").lists == ""


def test_no_measurement_of_digits_mirrors_them() -> None:
    run = scaled("simclr", "digits", "demo")
    specs = [linear(run, "demo"), semi(run, 0.1, "demo"), semi(run, 0.01, "demo")]
    assert [spec.augmentation.flip for spec in specs] == [0, 0, 0]
    assert [bool(spec.backbone_lr) for spec in specs] == [False, True, True]


def test_ablations_vary_table_1s_run_but_on_digits_a_briefer_one() -> None:
    for method in METHODS:
        assert ablated(method, "paper", {}) == scaled(method, "cifar10", "paper")
        brief, usual = ablated(method, "demo", {}), scaled(method, "digits", "demo")
        assert brief.epochs < usual.epochs
        shorter = {name: getattr(usual, name) for name in ("epochs", "train_images", "backbone", "schedule")}
        assert replace(brief, **shorter) == usual


def test_a_copy_changes_the_run_of_its_data_set_alone() -> None:
    run = scaled("simclr", "cifar10", "paper")
    assert copied(run, {"cifar10": "small"}) == replace(run, copy="small")
    assert copied(run, {"stl10": "small"}) == run


def test_seeds_count_from_zero_and_change_nothing_else() -> None:
    run = scaled("simclr", "cifar10", "paper")
    specs = over_seeds(run, 3, lambda seeded: probes(seeded, "paper"))
    assert [spec.run for spec in specs] == [replace(run, seed=seed) for seed in (0, 1, 2)]


def test_a_copy_of_another_data_set_is_no_note() -> None:
    assert scale_notes("paper", {"stl10": "x"}, ["cifar10"]) == ()
    assert len(scale_notes("short", {"cifar10": "x"}, ["cifar10"])) == 2


@pytest.mark.parametrize("number", range(1, 9))
@pytest.mark.parametrize("method", METHODS)
def test_a_row_of_table_4_changes_the_views_alone_and_both_alike(method: str, number: int) -> None:
    run = ablated(method, "paper", {})
    varied = augmented(run, number)
    assert varied == replace(run, views=(augmentation_row(number),) * 2)


@pytest.mark.parametrize("number", range(1, 9))
def test_a_row_of_table_4_on_digits_keeps_how_strong_their_operations_are(number: int) -> None:
    run = ablated("simclr+", "demo", {})
    view, usual, switched = augmented(run, number).views[0], run.views[0], augmentation_row(number)
    for field in ("flip", "rotation", "crop", "grey", "jitter"):
        assert bool(getattr(view, field)) == bool(getattr(switched, field))
    kept = ("brightness", "contrast", "saturation", "hue", "crop_min", "crop_max", "rotation_degrees")
    assert [getattr(view, field) for field in kept] == [getattr(usual, field) for field in kept]


def test_table_4_states_our_settings_beside_their_switches() -> None:
    table = table4("paper")
    facts = {
        (row.label, column.name): cell.fact
        for row in table.rows
        for column, cell in zip(table.columns, row.cells, strict=True)
        if column.unit == "fact"
    }
    assert [facts["8", name] for _, name, metric in printed_columns(4) if metric == "switch"] == [
        "0.5",
        "±15°",
        "1",
        "0.1",
        "0.8",
    ]
    assert [bool(facts["6", name]) for _, name, metric in printed_columns(4) if metric == "switch"] == [
        False,
        True,
        False,
        False,
        True,
    ]


def test_the_grid_of_table_6_is_every_pair_of_its_weights_and_nothing_else() -> None:
    run = ablated("simclr+", "paper", {})
    found = [(spec.run.compmod.lambda1, spec.run.compmod.lambda2) for spec in table6("paper").specs]
    weights = (0.001, 0.01, 0.1, 1)
    assert found == [(first, second) for first in weights for second in weights]
    assert {replace(spec.run, compmod=run.compmod) for spec in table6("paper").specs} == {run}


def test_the_weights_of_table_6_are_read_from_its_printed_names() -> None:
    run = ablated("simclr+", "demo", {})
    row, (_, column, _) = printed_rows(6)[0], printed_columns(6)[-1]
    assert weighted(run, row, column) == replace(run, compmod=replace(run.compmod, lambda1=0.001, lambda2=1.0))


@pytest.mark.parametrize("name", FUSIONS)
def test_a_fusion_of_table_7_keeps_what_else_compmod_is_set_to(name: str) -> None:
    run = ablated("byol+", "demo", {})
    varied = fused(run, name)
    usual = Comprehensive()
    assert replace(varied, compmod=run.compmod) == run
    back = replace(varied.compmod, fusion=usual.fusion, alpha=usual.alpha, training=usual.training)
    assert back == run.compmod


def test_an_operation_that_a_view_lacks_is_drawn_as_in_recipe_s() -> None:
    assert augmentation_row(8, Augmentation(flip=0.0, jitter=0.3)) == Augmentation(flip=0.5, jitter=0.3, rotation=1.0)
