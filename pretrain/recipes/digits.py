"""Recipes for the embedded digits: what a small network learns on two CPU cores in half a minute.

Command: `compmod pretrain NAME --dataset digits`, then `compmod evaluate RUN_DIR`.
Time: half a minute a run on two CPU cores, about three times that with "+" (measured).
Expected: the two figures beside a method are the per cent of the digits that a linear probe of 60 epochs and five
nearest neighbours get right on the validation split, with seed 0. The untrained network has 20.1 and 31.9, CMC's pair
of trunks 14.9 and 25.3.
Source: ours; every setting was chosen on the validation split with seed 0.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..specs.methods import METHODS
from ..specs.run import Augmentation, Backbone, Optimizer, Projector, Run, Schedule
from .recipe import Recipe

# Strong colour changes and no flip, for a digit's colour says nothing of it and its direction does.
_VIEW = Augmentation(brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2, grey=0.2, crop_min=0.5, flip=0.0)
_SCHEDULE = Schedule(kind="cosine", warmup_steps=20)
_BASE = Recipe(
    remark="ours: half a minute on two CPU cores",
    epochs=6,
    batch_size=64,
    views=(_VIEW, _VIEW),
    backbone=Backbone(name="resnet10", width=16),
    projector=Projector(layers=2, hidden=128, out=32),
    schedule=_SCHEDULE,
)
_NARROW = Backbone(name="resnet10", width=8)
_WIDE_HEAD = Projector(layers=2, hidden=256, out=128)
_BY_METHOD: dict[str, Recipe] = {
    **dict.fromkeys(("simclr", "dcl", "icl_msr", "vicreg", "tcr"), _BASE),
    "byol": replace(_BASE, optimizer=Optimizer(lr=2e-3), projector=_WIDE_HEAD, options=(("predictor_hidden", 256),)),
    "barlow_twins": replace(_BASE, optimizer=Optimizer(lr=1.5e-3), projector=_WIDE_HEAD),
    # With momentum 0.9 and rate 3e-3 MoCo tells its keys by their batch: its batch norm marks them (linear 17.5).
    "moco": replace(  # 39.9 and 42.4
        _BASE,
        optimizer=Optimizer(lr=1e-3),
        projector=_WIDE_HEAD,
        options=(("temperature", 0.1), ("momentum", 0.99), ("final_momentum", 0.99), ("queue", 512)),
    ),
    "simsiam": replace(  # 35.0 and 50.0
        _BASE, optimizer=Optimizer(name="sgd", lr=0.1, weight_decay=1e-3), options=(("predictor_hidden", 32),)
    ),
    "swav": replace(  # 46.3 and 56.2
        _BASE, options=(("temperature", 0.2), ("prototypes", 100), ("queue", 0), ("freeze_epochs", 0))
    ),
    "relic": replace(_BASE, options=(("momentum", 0.95),)),  # 41.2 and 49.8
    "ssl_hsic": replace(  # 44.6 and 64.4
        _BASE, projector=_WIDE_HEAD, options=(("momentum", 0.9), ("predictor_hidden", 256))
    ),
    "mec": replace(  # 42.1 and 51.5
        _BASE,
        projector=_WIDE_HEAD,
        options=(("momentum", 0.9), ("predictor_hidden", 256), ("warmup_epochs", 0)),
    ),
    "w_mse": replace(  # rows whitened together: twice the embedding width, as in the W-MSE paper
        _BASE, projector=Projector(layers=2, hidden=128, out=16), options=(("whitening", 32),)
    ),
    # A digit's colours say little of its lightness but where its strokes are, so embeddings drift faster than banks
    # follow unless the one view is the whole image. One view and half-width trunks: 14 epochs cost what others' 6 do.
    "cmc": replace(  # 27.8 and 27.8
        _BASE,
        epochs=14,
        views=(replace(_VIEW, jitter=0.0, grey=0.0, crop=0.0),),
        backbone=Backbone(name="resnet10", width=16, colours="ycbcr"),
        optimizer=Optimizer(lr=2e-3),
        options=(("form", "softmax"), ("negatives", 512), ("temperature", 0.2)),
    ),
    "supervised": replace(_BASE, views=(_VIEW,)),
}


# Of a few seconds: its numbers show that a path works, and little else.
_BRIEF: dict[str, Any] = {
    "remark": "ours: for tables of many runs",
    "epochs": 1,
    "train_images": 1_500,
    "backbone": Backbone(name="resnet10", width=8),
    "schedule": replace(_SCHEDULE, warmup_steps=5),
}
_ABLATED = ("simclr", "byol", "barlow_twins")  # by the tables that vary one setting of a method over many runs


def recipes(method: str, run: Run) -> dict[str, Recipe]:
    """The settings of `method` on the digits by variant; "" is the one used unless another is asked for."""
    usual = _BY_METHOD.get(method) or _BASE.as_default("SimCLR's settings", METHODS[method].views)
    if method not in _ABLATED:
        return {"": usual}
    return {"": usual, "brief": replace(usual, **_BRIEF)}
