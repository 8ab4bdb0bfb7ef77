"""Scales: how each changes the run, the seeds, the measurement and the notes of a cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...pretrain.recipes.evaluation import linear_protocol, semi_protocol
from ...pretrain.recipes.scales import BRIEF, SHORT, Scale, scaled
from ...pretrain.specs.measurement import Evaluation, FineTuning, Measurement
from ...pretrain.specs.run import Augmentation, Precision, Run

LINEAR_EPOCHS: dict[Scale, int] = {"paper": 500, "short": 50, "laptop": 50, "demo": 60}
PRECISION_NAMES: dict[Precision, str] = {
    "float32": "float32",
    "tf32": "TF32",
    "bfloat16": "mixed precision, bfloat16 and float32",
    "float64": "float64",
}
# Our choice for the digits, made with seed 0 on the validation split; for 1 % (one glyph a class) on the training
# images outside that 1 %. A mirrored digit is not the same digit, so views are not flipped.
_DIGIT_VIEW = Augmentation(jitter=0.0, grey=0.0, crop_min=0.5, flip=0.0)
_DEMO: dict[float, dict[str, Any]] = {  # by the share of labels
    1.0: {"epochs": 5, "batch_size": 128, "head_lr": 0.3},
    0.1: {"epochs": 10, "batch_size": 32, "head_lr": 0.3, "backbone_lr": 0.1},
    0.01: {"epochs": 10, "batch_size": 8, "head_lr": 0.3, "backbone_lr": 0.02},
}


def ablated(method: str, scale: Scale, copies: Mapping[str, str]) -> Run:
    """The run that Tables 4, 6 and 7 vary: `method` on CIFAR-10, or at scale `demo` on digits for fewer epochs."""
    if scale == "demo":
        return scaled(method, "digits", scale, BRIEF)
    return copied(scaled(method, "cifar10", scale), copies)


def copied(run: Run, copies: Mapping[str, str]) -> Run:
    """`run` on the copy of its data set that `copies` names, if any."""
    return replace(run, copy=copies[run.dataset]) if run.dataset in copies else run


def probes(run: Run, scale: Scale) -> Evaluation:
    """The linear and nearest-neighbour probes of `run` at `scale`."""
    return Evaluation(run=run, linear_epochs=LINEAR_EPOCHS[scale])


def linear(run: Run, scale: Scale) -> FineTuning:
    """The linear layer on augmented images of large data over the frozen backbone of `run`, at `scale`."""
    return _at(linear_protocol(run), scale)


def semi(run: Run, share: float, scale: Scale) -> FineTuning:
    """Fine-tuning of `run` on a share of the labels at `scale`; on the official ImageNet, of
    the labels in SimCLR's lists."""
    listed = run.dataset == "imagenet" and not run.copy and not run.train_images
    return _at(semi_protocol(run, share, lists="simclr" if listed else ""), scale)


def _at(spec: FineTuning, scale: Scale) -> FineTuning:
    if scale == "demo":
        return replace(spec, augmentation=_DIGIT_VIEW, **_DEMO[spec.share])
    if scale == "short":
        return replace(spec, epochs=spec.epochs // SHORT, drops=tuple(drop // SHORT for drop in spec.drops))
    return spec


def over_seeds(run: Run, seeds: int, measure: Callable[[Run], Measurement]) -> tuple[Measurement, ...]:
    """The measurements of `run` that `measure` makes, one for each of the seeds 0 to `seeds` - 1."""
    assert seeds >= 1, "build_table refuses less"
    return tuple(measure(replace(run, seed=seed)) for seed in range(seeds))


def scale_notes(
    scale: Scale, copies: Mapping[str, str], datasets: Sequence[str], precision: Precision = "float32"
) -> tuple[str, ...]:
    """The first notes under a table of `datasets`: where ours have another scale or other data than the paper's.

    The paper does not tell its precision; that of ours is named where it is not float32.
    """
    notes = []
    if any(dataset in copies for dataset in datasets):
        notes.append("Not the paper's data: a heading with the word copy was run on re-encoded images.")
    if scale == "short":
        notes.append(f"Not the paper's scale: ours train for 1/{SHORT} of its epochs, probes included.")
    if scale == "laptop":
        notes.append(
            "Not the paper's scale: ours are a small network on two views of 16 pixels, trained in minutes on a CPU, "
            "so every number is far below the paper's; what compares are differences between rows."
        )
    if scale == "demo":
        notes.append(
            "No reproduction: ours are rendered digits with a small network. The paper's numbers stand beside them for "
            "orientation; other data, so no difference is taken."
        )
    if precision != "float32":
        notes.append(f"Ours are pretrained in {PRECISION_NAMES[precision]}; the paper does not state its precision.")
    return tuple(notes)
