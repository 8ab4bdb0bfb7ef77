"""Recipes for ImageNet-100, at 224 px on a ResNet-50: solo-learn's where it has them.

Command: `compmod pretrain NAME --dataset imagenet100`, then `compmod evaluate RUN_DIR --protocol linear`.
Time: of SimCLR on one H100 (an estimate, not measured): 30 hours, about three times that with "+".
Expected: Table 2 of the paper; linear accuracy: SimCLR 70.15, BYOL 74.89, Barlow Twins 72.88.
Source: da Costa et al., JMLR 2022, code `vturrisi/solo-learn`, else as the line says. The trunk of Table 2's rows is
not stated; those that can be recognised used a ResNet-50. A ResNet-18, which costs about a third, is
`--backbone.name resnet18`; solo-learn's own numbers are for it, and above most of the table's.
"""

from __future__ import annotations

from dataclasses import replace

from ..specs.methods import METHODS
from ..specs.run import Backbone, Optimizer, Projector, Run
from . import augmentations as views
from . import imagenet, solo_learn
from .recipe import Recipe

_W_MSE = Recipe(
    remark="W-MSE code, W-MSE 4; there on a ResNet-18",
    epochs=240,
    batch_size=256,
    views=(views.SYMMETRIC,) * 4,
    projector=Projector(layers=2, out=128),
    optimizer=Optimizer(lr=2e-3),
    options=(("whitening", 256), ("repeats", 1)),
)
_SIMCLR, _BYOL = solo_learn.IMAGENET100["simclr"], solo_learn.IMAGENET100["byol"]
_AS_SIMCLR = replace(_SIMCLR, remark="ours: SimCLR's")
_AS_BYOL = replace(_BYOL, remark="ours: BYOL's")
_CMC = replace(
    imagenet.CMC, remark="CMC code, Y and CbCr; 75.8 there", backbone=replace(imagenet.RESNET50, colours="ycbcr")
)

IMAGENET100: dict[str, dict[str, Recipe]] = {
    **{method: {"": recipe} for method, recipe in solo_learn.IMAGENET100.items()},
    "simclr": {
        "": _SIMCLR,
        "scr": Recipe(  # its projector narrows to 256 in the second hidden layer, which ours cannot
            remark="the settings of SCR, the first author's own code, on a ResNet-18",
            epochs=200,
            batch_size=256,
            views=(views.SCR,) * 2,
            backbone=Backbone(name="resnet18", stem="large", zero_residual=True),  # as in Barlow Twins' code
            projector=Projector(layers=3, hidden=512, out=128),
            optimizer=replace(imagenet.LARS, lr=1.6, vector_lr=0.0384, lr_batch=0),  # 8 x 0.2 and 8 x 0.0048
            schedule=replace(imagenet.COSINE, final=0.001),
            options=(("temperature", 0.5),),
        ),
    },
    "cmc": {"": _CMC, "lab": replace(_CMC, remark="L and ab", backbone=replace(imagenet.RESNET50, colours="lab"))},
    "w_mse": {
        "": _W_MSE,
        "2-views": replace(
            _W_MSE, remark="W-MSE code, W-MSE 2; there on a ResNet-18", batch_size=512, views=(views.SYMMETRIC,) * 2
        ),
    },
    "dcl": {  # temperatures: each paper's own; a prior near 0.01 was used with the debiased loss on this data set
        "": replace(
            _AS_SIMCLR,
            remark="ours: SimCLR's, debiased",
            options=(("form", "debiased"), ("temperature", 0.5), ("prior", 0.01)),
        ),
        "decoupled": replace(
            _AS_SIMCLR, remark="ours: SimCLR's, decoupled", options=(("form", "decoupled"), ("temperature", 0.1))
        ),
        "weighted": replace(
            _AS_SIMCLR,
            remark="ours: SimCLR's, decoupled and weighted",
            options=(("form", "weighted"), ("temperature", 0.1), ("sigma", 0.5)),
        ),
    },
    "relic": {"": replace(_AS_BYOL, options=(("momentum", 0.99),))},
    "ssl_hsic": {"": _AS_BYOL, "no-target": _AS_BYOL.but("ours: BYOL's, without target network", ("target", 0))},
    "icl_msr": {"": _AS_SIMCLR},
    "mec": {"": replace(imagenet.MEC, remark="ours: MEC's of ImageNet, for longer", epochs=400)},
    "tcr": {"": replace(_AS_SIMCLR, options=())},
    "supervised": imagenet.IMAGENET["supervised"],
}


def recipes(method: str, run: Run) -> dict[str, Recipe]:
    """The settings of `method` on ImageNet-100 by variant; "" is the one used unless another is asked for."""
    known = IMAGENET100.get(method) or {"": _SIMCLR.as_default("SimCLR's settings", METHODS[method].views)}
    return {name: replace(recipe, backbone=recipe.backbone or imagenet.RESNET50) for name, recipe in known.items()}
