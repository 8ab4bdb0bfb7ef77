"""Augmentations of the published recipes, by the name of who uses them, and the switches of the paper's Table 4.

Where no other source stands on a line: recipe S from the W-MSE code (Ermolov et al., ICML 2021), recipe L from
solo-learn's CIFAR scripts (da Costa et al., JMLR 2022), 224 px from each method's own code.
"""

from __future__ import annotations

from dataclasses import replace

from ..specs.run import Augmentation

SMALL = Augmentation()  # recipe S below 224 px
SYMMETRIC = Augmentation(  # recipe L and 224 px: SimCLR, SwAV; W-MSE code at 224 px
    crop_min=0.08, brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2, grey=0.2, blur=0.5
)
_MILD = Augmentation(crop_min=0.08, saturation=0.2, grey=0.2)
ASYMMETRIC_SMALL = (_MILD, replace(_MILD, solarize=0.2))  # recipe L: Barlow Twins, BYOL
ASYMMETRIC = (replace(_MILD, blur=1.0), replace(_MILD, blur=0.1, solarize=0.2))  # BYOL, Barlow Twins, VICReg code
WEAK = Augmentation(crop_min=0.08, grey=0.2, blur=0.5)  # recipe L: SimSiam, MoCo v2+
VICREG_SMALL = Augmentation(crop_min=0.2, saturation=0.2, grey=0.2, solarize=0.1)  # recipe L
MOCO_V1 = Augmentation(crop_min=0.2, jitter=1.0, hue=0.4, grey=0.2)  # MoCo code
MOCO_V2 = Augmentation(crop_min=0.2, grey=0.2, blur=0.5)  # MoCo and SimSiam code
MEC = tuple(replace(view, crop_min=0.2) for view in ASYMMETRIC)  # MEC code, after MoCo v3
SCR = replace(_MILD, blur=0.1, solarize=0.2)  # SCR code, both views
FLIP_AND_CROP = Augmentation(crop_min=0.2, jitter=0.0, grey=0.0)  # CMC code; colours are its views
FLIP_AND_CROP_LARGE = replace(FLIP_AND_CROP, crop_min=0.08)  # CMC code for ResNets on ImageNet; supervised training
SWAV_CROPS = (  # SwAV code: two large crops, six small ones
    *(replace(SYMMETRIC, crop_min=0.14),) * 2,
    *(replace(SYMMETRIC, crop_min=0.05, crop_max=0.14, size=96),) * 6,
)
SIMCLR_CIFAR = Augmentation(crop_min=0.08, grey=0.2)  # SimCLR code: jitter of strength 0.5, no blur

SWITCHES = {  # Table 4 of the paper: the operations it switches, and the fields that hold their probabilities
    "horizontal flip": "flip",
    "rotate": "rotation",
    "random crop": "crop",
    "random grey": "grey",
    "color jitter": "jitter",
}
# Which of them a row has.
_ROWS: dict[int, tuple[str, ...]] = {
    1: ("horizontal flip", "rotate"),
    2: ("random crop",),
    3: ("random grey",),
    4: ("color jitter",),
    5: ("horizontal flip", "random crop"),
    6: ("rotate", "color jitter"),
    7: ("horizontal flip", "random crop", "random grey"),
    8: ("horizontal flip", "rotate", "random crop", "random grey", "color jitter"),
}


def augmentation_row(number: int, view: Augmentation = SMALL) -> Augmentation:
    """The view of row `number` of the paper's Table 4, 1 to 8: of `view`, what the row has and nothing else.

    An operation that is off is not applied; with the crop off the whole image is used. Row 8 has the rotation, which
    Table 1's default view lacks. What `view` itself lacks is drawn with recipe S's probability where a row has it.
    """
    if number not in _ROWS:
        raise ValueError(f"unknown row {number} of Table 4; known: {', '.join(map(str, _ROWS))}")
    # Probabilities: recipe S; a rotation, always, by up to 15 degrees: ours, for the paper gives none.
    has = {SWITCHES[name] for name in _ROWS[number]}
    usual = {"flip": SMALL.flip, "rotation": 1.0, "crop": SMALL.crop, "grey": SMALL.grey, "jitter": SMALL.jitter}
    chances = {name: (getattr(view, name) or usual[name]) if name in has else 0.0 for name in usual}
    return replace(view, **chances)  # type: ignore[arg-type]  # every one of them is a share
