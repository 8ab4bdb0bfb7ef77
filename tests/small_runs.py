"""Small runs and batches of every method, for the contract tests; on the path of every test (see pyproject.toml)."""

from __future__ import annotations

from dataclasses import replace

import torch
from compmod.pretrain.methods.base import Batch
from compmod.pretrain.presets import preset
from compmod.pretrain.run import Projector, Run

IMAGES = 40  # of the data set that the batches are from
SIDE = 8  # of a view, pixels
SAMPLES = 12  # of a batch

# Options that make a method small; batches are of SAMPLES, embeddings of 8 numbers.
OPTIONS: dict[str, tuple[tuple[str, int | float | str], ...]] = {
    "moco": (("queue", 2 * SAMPLES),),
    "cmc": (("negatives", 6),),
    "swav": (("prototypes", 10), ("queue", SAMPLES), ("queue_epoch", 0), ("freeze_epochs", 0)),
    "w_mse": (("whitening", SAMPLES), ("repeats", 2)),
    "ssl_hsic": (("features", 16), ("predictor_hidden", 12)),
    "simsiam": (("predictor_hidden", 6),),
    "byol": (("predictor_hidden", 12),),
}


def small(method: str, **changes: object) -> Run:
    """A run of `method` (with or without "+") with a tiny network."""
    run = preset(method, "digits")
    kept = dict(OPTIONS.get(run.base_method, ()))
    return replace(
        run,
        batch_size=SAMPLES,
        backbone=replace(run.backbone, name="resnet10", width=4),
        projector=Projector(layers=3, hidden=12, out=8),
        options=tuple(kept.items()),
        **changes,  # type: ignore[arg-type]
    )


def small_batch(method: str, step: int = 0, dtype: torch.dtype = torch.float64, samples: int = SAMPLES) -> Batch:
    """A batch of random views for `small(method)`, another at every step; labels are those of the digits."""
    generator = torch.Generator().manual_seed(100 + step)
    count = len(small(method).views)
    views = tuple(torch.randn(samples, 3, SIDE, SIDE, dtype=dtype, generator=generator) for _ in range(count))
    return Batch(
        views=views,
        index=(torch.arange(samples) * 7 + step) % IMAGES,
        labels=torch.arange(samples) % 10,
        step=step,
        epoch=step / 2,
        draw=0.4,
    )
