"""Recipes for images of 32 and 64 px: recipe S, recipe L, and the settings of the methods' own papers.

Command: `compmod pretrain NAME --dataset cifar10` (or cifar100, stl10, tiny_imagenet), then `compmod evaluate RUN_DIR`.
Time: of SimCLR on one H100 (an estimate, not measured): 4 hours on CIFAR, 8 on Tiny ImageNet, 17 on STL-10; about
three times that with "+".
Expected: Table 1 of the paper; of SimCLR, linear and 5-nn accuracy: CIFAR-10 91.80 and 88.42, CIFAR-100 66.83 and
56.56, STL-10 90.51 and 85.68, Tiny ImageNet 48.82 and 32.86.
Source: recipe S is the trainer of the W-MSE paper (Ermolov et al., ICML 2021, code `htdt/self-supervised`); recipe L is
solo-learn's, with the epochs and inputs of recipe S. Which made a published row is not established for every method.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from ..specs.datasets import DATASETS
from ..specs.methods import METHODS
from ..specs.run import Backbone, Optimizer, Projector, Run, Schedule
from . import augmentations as views
from . import laptop, solo_learn
from .recipe import Options, Recipe


@dataclass(frozen=True, kw_only=True)
class Size:
    """What the W-MSE paper sets for each data set."""

    epochs: int
    lr: float  # Adam's
    out: int  # width of the embedding
    stem: Literal["small", "small-pool"]
    whitening: int  # rows whitened together
    repeats: int  # of the whitening, W-MSE 2; W-MSE 4 has one

    @property
    def backbone(self) -> Backbone:
        return Backbone(stem=self.stem)


SIZES = {  # W-MSE paper, its table of settings; W-MSE code
    "cifar10": Size(epochs=1000, lr=3e-3, out=64, stem="small", whitening=128, repeats=1),
    "cifar100": Size(epochs=1000, lr=3e-3, out=64, stem="small", whitening=128, repeats=1),
    "stl10": Size(epochs=2000, lr=2e-3, out=128, stem="small-pool", whitening=256, repeats=4),
    "tiny_imagenet": Size(epochs=1000, lr=2e-3, out=128, stem="small-pool", whitening=256, repeats=4),
}


def recipes(method: str, run: Run) -> dict[str, Recipe]:
    """The settings of `method` on a small data set by variant; "" is the one used unless another is asked for."""
    on_a_cpu = laptop.recipes(method) if run.dataset == laptop.DATASET else {}
    return _of_size(method, SIZES[run.dataset]) | _PAPERS.get((method, run.dataset), {}) | on_a_cpu


def nearest_recipe(method: str, view_size: int) -> tuple[str, Recipe]:
    """The data set whose images are most like those of `view_size` pixels, and the recipe of `method` for it."""
    nearest = "cifar10" if view_size <= DATASETS["cifar10"].view_size else "tiny_imagenet"
    return nearest, _of_size(method, SIZES[nearest])[""]


def _of_size(method: str, size: Size) -> dict[str, Recipe]:
    """The settings of `method` by variant, but for those of one data set alone."""
    known = _w_mse_trainer(size).get(method) or _ours(size).get(method) or {}
    large = METHODS[method].recipe == "L"
    if method in solo_learn.CIFAR:
        wide = replace(solo_learn.CIFAR[method], epochs=size.epochs, backbone=size.backbone)
        known = {**known, "" if large else "solo-learn": wide}
    if "" not in known:
        usual = replace(solo_learn.USUAL, epochs=size.epochs, backbone=size.backbone) if large else _s(size, "")
        recipe = usual.as_default(f"recipe {METHODS[method].recipe}", METHODS[method].views)
        known = {"": recipe, **known}
    return known


def _s(size: Size, remark: str, options: Options = ()) -> Recipe:
    """Recipe S; what it does not name here is a default of Run."""
    return Recipe(
        remark=remark,
        epochs=size.epochs,
        backbone=size.backbone,
        projector=Projector(out=size.out),
        optimizer=Optimizer(lr=size.lr),
        options=options,
    )


def _w_mse_trainer(size: Size) -> dict[str, dict[str, Recipe]]:
    """The methods that the W-MSE paper ran. CompMod's paper asks for 3 layers, the rows it cites have 2."""
    shallow = Projector(layers=2, out=size.out)
    s = _s(size, "recipe S")
    two = replace(s, remark="recipe S, 2-layer head as in the published row", projector=shallow)
    four = replace(
        _s(size, "recipe S: W-MSE 4, as in the published row", (("whitening", size.whitening), ("repeats", 1))),
        batch_size=256,
        views=(views.SMALL,) * 4,
    )
    pair = _s(size, "recipe S: W-MSE 2", (("whitening", size.whitening), ("repeats", size.repeats)))
    return {
        "simclr": {"": s, "2-layer": two},
        "byol": {"": s, "2-layer": two},
        "w_mse": {
            "": four,
            "2-layer": replace(four, remark="recipe S: W-MSE 4, 2-layer head as published", projector=shallow),
            "2-views": pair,
        },
    }


