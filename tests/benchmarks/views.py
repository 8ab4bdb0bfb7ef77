"""Views: one augmented view of an image by recipe S, ours in batches beside the pipelines of the published packages.

Recipe S is colour jitter, grey, random resized crop, flip and normalisation. All start from uint8 images in memory, as
PIL images where the package wants those. The packages have the same operations with the same probabilities, in their
own order. Torchvision's batched transform draws once for the whole batch, so its views are not those of training.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from compmod.pretrain.runtime.randomness import generator
from compmod.pretrain.specs.datasets import DATASETS
from compmod.pretrain.specs.run import Augmentation
from page import best, median
from rounds import Contestant, Figures, Sizes, Subject, Work
from torch import Tensor

DATASET, RECIPE = DATASETS["cifar10"], Augmentation()


def pixels(sizes: Sizes) -> Tensor:
    shape = (sizes["batch"], 3, sizes["side"], sizes["side"])
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator(0, "benchmark"))


def ours(_: str, sizes: Sizes) -> Work:
    from compmod.pretrain.views.augment import Views

    images, views = pixels(sizes), Views(Augmentation(size=sizes["side"]), DATASET, seed=0, view=0)
    index = torch.arange(len(images))

    def work() -> dict[str, float]:
        views(images, index, 0)
        return {"views": len(images)}

    return work


def torchvision_pipeline(size: int, *, from_pil: bool) -> Any:
    from torchvision.transforms import v2

    jitter = v2.ColorJitter(RECIPE.brightness, RECIPE.contrast, RECIPE.saturation, RECIPE.hue)
    scale = (RECIPE.crop_min, RECIPE.crop_max)
    return v2.Compose(
        [
            v2.RandomApply([jitter], RECIPE.jitter),
            v2.RandomGrayscale(RECIPE.grey),
            v2.RandomResizedCrop(size, scale, interpolation=v2.InterpolationMode.BICUBIC, antialias=True),
            v2.RandomHorizontalFlip(RECIPE.flip),
            *([v2.ToImage()] if from_pil else []),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(list(DATASET.mean), list(DATASET.std)),
        ]
    )


def an_image_at_a_time(make: Callable[[int], Callable[[Any], Any]]) -> Callable[[str, Sizes], Work]:
    """Of a pipeline that takes PIL images and gives one view, or a list of them."""

    def build(_: str, sizes: Sizes) -> Work:
        from PIL import Image

        pipeline = make(sizes["side"])
        pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in pixels(sizes)[: sizes["pictures"]]]

        def work() -> dict[str, float]:
            made = [pipeline(picture) for picture in pictures]
            views = [view for one in made for view in (one if isinstance(one, list | tuple) else [one])]
            torch.stack(views)
            return {"views": len(views)}

        return work

    return build


def lightly(size: int) -> Callable[[Any], Any]:
    from lightly.transforms import SimCLRTransform

    pipeline: Callable[[Any], Any] = SimCLRTransform(
        input_size=size, cj_prob=RECIPE.jitter, cj_strength=1.0, cj_bright=RECIPE.brightness,
        cj_contrast=RECIPE.contrast, cj_sat=RECIPE.saturation, cj_hue=RECIPE.hue, min_scale=RECIPE.crop_min,
        random_gray_scale=RECIPE.grey, gaussian_blur=0.0, hf_prob=RECIPE.flip,
    )  # fmt: skip
    return pipeline


def stable_pretraining(size: int) -> Callable[[Any], Any]:
    from stable_pretraining.data import transforms

    pipeline = transforms.Compose(
        transforms.RGB(),
        transforms.RandomResizedCrop((size, size), scale=(RECIPE.crop_min, RECIPE.crop_max)),
        transforms.ColorJitter(
            brightness=RECIPE.brightness, contrast=RECIPE.contrast, saturation=RECIPE.saturation, hue=RECIPE.hue,
            p=RECIPE.jitter,
        ),
        transforms.RandomGrayscale(p=RECIPE.grey),
        transforms.RandomHorizontalFlip(p=RECIPE.flip),
        transforms.ToImage(mean=list(DATASET.mean), std=list(DATASET.std)),
    )  # fmt: skip
    return lambda picture: pipeline({"image": picture})["image"]


def solo_learn(size: int) -> Callable[[Any], Any]:
    from steps import stand_in_for_lightning_bolts

    stand_in_for_lightning_bolts()
    from solo.utils.pretrain_dataloader import CifarTransform

    pipeline: Callable[[Any], Any] = CifarTransform(
        RECIPE.brightness, RECIPE.contrast, RECIPE.saturation, RECIPE.hue, color_jitter_prob=RECIPE.jitter,
        gray_scale_prob=RECIPE.grey, horizontal_flip_prob=RECIPE.flip, gaussian_prob=0.0, min_scale=RECIPE.crop_min,
        max_scale=RECIPE.crop_max, crop_size=size,
    )  # fmt: skip
    return pipeline


def torchvision_batched(_: str, sizes: Sizes) -> Work:
    images, pipeline = pixels(sizes), torchvision_pipeline(sizes["side"], from_pil=False)

    def work() -> dict[str, float]:
        pipeline(images)
        return {"views": len(images)}

    return work


def kornia(_: str, sizes: Sizes) -> Work:
    from kornia import augmentation

    side = sizes["side"]
    pipeline = augmentation.AugmentationSequential(
        augmentation.ColorJitter(RECIPE.brightness, RECIPE.contrast, RECIPE.saturation, RECIPE.hue, p=RECIPE.jitter),
        augmentation.RandomGrayscale(p=RECIPE.grey),
        augmentation.RandomResizedCrop((side, side), scale=(RECIPE.crop_min, RECIPE.crop_max), resample="bicubic"),
        augmentation.RandomHorizontalFlip(p=RECIPE.flip),
        augmentation.Normalize(torch.tensor(DATASET.mean), torch.tensor(DATASET.std)),
        data_keys=["input"],
    )
    images = pixels(sizes)

    def work() -> dict[str, float]:
        pipeline(images.float() / 255)
        return {"views": len(images)}

    return work


def rate(figures: Figures) -> float:
    return float(figures["views"][0])


SUBJECT = Subject(
    title="Views",
    text="Views of recipe S at {side} px from images in memory, one core, batches of {batch}; of pipelines that take "
    "an image at a time, {pictures} images a call.",
    cases=["recipe S"],
    contestants=[
        Contestant("compmod, batched", "compmod", ours),
        Contestant("kornia, batched", "kornia", kornia),
        Contestant("torchvision v2, batched (one draw a batch)", "torchvision", torchvision_batched),
        Contestant(
            "torchvision v2, PIL",
            "torchvision",
            an_image_at_a_time(lambda size: torchvision_pipeline(size, from_pil=True)),
        ),
        Contestant("lightly, PIL", "lightly", an_image_at_a_time(lightly)),
        Contestant("solo-learn, PIL", "solo-learn", an_image_at_a_time(solo_learn)),
        Contestant("stable-pretraining, PIL", "stable-pretraining", an_image_at_a_time(stable_pretraining)),
    ],
    sizes={"side": 32, "batch": 512, "pictures": 256},
    tiny={"side": 16, "batch": 4, "pictures": 2},
    columns={
        "views/s, median": lambda f, _: f"{rate(f) / median(f):,.0f}",
        "views/s, best": lambda f, _: f"{rate(f) / best(f):,.0f}",
        "a core-second, best": lambda f, _: f"{rate(f) / best(f, 'core_seconds'):,.0f}",
        "ours over it": lambda f, o: f"{rate(o) / best(o, 'core_seconds') / (rate(f) / best(f, 'core_seconds')):.1f} x",
    },
    rounds=9,
    threads=1,
)
