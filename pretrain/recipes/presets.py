"""Presets: the recipe of every method on every data set, as a Run.

Which recipe made a published row is not established for every method; a "+" run uses exactly its baseline's. A method
or a data set without recipes of its own takes a default one, which says so in its remark.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..specs.datasets import DATASETS
from ..specs.own_data import OwnData
from ..specs.run import Comprehensive, Run
from . import digits, imagenet, imagenet100
from . import small_images as small
from .recipe import UNVERIFIED, Recipe

WIDE_EMBEDDING = 128  # from wider embeddings on, the literal scale of L_mcr outgrows every loss (36,864 at 256 x 2048)

RECIPES: dict[str, Callable[[str, Run], dict[str, Recipe]]] = {  # by data set; one that is not here takes _default
    "digits": digits.recipes,
    **dict.fromkeys(small.SIZES, small.recipes),
    "imagenet100": imagenet100.recipes,
    "imagenet": imagenet.recipes,
}


def preset(method: str, dataset: str, variant: str = "", own: OwnData | None = None) -> Run:
    """The Run that `method` (with or without "+") uses on `dataset`; `variant` names another of its recipes.

    `own` describes a data set of the user's, whose name `dataset` then is.

    Raises ValueError on an unknown name.
    """
    known = recipes(method, dataset, own)
    if variant not in known:
        names = ", ".join(name for name in known if name)
        raise ValueError(f"unknown preset {variant!r} of {method} on {dataset}; known: {names or 'the default alone'}")
    run = known[variant].applied(Run(method=method, dataset=dataset, own=own))
    return replace(run, compmod=comprehensive_preset(run)) if run.plus else run


def recipes(method: str, dataset: str, own: OwnData | None = None) -> dict[str, Recipe]:
    """The recipes of `method` on `dataset` by variant; "" is the default's. Raises ValueError as `preset` does."""
    run = Run(method=method, dataset=dataset, own=own)  # checks both names before anything else
    return RECIPES.get(dataset, _default)(run.base_method, run)


def _default(method: str, run: Run) -> dict[str, Recipe]:
    """For a data set without recipes of its own: those of one that has images of the same size."""
    entry = run.data
    if entry.large:
        other, recipe = "imagenet", imagenet.recipes(method, run)[""]
    else:
        other, recipe = small.nearest_recipe(method, entry.view_size)
    remark = recipe.remark.removeprefix(f"{UNVERIFIED}: ")
    return {"": replace(recipe, remark=f"{UNVERIFIED}: as on {DATASETS[other].label}, {remark}")}


def comprehensive_preset(run: Run) -> Comprehensive:
    """CompMod's settings for a "+" run: the paper's weights, at the scale that suits the embedding width."""
    if run.dataset == "digits":
        return Comprehensive(warmup="off", flow="stop")
    return Comprehensive(scale="literal" if run.projector.out <= WIDE_EMBEDDING else "per_sample")
