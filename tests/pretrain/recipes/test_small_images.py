"""Recipes of small images, their numbers typed once more from the tables they were read in."""

from __future__ import annotations

from typing import Any

import pytest
from compmod.pretrain.recipes.presets import preset
from compmod.pretrain.specs.run import Run

SMALL = ("cifar10", "cifar100", "stl10", "tiny_imagenet")
# solo-learn, scripts/pretrain/cifar: optimiser, rate per 256, weight decay, widths of the head, weakest crop, blur
SOLO_LEARN = {
    ("simclr", "solo-learn"): ("lars", 0.4, 1e-4, (2048, 256), 0.08, 0.5),
    ("byol", "solo-learn"): ("lars", 1.0, 1e-5, (4096, 256), 0.08, 0),
    ("moco", ""): ("sgd", 0.3, 1e-4, (2048, 256), 0.08, 0.5),
    ("simsiam", ""): ("sgd", 0.5, 1e-5, (2048, 2048, 2048), 0.08, 0.5),
    ("swav", ""): ("lars", 0.6, 1e-6, (2048, 128), 0.08, 0.5),
    ("barlow_twins", ""): ("lars", 0.3, 1e-4, (2048, 2048, 2048), 0.08, 0),
    ("vicreg", ""): ("lars", 0.3, 1e-4, (2048, 2048, 2048), 0.2, 0),
}
OPTIONS: dict[tuple[str, str], dict[str, Any]] = {
    ("simclr", "solo-learn"): {"temperature": 0.2, "output_norm": 0},
    ("byol", "solo-learn"): {"predictor_hidden": 4096, "momentum": 0.99},
    ("moco", ""): {"temperature": 0.2, "queue": 32768, "momentum": 0.99, "final_momentum": 0.999, "symmetric": 1},
    ("simsiam", ""): {"predictor_hidden": 512},
    ("swav", ""): {"temperature": 0.1, "prototypes": 3000, "queue": 3840, "queue_epoch": 50, "freeze_epochs": 2},
    ("barlow_twins", ""): {"scale": 0.1},
    ("vicreg", ""): {},
}
SOLARIZED = {"barlow_twins": (0, 0.2), "byol": (0, 0.2), "vicreg": (0.1, 0.1)}
JITTERED = {  # brightness, contrast, saturation, hue
    "simclr": (0.8, 0.8, 0.8, 0.2),
    "swav": (0.8, 0.8, 0.8, 0.2),
    "byol": (0.4, 0.4, 0.2, 0.1),
    "barlow_twins": (0.4, 0.4, 0.2, 0.1),
    "vicreg": (0.4, 0.4, 0.2, 0.1),
    "moco": (0.4, 0.4, 0.4, 0.1),
    "simsiam": (0.4, 0.4, 0.4, 0.1),
}


def head_widths(run: Run) -> tuple[int, ...]:
    return (*(run.projector.hidden,) * (run.projector.layers - 1), run.projector.out)


@pytest.mark.parametrize("dataset", SMALL)
@pytest.mark.parametrize("method, variant", SOLO_LEARN)
def test_recipe_l_has_solo_learns_optimiser_and_head(method: str, variant: str, dataset: str) -> None:
    run = preset(method, dataset, variant)
    name, lr, decay, widths, _, _ = SOLO_LEARN[method, variant]
    assert (run.optimizer.name, run.optimizer.lr_batch) == (name, 256)
    assert (run.peak_lr, run.optimizer.weight_decay, run.batch_size) == (lr, decay, 256)
    assert (run.optimizer.momentum, run.optimizer.trust, run.optimizer.clip) == (0.9, 0.02, True)
    assert head_widths(run) == widths


@pytest.mark.parametrize("method, variant", SOLO_LEARN)
def test_recipe_l_has_solo_learns_options(method: str, variant: str) -> None:
    assert dict(preset(method, "cifar100", variant).options) == OPTIONS[method, variant]


