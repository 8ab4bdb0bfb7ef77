"""Recipes at 224 px, their numbers typed once more from the papers and code they were read in."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from compmod.pretrain.methods.build import build_method
from compmod.pretrain.methods.byol import BYOL as BYOLMethod
from compmod.pretrain.methods.ssl_hsic import SSLHSIC
from compmod.pretrain.recipes.imagenet import IMAGENET, recipes
from compmod.pretrain.recipes.imagenet100 import IMAGENET100
from compmod.pretrain.recipes.imagenet100 import recipes as recipes100
from compmod.pretrain.recipes.presets import preset
from compmod.pretrain.recipes.presets import recipes as all_recipes
from compmod.pretrain.recipes.recipe import Recipe
from compmod.pretrain.specs.methods import METHODS
from compmod.pretrain.specs.run import Run
from torch import nn

# method, variant: epochs, batch, optimiser, peak rate, weight decay, widths of the head
PUBLISHED: dict[tuple[str, str], tuple[int, int, str, float, float, tuple[int, ...]]] = {
    ("simclr", ""): (1000, 4096, "lars", 4.8, 1e-4, (2048, 2048, 128)),
    ("moco", ""): (800, 256, "sgd", 0.03, 1e-4, (2048, 128)),
    ("moco", "v2-200"): (200, 256, "sgd", 0.03, 1e-4, (2048, 128)),
    ("moco", "v1"): (200, 256, "sgd", 0.03, 1e-4, (128,)),
    ("cmc", ""): (240, 128, "sgd", 0.03, 1e-4, (128,)),
    ("byol", ""): (1000, 4096, "lars", 3.2, 1.5e-6, (4096, 256)),
    ("byol", "300-epochs"): (300, 4096, "lars", 4.8, 1e-6, (4096, 256)),
    ("byol", "100-epochs"): (100, 4096, "lars", 7.2, 1e-6, (4096, 256)),
    ("simsiam", ""): (100, 512, "sgd", 0.1, 1e-4, (2048, 2048, 2048)),
    ("swav", ""): (800, 4096, "larc", 4.8, 1e-6, (2048, 128)),
    ("swav", "2-crops"): (400, 4096, "larc", 4.8, 1e-6, (2048, 128)),
    ("swav", "small-batch"): (200, 256, "larc", 0.6, 1e-6, (2048, 128)),
    ("ssl_hsic", ""): (1000, 4096, "lars", 6.4, 1e-6, (4096, 256)),
    ("barlow_twins", ""): (1000, 2048, "lars", 1.6, 1e-6, (8192, 8192, 8192)),
    ("vicreg", ""): (1000, 2048, "lars", 1.6, 1e-6, (8192, 8192, 8192)),
    ("vicreg", "100-epochs"): (100, 512, "lars", 0.6, 1e-6, (8192, 8192, 8192)),
    ("mec", ""): (100, 1024, "sgd", 2.0, 1e-5, (2048, 2048, 2048)),
    ("supervised", ""): (90, 256, "sgd", 0.1, 1e-4, ()),
}
MOCO = {"momentum": 0.999, "final_momentum": 0.999, "queue": 65536, "symmetric": 0}
# solo-learn, scripts/pretrain/imagenet-100: optimiser, rate, weight decay, widths of the head
SOLO_LEARN: dict[str, tuple[str, float, float, tuple[int, ...]]] = {
    "simclr": ("lars", 0.3, 1e-4, (4096, 512)),
    "byol": ("lars", 0.5, 1e-6, (4096, 256)),
    "barlow_twins": ("lars", 0.3, 1e-4, (2048, 2048, 2048)),
    "vicreg": ("lars", 0.3, 1e-4, (2048, 2048, 2048)),
    "swav": ("lars", 0.6, 1e-6, (2048, 128)),
    "simsiam": ("sgd", 0.5, 1e-5, (2048, 2048, 2048)),
    "moco": ("sgd", 0.3, 1e-4, (2048, 256)),
}


def run_of(method: str, recipe: Recipe) -> Run:
    """The run that a recipe makes, whatever the data set is."""
    return recipe.applied(Run(method=method, dataset="cifar10"))


def published(method: str, variant: str) -> Run:
    return run_of(method, IMAGENET[method][variant])


def head_widths(run: Run) -> tuple[int, ...]:
    return (*(run.projector.hidden,) * (run.projector.layers - 1), run.projector.out)


BYOL: dict[str, Any] = {"predictor_hidden": 4096, "momentum_moves": "step", "last_bias": 0}


@pytest.mark.parametrize("dataset, own", [("imagenet", IMAGENET), ("imagenet100", IMAGENET100)])
def test_every_method_has_a_recipe_and_those_without_one_of_their_own_say_so(
    dataset: str, own: dict[str, dict[str, Recipe]]
) -> None:
    assert set(own) <= set(METHODS)
    assert all("" in variants for variants in own.values())
    unverified = {method for method in METHODS if not all_recipes(method, dataset)[""].verified}
    assert unverified == set(METHODS) - set(own)


@pytest.mark.parametrize("method, variant", PUBLISHED)
def test_the_setting_on_imagenet_is_the_published_one(method: str, variant: str) -> None:
    run = published(method, variant)
    epochs, batch, name, lr, decay, widths = PUBLISHED[method, variant]
    assert (run.epochs, run.batch_size, run.optimizer.name) == (epochs, batch, name)
    assert run.peak_lr == pytest.approx(lr)
    assert run.optimizer.weight_decay == decay
    assert method == "supervised" or head_widths(run) == widths


@pytest.mark.parametrize("method, variant", PUBLISHED)
def test_layer_wise_rates_on_imagenet_have_a_trust_of_0_001_and_no_clip(method: str, variant: str) -> None:
    optimizer = published(method, variant).optimizer
    assert optimizer.momentum == 0.9
    assert optimizer.name == "sgd" or (optimizer.trust, optimizer.clip) == (0.001, False)


@pytest.mark.parametrize(
    "method, variant, options",
    [
        ("simclr", "", {"temperature": 0.1}),
        ("moco", "", {"temperature": 0.2, "momentum": 0.999, "final_momentum": 0.999, "queue": 65536, "symmetric": 0}),
        (
            "moco",
            "v1",
            {"temperature": 0.07, "momentum": 0.999, "final_momentum": 0.999, "queue": 65536, "symmetric": 0},
        ),
        ("cmc", "", {"temperature": 0.07, "negatives": 16384, "bank_momentum": 0.5}),
        ("byol", "", BYOL | {"momentum": 0.996}),
        ("byol", "100-epochs", BYOL | {"momentum": 0.99}),
        ("simsiam", "", {"predictor_hidden": 512}),
        ("ssl_hsic", "", {"predictor_hidden": 4096, "momentum": 0.99, "last_bias": 0, "average": 0.999}),
        ("mec", "", {"predictor_hidden": 512, "momentum": 0.996}),
        ("barlow_twins", "", {"bias": 0}),
        ("vicreg", "", {}),
    ],
)
def test_the_options_on_imagenet_are_the_published_ones(method: str, variant: str, options: dict[str, Any]) -> None:
    assert dict(published(method, variant).options) == options


def test_swav_at_its_best_has_two_large_and_six_small_crops() -> None:
    views = published("swav", "").views
    assert [(view.size, view.crop_min, view.crop_max) for view in views] == [(0, 0.14, 1)] * 2 + [(96, 0.05, 0.14)] * 6
    assert all((view.brightness, view.hue, view.grey, view.blur) == (0.8, 0.2, 0.2, 0.5) for view in views)


def test_swav_with_two_crops_has_only_large_ones() -> None:
    assert [(view.size, view.crop_min) for view in published("swav", "2-crops").views] == [(0, 0.08)] * 2


@pytest.mark.parametrize("variant, queue", [("", (0, None)), ("2-crops", (0, None)), ("small-batch", (3840, 15))])
def test_only_swav_with_a_small_batch_has_a_queue(variant: str, queue: tuple[int, int | None]) -> None:
    options = dict(published("swav", variant).options)
    assert (options["queue"], options.get("queue_epoch")) == queue


@pytest.mark.parametrize("variant, warmup, start", [("", 10, 0.3), ("2-crops", 10, 0.3), ("small-batch", 0, 0)])
def test_swav_ends_at_a_thousandth_after_the_warm_up_of_its_batch(variant: str, warmup: float, start: float) -> None:
    schedule = published("swav", variant).schedule
    assert (schedule.warmup_steps, schedule.warmup_epochs, schedule.final) == (0, warmup, 0.001)
    assert warmup == 0 or schedule.warmup_from == start


def test_barlow_twins_gives_vectors_their_own_rate() -> None:
    run = published("barlow_twins", "")
    assert run.optimizer.vector_lr * run.peak_lr / run.optimizer.lr == pytest.approx(0.0048 * 2048 / 256)


def test_simsiam_holds_the_predictors_rate_and_has_no_warm_up() -> None:
    run = published("simsiam", "")
    assert (run.optimizer.constant, run.schedule.moves) == ("predictor", "epoch")
    assert (run.schedule.warmup_steps, run.schedule.warmup_epochs) == (0, 0)


@pytest.mark.parametrize("method", ["byol", "ssl_hsic", "barlow_twins", "vicreg"])
def test_byols_pair_of_views_differs_in_blur_and_solarize(method: str) -> None:
    views = published(method, "").views
    assert [(view.blur, view.solarize) for view in views] == [(1.0, 0), (0.1, 0.2)]
    assert {(view.crop_min, view.brightness, view.saturation, view.hue) for view in views} == {(0.08, 0.4, 0.2, 0.1)}


def test_moco_v1_jitters_always_and_blurs_never() -> None:
    (view,) = set(published("moco", "v1").views)
    assert (view.jitter, view.brightness, view.hue, view.grey, view.blur) == (1, 0.4, 0.4, 0.2, 0)


@pytest.mark.parametrize("method", ["moco", "simsiam"])
def test_moco_v2s_views_crop_at_least_a_fifth_and_blur_half(method: str) -> None:
    (view,) = set(published(method, "").views)
    assert (view.jitter, view.crop_min, view.hue, view.grey, view.blur) == (0.8, 0.2, 0.1, 0.2, 0.5)


@pytest.mark.parametrize("method", SOLO_LEARN)
def test_the_setting_on_imagenet_100_is_solo_learns(method: str) -> None:
    run = run_of(method, IMAGENET100[method][""])
    name, lr, decay, widths = SOLO_LEARN[method]
    assert (run.epochs, run.batch_size, run.optimizer.name) == (400, 256, name)
    assert (run.peak_lr, run.optimizer.weight_decay, head_widths(run)) == (lr, decay, widths)
    assert (run.schedule.kind, run.schedule.warmup_epochs) == ("cosine", 10)
    assert (run.optimizer.trust, run.optimizer.clip) == (0.02, True)


@pytest.mark.parametrize("variant, views, batch", [("", 4, 256), ("2-views", 2, 512)])
def test_w_mse_on_imagenet_100_is_its_own_codes(variant: str, views: int, batch: int) -> None:
    run = run_of("w_mse", IMAGENET100["w_mse"][variant])
    assert (run.epochs, run.batch_size, len(run.views), run.peak_lr, run.projector.out) == (
        240,
        batch,
        views,
        2e-3,
        128,
    )
    assert dict(run.options) == {"whitening": 256, "repeats": 1}
    assert (run.schedule.warmup_steps, run.schedule.drops) == (500, (50, 25))


def test_scr_is_the_first_authors_own_setting() -> None:
    run = run_of("simclr", IMAGENET100["simclr"]["scr"])
    assert (run.epochs, run.batch_size, run.backbone.name) == (200, 256, "resnet18")
    assert (run.peak_lr, run.optimizer.vector_lr, run.optimizer.weight_decay) == (1.6, 8 * 0.0048, 1e-6)
    assert dict(run.options)["temperature"] == 0.5


@pytest.mark.parametrize("family", [recipes, recipes100], ids=["ImageNet", "ImageNet-100"])
@pytest.mark.parametrize("method", METHODS)
def test_the_default_trunk_at_224_px_is_a_resnet50_with_a_large_stem(method: str, family: Any) -> None:
    run = family(method, Run(method=method, dataset="cifar10"))[""].applied(Run(method=method, dataset="cifar10"))
    assert (run.backbone.name, run.backbone.width, run.backbone.stem) == ("resnet50", 64, "large")


@pytest.mark.parametrize(
    "method, biases",  # of the linear layers of the projector, then of the predictor: True where there is one
    [
        ("byol", ([True, False], [True, False])),
        ("ssl_hsic", ([True, False], [True, False])),
        ("barlow_twins", ([False, False, False], [])),
        ("vicreg", ([True, True, False], [])),
    ],
)
def test_linear_layers_have_biases_only_where_the_codes_on_imagenet_have_them(
    method: str, biases: tuple[list[bool], list[bool]]
) -> None:
    run = published(method, "")
    options = tuple((dict(run.options) | ({"predictor_hidden": 12} if biases[1] else {})).items())
    tiny = replace(
        run,
        backbone=replace(run.backbone, name="resnet10", width=4),
        projector=replace(run.projector, hidden=12, out=8),
        options=options,
    )
    built = build_method(tiny, 32)
    for part, expected in zip((built.projector, getattr(built, "predictor", nn.Sequential())), biases, strict=True):
        assert [layer.bias is not None for layer in part.modules() if isinstance(layer, nn.Linear)] == expected
    if isinstance(built, BYOLMethod | SSLHSIC):
        assert built.target is not None
        assert sum(p.numel() for p in built.target.parameters()) == sum(
            p.numel() for part in (built.backbone, built.projector) for p in part.parameters()
        )


@pytest.mark.parametrize(
    "method, dataset, variant",
    [
        ("barlow_twins", "imagenet", ""),
        ("simsiam", "imagenet", ""),
        ("vicreg", "imagenet", ""),
        ("vicreg", "imagenet", "100-epochs"),
        ("simclr", "imagenet100", "scr"),
    ],
)
def test_residual_branches_start_at_zero_where_the_codes_have_it(method: str, dataset: str, variant: str) -> None:
    assert preset(method, dataset, variant).backbone.zero_residual