def _ours(size: Size) -> dict[str, dict[str, Recipe]]:
    """Methods for which no other small recipe stands: recipe S is our choice."""
    s = _s(size, "ours: recipe S")
    colour = replace(s, views=(views.FLIP_AND_CROP,), backbone=replace(size.backbone, colours="lab"))
    return {
        "cmc": {
            "": replace(colour, remark="ours: recipe S, L and ab"),
            "ycbcr": replace(
                colour, remark="ours: recipe S, Y and CbCr", backbone=replace(size.backbone, colours="ycbcr")
            ),
        },
        "dcl": {
            "": s.but("ours: recipe S, debiased", ("form", "debiased"), ("prior", 0.1)),  # Chuang et al.: STL-10
            "decoupled": s.but("ours: recipe S, decoupled", ("form", "decoupled"), ("temperature", 0.1)),
            "weighted": s.but(  # Yeh et al.: sigma 0.5
                "ours: recipe S, decoupled and weighted", ("form", "weighted"), ("temperature", 0.1), ("sigma", 0.5)
            ),
        },
        "relic": {"": s},
        "ssl_hsic": {"": s, "no-target": s.but("ours: recipe S, without target network", ("target", 0))},
        "icl_msr": {"": s},
        "mec": {"": s},
        "tcr": {"": s},
        "supervised": {"": replace(s, views=(views.SMALL,))},
    }


_PAPERS: dict[tuple[str, str], dict[str, Recipe]] = {  # the methods' own papers and code
    ("simclr", "cifar10"): {
        "google": Recipe(
            remark="SimCLR's own CIFAR-10 command; about 91 % linear",
            epochs=1000,
            batch_size=512,
            views=(views.SIMCLR_CIFAR,) * 2,
            projector=Projector(layers=3, hidden=512, out=128),  # hidden layers as wide as the trunk's output
            optimizer=Optimizer(name="lars", lr=1.0, lr_batch=256, weight_decay=1e-4, trust=0.001, clip=False),
            schedule=Schedule(kind="cosine", warmup_steps=0, warmup_epochs=10.0),
            options=(("temperature", 0.5),),
        ),
    },
    ("dcl", "stl10"): {
        "paper": Recipe(
            remark="debiased, code `chingyaoc/DCL`; epochs ours",
            epochs=SIZES["stl10"].epochs,
            batch_size=256,
            backbone=SIZES["stl10"].backbone,
            projector=Projector(layers=2, hidden=512, out=128),  # hidden: ours
            optimizer=Optimizer(lr=1e-3, weight_decay=1e-6),
            schedule=Schedule(warmup_steps=0, drops=()),
            options=(("form", "debiased"), ("temperature", 0.5), ("prior", 0.1)),
        ),
    },
    ("simsiam", "cifar10"): {
        "paper": Recipe(
            remark="SimSiam, section 5 and appendix D; 91.8 % linear",
            epochs=800,
            batch_size=512,
            views=(replace(views.MOCO_V2, blur=0.0),) * 2,
            projector=Projector(layers=2, hidden=2048, out=2048),
            optimizer=Optimizer(name="sgd", lr=0.03, lr_batch=256, weight_decay=5e-4, constant="predictor"),
            schedule=Schedule(kind="cosine", warmup_steps=0, moves="epoch"),
            options=(("predictor_hidden", 512),),
        ),
    },
    ("barlow_twins", "cifar10"): {
        "narrow": Recipe(
            remark="code `yaohungt/Barlow-Twins-HSIC`: ResNet-50, a narrow head",
            epochs=1000,
            batch_size=128,
            backbone=Backbone(name="resnet50", stem="small"),
            projector=Projector(layers=2, hidden=512, out=128),  # hidden: ours
            optimizer=Optimizer(lr=1e-3, weight_decay=1e-6),
            schedule=Schedule(warmup_steps=0, drops=()),
            options=(("off_diagonal", 1 / 128),),
        ),
    },
}