@pytest.mark.parametrize("method, variant", SOLO_LEARN)
def test_recipe_l_has_solo_learns_views(method: str, variant: str) -> None:
    views = preset(method, "cifar10", variant).views
    _, _, _, _, crop, blur = SOLO_LEARN[method, variant]
    assert len(views) == 2
    assert tuple(view.solarize for view in views) == SOLARIZED.get(method, (0, 0))
    for view in views:
        assert (view.crop_min, view.flip, view.grey, view.blur, view.jitter) == (crop, 0.5, 0.2, blur, 0.8)
        assert (view.brightness, view.contrast, view.saturation, view.hue) == JITTERED[method]


@pytest.mark.parametrize("dataset, epochs", [("cifar10", 1000), ("stl10", 2000), ("tiny_imagenet", 1000)])
@pytest.mark.parametrize("method, variant", SOLO_LEARN)
def test_recipe_l_trains_as_long_as_recipe_s(method: str, variant: str, dataset: str, epochs: int) -> None:
    assert preset(method, dataset, variant).epochs == epochs


WHITENING = {"cifar10": (128, 1), "cifar100": (128, 1), "stl10": (256, 4), "tiny_imagenet": (256, 4)}  # rows, repeats


@pytest.mark.parametrize("dataset", SMALL)
def test_w_mse_with_two_views_has_a_batch_of_512_and_the_data_sets_repeats(dataset: str) -> None:
    whitening, repeats = WHITENING[dataset]
    run = preset("w_mse", dataset, "2-views")
    assert (len(run.views), run.batch_size) == (2, 512)
    assert dict(run.options) == {"whitening": whitening, "repeats": repeats}


@pytest.mark.parametrize("dataset", SMALL)
@pytest.mark.parametrize("variant, layers", [("", 3), ("2-layer", 2)])
def test_w_mse_is_w_mse_4_with_a_batch_of_256_whitened_once(dataset: str, variant: str, layers: int) -> None:
    run = preset("w_mse", dataset, variant)
    assert (len(run.views), run.batch_size, run.projector.layers) == (4, 256, layers)
    assert dict(run.options) == {"whitening": WHITENING[dataset][0], "repeats": 1}


@pytest.mark.parametrize("dataset", SMALL)
@pytest.mark.parametrize("method", ["dcl", "relic", "ssl_hsic", "icl_msr", "mec", "tcr"])
def test_a_method_without_a_small_recipe_takes_recipe_s_but_for_its_options(method: str, dataset: str) -> None:
    run, simclr = preset(method, dataset), preset("simclr", dataset)
    same = ("epochs", "batch_size", "views", "backbone", "projector", "optimizer", "schedule", "precision")
    assert [getattr(run, name) for name in same] == [getattr(simclr, name) for name in same]


@pytest.mark.parametrize("variant, colours", [("", "lab"), ("ycbcr", "ycbcr")])
def test_cmc_sees_one_flipped_crop_in_the_colours_it_is_asked_for(variant: str, colours: str) -> None:
    run = preset("cmc", "cifar10", variant)
    (view,) = run.views
    assert run.backbone.colours == colours
    assert (view.crop_min, view.flip, view.jitter, view.grey, view.blur) == (0.2, 0.5, 0, 0, 0)


@pytest.mark.parametrize("variant, form", [("", "debiased"), ("decoupled", "decoupled"), ("weighted", "weighted")])
def test_dcl_has_a_preset_a_form(variant: str, form: str) -> None:
    assert dict(preset("dcl", "cifar10", variant).options)["form"] == form


def test_simsiams_own_cifar_setting_holds_the_predictors_rate() -> None:
    run = preset("simsiam", "cifar10", "paper")
    assert (run.epochs, run.batch_size, run.optimizer.weight_decay, run.projector.layers) == (800, 512, 5e-4, 2)
    assert (run.optimizer.lr, run.optimizer.lr_batch, run.optimizer.constant) == (0.03, 256, "predictor")


def test_simclrs_own_cifar_command_is_unclipped_lars_at_1_per_256() -> None:
    run = preset("simclr", "cifar10", "google")
    assert (run.optimizer.name, run.optimizer.lr, run.optimizer.weight_decay) == ("lars", 1.0, 1e-4)
    assert (run.optimizer.trust, run.optimizer.clip) == (0.001, False)
    assert (run.epochs, run.batch_size, dict(run.options)["temperature"]) == (1000, 512, 0.5)
    assert all((view.blur, view.brightness, view.hue) == (0, 0.4, 0.1) for view in run.views)
