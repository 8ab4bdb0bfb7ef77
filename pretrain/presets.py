"""Presets: the recipe of every method on every data set, as a Run.

Recipe S is the trainer of the W-MSE paper (Ermolov et al., ICML 2021, code `htdt/self-supervised`); recipe L the
wide-head CIFAR settings of solo-learn (da Costa et al., JMLR 2022, code `vturrisi/solo-learn`). Which recipe made
the published row is not established for every method; a "+" run uses exactly its baseline's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from .methods import METHODS
from .run import PLUS, Augmentation, Backbone, Comprehensive, Optimizer, Projector, Run, Schedule

WIDE_EMBEDDING = 128  # from wider embeddings on, the literal scale of L_mcr outgrows every loss (36,864 at 256 x 2048)

_SIZES: dict[str, tuple[int, float, int, Literal["small", "small-pool"]]] = {
    # epochs, Adam's rate, embedding width, stem: the W-MSE paper's table of settings
    "cifar10": (1000, 3e-3, 64, "small"),
    "cifar100": (1000, 3e-3, 64, "small"),
    "stl10": (2000, 2e-3, 128, "small-pool"),
    "tiny_imagenet": (1000, 2e-3, 128, "small-pool"),
}


@dataclass(frozen=True)
class _Wide:
    """One method's line in recipe L."""

    optimizer: Optimizer
    projector: Projector
    views: tuple[Augmentation, Augmentation]
    options: tuple[tuple[str, int | float | str], ...] = ()


def _asymmetric(solarize: float) -> Augmentation:
    """A view of solo-learn's asymmetric CIFAR pair, which differs in solarize alone."""
    return Augmentation(crop_min=0.08, saturation=0.2, grey=0.2, solarize=solarize)


_LARS = Optimizer(name="lars", lr_batch=256, weight_decay=1e-4)
_RECIPE_L = {  # solo-learn, scripts/pretrain/cifar
    "barlow_twins": _Wide(
        optimizer=replace(_LARS, lr=0.3),
        projector=Projector(layers=3, hidden=2048, out=2048),
        views=(_asymmetric(0.0), _asymmetric(0.2)),
        options=(("scale", 0.1),),
    ),
}
_COSINE = Schedule(kind="cosine", warmup_steps=0, warmup_epochs=10.0, warmup_from=3e-5)

# The digits recipe is ours: what a small network learns on two CPU cores in half a minute. All of it was chosen on the
# validation split. Strong colour changes and no flip, for a digit's colour says nothing of it and its direction does.
_DIGITS_VIEW = Augmentation(brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2, grey=0.2, crop_min=0.5, flip=0.0)
_DIGITS = Run(
    method="simclr",
    dataset="digits",
    epochs=6,
    batch_size=64,
    views=(_DIGITS_VIEW, _DIGITS_VIEW),
    backbone=Backbone(name="resnet10", width=16),
    projector=Projector(layers=2, hidden=128, out=32),
    schedule=Schedule(kind="cosine", warmup_steps=20),
)
_DIGITS_BY_METHOD: dict[str, tuple[float, Projector, tuple[tuple[str, int | float | str], ...]]] = {
    "byol": (2e-3, Projector(layers=2, hidden=256, out=128), (("predictor_hidden", 256),)),
    "barlow_twins": (1.5e-3, Projector(layers=2, hidden=256, out=128), ()),
}


def preset(method: str, dataset: str) -> Run:
    """The Run that `method` (with or without "+") uses on `dataset`.

    Raises ValueError on an unknown name and on a pair that has no recipe.
    """
    run = Run(method=method, dataset=dataset)  # checks both names before anything else
    base = run.base_method
    if dataset == "digits":
        run = replace(_DIGITS, method=method)
        if base in _DIGITS_BY_METHOD:
            lr, projector, options = _DIGITS_BY_METHOD[base]
            run = replace(run, optimizer=Optimizer(lr=lr), projector=projector, options=options)
    else:
        if dataset not in _SIZES:
            raise ValueError(f"no recipe for {dataset!r} yet; recipes: {', '.join(_SIZES)}, digits")
        epochs, lr, out, stem = _SIZES[dataset]
        run = replace(run, epochs=epochs, backbone=Backbone(stem=stem))
        if METHODS[base].recipe == "S":
            run = replace(run, optimizer=Optimizer(lr=lr), projector=Projector(out=out))
        elif base in _RECIPE_L:
            wide = _RECIPE_L[base]
            run = replace(
                run,
                batch_size=256,
                optimizer=wide.optimizer,
                projector=wide.projector,
                views=wide.views,
                schedule=_COSINE,
                options=wide.options,
            )
    return replace(run, compmod=comprehensive_preset(run)) if method.endswith(PLUS) else run


def comprehensive_preset(run: Run) -> Comprehensive:
    """CompMod's settings for a "+" run: the paper's weights, at the scale that suits the embedding width."""
    if run.dataset == "digits":
        return Comprehensive(warmup="off", flow="stop")
    return Comprehensive(scale="literal" if run.projector.out <= WIDE_EMBEDDING else "per_sample")
