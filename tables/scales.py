"""Scales: what `paper`, `short` and `demo` make of a Run and of what is measured on it.

paper: the recipe as it stands, GPU-days a run. short: a tenth of everything counted in epochs. demo: the embedded
digits and a small network, under a minute a run on two CPU cores; its numbers are no reproduction of any cell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeVar, get_args

from ..pretrain.presets import preset
from ..pretrain.protocols import linear_protocol, semi_protocol
from ..pretrain.run import Augmentation, Evaluation, FineTuning, Run
from ..transfer.spec import Detection

Scale = Literal["paper", "short", "demo"]
SCALES: tuple[Scale, ...] = get_args(Scale)
SHORT = 10  # divisor of epochs at scale `short`
EPOCH_OPTIONS = ("queue_epoch", "freeze_epochs", "warmup_epochs")  # settings of methods that are counted in epochs
LINEAR_EPOCHS: dict[Scale, int] = {"paper": 500, "short": 50, "demo": 60}
BRIEF = "brief"  # the digits recipe of ablations, where a table has many runs of one method
# Digits, ours, chosen with seed 0 on the validation split, of 1 % (a glyph a class) on the images that it leaves out.
# A mirrored digit is another one, so views are not flipped.
_DIGIT_VIEW = Augmentation(jitter=0.0, grey=0.0, crop_min=0.5, flip=0.0)
_DEMO: dict[float, dict[str, Any]] = {  # by the share of labels
    1.0: {"epochs": 5, "batch_size": 128, "head_lr": 0.3},
    0.1: {"epochs": 10, "batch_size": 32, "head_lr": 0.3, "backbone_lr": 0.1},
    0.01: {"epochs": 10, "batch_size": 8, "head_lr": 0.3, "backbone_lr": 0.02},
}

Measured = TypeVar("Measured", Evaluation, FineTuning, Detection)


def scaled(method: str, dataset: str, scale: Scale, variant: str = "") -> Run:
    """The Run of `method` on `dataset` at `scale`, by its recipe `variant`; at `demo` every data set becomes digits."""
    if scale not in SCALES:
        raise ValueError(f"unknown scale {scale!r}; known: {', '.join(SCALES)}")
    if scale == "demo":
        return preset(method, "digits", variant)
    run = preset(method, dataset, variant)
    if scale == "paper":
        return run
    schedule = replace(
        run.schedule,
        warmup_steps=run.schedule.warmup_steps // SHORT,
        warmup_epochs=run.schedule.warmup_epochs / SHORT,
        drops=tuple(drop / SHORT for drop in run.schedule.drops),
    )
    compmod = run.compmod
    if run.plus:
        compmod = replace(compmod, warmup_epochs=compmod.warmup_epochs / SHORT)
    options = tuple((name, _shortened(name, value)) for name, value in run.options)
    return replace(run, epochs=run.epochs // SHORT, schedule=schedule, compmod=compmod, options=options)


def _shortened(option: str, value: int | float | str) -> int | float | str:
    return value / SHORT if option in EPOCH_OPTIONS and not isinstance(value, str) else value


def ablated(method: str, scale: Scale, copies: Mapping[str, str]) -> Run:
    """The run that Tables 4, 6 and 7 vary: of `method` on CIFAR-10, at `demo` fewer epochs of digits than Table 1's."""
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
    """Fine-tuning of `run` on a share of the labels at `scale`; of the official ImageNet, those of SimCLR's lists."""
    listed = run.dataset == "imagenet" and not run.copy and not run.train_images
    return _at(semi_protocol(run, share, lists="simclr" if listed else ""), scale)


def _at(spec: FineTuning, scale: Scale) -> FineTuning:
    if scale == "demo":
        return replace(spec, augmentation=_DIGIT_VIEW, **_DEMO[spec.share])
    if scale == "short":
        return replace(spec, epochs=spec.epochs // SHORT, drops=tuple(drop // SHORT for drop in spec.drops))
    return spec


def over_seeds(run: Run, seeds: int, measure: Callable[[Run], Measured]) -> tuple[Measured, ...]:
    """What `measure` makes of `run` with the seeds 0 to `seeds` - 1."""
    assert seeds >= 1, "build_table refuses less"
    return tuple(measure(replace(run, seed=seed)) for seed in range(seeds))


def scale_notes(scale: Scale, copies: Mapping[str, str], datasets: Sequence[str]) -> tuple[str, ...]:
    """What stands first under a table over `datasets` whose numbers are not at the paper's scale or data."""
    notes = []
    if any(dataset in copies for dataset in datasets):
        notes.append("Not the paper's data: a heading with the word copy was run on re-encoded images.")
    if scale == "short":
        notes.append(f"Not the paper's scale: ours train for 1/{SHORT} of its epochs, probes included.")
    if scale == "demo":
        notes.append(
            "No reproduction: ours are rendered digits with a small network. The paper's numbers stand beside them for "
            "orientation; other data, so no difference is taken."
        )
    return tuple(notes)
