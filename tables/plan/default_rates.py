"""Default rates: how many images a second a device is expected to train on, before anything was measured.

Operations of the trunk (`network_size.py`) over what one device sustains, times the cost of a step relative to SimCLR's
that `compmod methods` prints.
"""

from __future__ import annotations

import functools

from ...pretrain.recipes.presets import preset
from ...pretrain.specs.methods import METHODS
from ...pretrain.specs.run import Backbone, Device, Projector, Run
from .network_size import forward_operations

TrunkKey = tuple[Device, Backbone, int, str]  # with the size of the first view in pixels and the precision
MethodKey = tuple[str, str, tuple[int, ...], Projector]  # method, its training, sizes of its views, head

# Operations a second. In NVIDIA's published ResNet-50 training (DeepLearningExamples; 24.5 GFLOP an image) a V100 does
# 9.0 of 15.7 TFLOP/s in float32; an A100 does 23 in TF32 and 61 in mixed precision, where memory is the limit.
GPU_OPERATIONS_PER_S: dict[str, float] = {
    "float32": 23e12,  # estimate: a third of an H100's 67 TFLOP/s, for small images and repeatable convolutions
    "tf32": 38e12,  # estimate: the A100's, times 1.64, the ratio of their memory bandwidths
    "bfloat16": 99e12,  # estimate: likewise
    "float64": 11e12,  # estimate: a third of 34 TFLOP/s
}
CORE_OPERATIONS_PER_S: dict[int, float] = {  # of one core of an Intel Xeon with AVX-512, by the width of the trunk
    8: 23e9,  # measured: the digits' brief recipe, 1,850 images/s of SimCLR, torch 2.11
    16: 63e9,  # measured: SimCLR on digits, 1,290 images/s
    64: 118e9,  # measured: tests/benchmarks/hypergradient.py, ResNet-18 at 32 px
}
POOLED = 0.31  # of that on the small maps behind a max-pool: measured, SimCLR at scale laptop, 1,500 images/s
LOADED_IMAGES_PER_S = 1_600.0  # estimate: 16 cores beside a GPU, which decode 100 large images a second each
PASSES = 3  # of a training step: forward, and backward, which counts for two
SIMCLR_VIEWS = 2  # of the step that METHODS' costs are relative to

# With "+", but not the exact two-level step; measured as METHODS' costs are, on SimCLR+ and BYOL+, torch 2.11.
ONE_LEVEL: dict[str, float] = {"joint": 1.05, "comp-only": 1.1, "none": 1.1}  # over the plain method's step
OTHER_HYPERGRADIENT: dict[str, float] = {
    "jvp": 1.0,
    "finite-difference": 0.95,  # over the exact one's
    "unrolled": 3.0,  # tests/benchmarks/hypergradient.py, ResNet-18
}
UNMEASURED, UNMEASURED_PLUS = 1.0, 3.0  # where METHODS has no cost yet: that of SimCLR


def view_sizes(run: Run) -> tuple[int, ...]:
    """Sides of a sample's views in pixels."""
    own = run.data.view_size
    return tuple(view.size or own for view in run.views)


def trunk_key(run: Run) -> TrunkKey:
    """What decides the time of a pass: runs of equal keys have comparable rates."""
    return run.device, run.backbone, view_sizes(run)[0], run.precision


def method_key(run: Run) -> MethodKey:
    """What decides, on one trunk, the time of a step: runs of equal keys have the same rate."""
    return run.method, training_of(run), view_sizes(run), run.projector


def training_of(run: Run) -> str:
    """How "+" is trained: joint, comp-only, none, jvp, unrolled or finite-difference; "" without "+"."""
    if not run.plus:
        return ""
    return run.compmod.hypergradient if run.compmod.training == "two-level" else run.compmod.training


def default_images_per_second(run: Run) -> float:
    """Of one device; infinite for a trunk without operations."""
    device, backbone, size, precision = trunk_key(run)
    operations = relative_cost(run) * SIMCLR_VIEWS * PASSES * forward_operations(_one_trunk(backbone), size)
    rate = operations_per_second(device, backbone, precision) / operations if operations else float("inf")
    return min(rate, LOADED_IMAGES_PER_S) if run.data.large else rate


def relative_cost(run: Run) -> float:
    """Time of an image over SimCLR's two views on the same trunk: METHODS' figure, for the views that `run` has."""
    return _relative_cost(run.base_method, training_of(run), run.backbone, view_sizes(run))


@functools.cache
def _relative_cost(method: str, training: str, backbone: Backbone, sizes: tuple[int, ...]) -> float:
    entry = METHODS[method]
    if training in OTHER_HYPERGRADIENT:
        cost = (entry.plus_cost or UNMEASURED_PLUS) * OTHER_HYPERGRADIENT[training]
    else:
        cost = (entry.cost or UNMEASURED) * ONE_LEVEL.get(training, 1.0)
    whole = forward_operations(_one_trunk(backbone), sizes[0])
    views = sum(forward_operations(_one_trunk(backbone), size) for size in sizes) / whole if whole else len(sizes)
    measured_views = len(preset(method, "cifar10").views)
    return cost * views / measured_views


@functools.cache
def _one_trunk(backbone: Backbone) -> Backbone:
    """A pair of trunks as one: METHODS' figure for the method that has a pair is relative to one trunk."""
    return Backbone(name=backbone.name, width=backbone.width, stem=backbone.stem, inner=backbone.inner)


def operations_per_second(device: Device, backbone: Backbone, precision: str) -> float:
    """What one device sustains; on a narrow trunk, a core does much less than it can."""
    if device == "gpu":
        return GPU_OPERATIONS_PER_S[precision]
    measured = [width for width in CORE_OPERATIONS_PER_S if width <= backbone.width]
    whole = CORE_OPERATIONS_PER_S[max(measured, default=min(CORE_OPERATIONS_PER_S))]
    return whole * (POOLED if backbone.stem == "small-pool" else 1)
