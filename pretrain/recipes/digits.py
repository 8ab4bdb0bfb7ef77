"""The digits recipe, ours: what a small network learns on two CPU cores in half a minute.

All of it was chosen on the validation split.
"""

from __future__ import annotations

from dataclasses import replace

from ..methods import METHODS
from ..run import Augmentation, Backbone, Optimizer, Projector, Run, Schedule
from .recipe import Recipe

# Strong colour changes and no flip, for a digit's colour says nothing of it and its direction does.
_VIEW = Augmentation(brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2, grey=0.2, crop_min=0.5, flip=0.0)
_BASE = Recipe(
    remark="ours: half a minute on two CPU cores",
    epochs=6,
    batch_size=64,
    views=(_VIEW, _VIEW),
    backbone=Backbone(name="resnet10", width=16),
    projector=Projector(layers=2, hidden=128, out=32),
    schedule=Schedule(kind="cosine", warmup_steps=20),
)
_WIDE_HEAD = Projector(layers=2, hidden=256, out=128)
_BY_METHOD: dict[str, Recipe] = {
    "byol": replace(_BASE, optimizer=Optimizer(lr=2e-3), projector=_WIDE_HEAD, options=(("predictor_hidden", 256),)),
    "barlow_twins": replace(_BASE, optimizer=Optimizer(lr=1.5e-3), projector=_WIDE_HEAD),
    "w_mse": replace(  # rows whitened together: twice the embedding width, as in the W-MSE paper
        _BASE, projector=Projector(layers=2, hidden=128, out=16), options=(("whitening", 32),)
    ),
    "cmc": replace(_BASE, views=(_VIEW,), backbone=Backbone(name="resnet10", width=16, colours="lab")),
    "supervised": replace(_BASE, views=(_VIEW,)),
}


def recipes(method: str, run: Run) -> dict[str, Recipe]:
    """The settings of `method` on the digits: one."""
    return {"": _BY_METHOD.get(method, _BASE)} if method in METHODS else {}
