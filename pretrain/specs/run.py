"""Run: everything that determines one pretraining.

Every default below is recipe S for CIFAR-10 (the trainer of the W-MSE paper, Ermolov et al., ICML 2021); `recipes/`
holds what other data sets and methods change. Nothing here imports torch, so a table can be read without it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

from .datasets import Dataset, known
from .fields import ABOVE_ZERO, Amount, Count, Positive, Range, Share, Whole, Width, is_name
from .methods import METHODS
from .own_data import OwnData, check_own_name
from .spec import Spec

PLUS = "+"  # appended to a method's name: CompMod around it
# linear: over a frozen backbone; import: weights that others trained, in place of a pretraining
Kind = Literal["pretraining", "probes", "linear", "fine-tuning", "detection", "import"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Device = Literal["gpu", "cpu"]  # what work is meant for: one GPU, or one core of a CPU
Stem = Literal["small", "small-pool", "large", "small-padded"]  # the last: solo-learn's CIFAR trunks
Precision = Literal["float32", "tf32", "bfloat16", "float64"]


@dataclass(frozen=True, kw_only=True)
class Augmentation(Spec):
    """One view: the probability and strength of each operation.

    The order is that of recipe S: colour jitter, grey, rotation, crop, flip, blur, solarize, normalise. It is that of
    the W-MSE code, which has no rotation and no solarize; the paper's Table 4 and BYOL need these two.
    """

    size: Annotated[int, Range(0, cap=4096)] = 0  # side of the view in pixels; 0 = the data set's own view size
    jitter: Share = 0.8  # probability of colour jitter
    brightness: Amount = 0.4  # largest change of brightness by jitter
    contrast: Amount = 0.4  # largest change of contrast by jitter
    saturation: Amount = 0.4  # largest change of saturation by jitter
    hue: Annotated[float, Range(0, 0.5)] = 0.1  # largest change of hue by jitter
    grey: Share = 0.1  # probability of an image without colour
    rotation: Share = 0.0  # probability of a rotation
    rotation_degrees: Amount = 15.0  # largest angle, either way
    crop: Share = 1.0  # probability of a random crop; otherwise the whole image is resized to `size`
    crop_min: Annotated[float, Range(ABOVE_ZERO, 1)] = 0.2  # smallest share of the image's area in a crop
    crop_max: Annotated[float, Range(ABOVE_ZERO, 1)] = 1.0  # largest share
    flip: Share = 0.5  # probability of a flip, left to right
    blur: Share = 0.0  # probability of a Gaussian blur
    blur_sigma_min: Positive = 0.1  # its smallest standard deviation, pixels
    blur_sigma_max: Positive = 2.0  # its largest, pixels
    solarize: Share = 0.0  # probability of inverted bright pixels

    def __post_init__(self) -> None:
        super().__post_init__()
        for least, most in (("crop_min", "crop_max"), ("blur_sigma_min", "blur_sigma_max")):
            if getattr(self, least) > getattr(self, most):
                raise ValueError(
                    f"Augmentation.{least} {getattr(self, least)} must be at most {most} {getattr(self, most)}"
                )


@dataclass(frozen=True, kw_only=True)
class Backbone(Spec):
    """The network that is kept after training. `pixels` is no network: its features are the image itself (a floor)."""

    name: Literal["resnet10", "resnet18", "resnet34", "resnet50", "pixels"] = "resnet18"  # architecture
    width: Annotated[int, Range(1, cap=10**4)] = 64  # channels of the first stage; the last has 8 times as many
    stem: Stem = "small"  # 3x3 (32 px), 3x3 + max-pool (64 px), 7x7 + max-pool, 3x3 with a border of 2 (34 px)
    zero_residual: bool = False  # residual branches start at zero, by the scale of the last batch norm of each
    colours: Literal["rgb", "lab", "ycbcr"] = "rgb"  # not rgb: two trunks, one for lightness, one for colour (CMC)
    inner: Annotated[int, Range(1, cap=64)] = 1  # a bottleneck's own channels over the stage's; 2 in wide_resnet50_2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.inner != 1 and self.name != "resnet50":
            raise ValueError(f"Backbone.inner {self.inner} is of bottlenecks, which {self.name} has none of; use 1")


@dataclass(frozen=True, kw_only=True)
class Projector(Spec):
    """The MLP from representations to embeddings: `layers` linear layers, batch norm and ReLU between them."""

    # Linear layers: the paper's "3-layer MLP"; the published W-MSE-trainer rows used 2.
    layers: Annotated[int, Range(1, cap=100)] = 3
    hidden: Width = 1024  # units of the layers before the last
    out: Width = 64  # units of the last: the width of an embedding


@dataclass(frozen=True, kw_only=True)
class Optimizer(Spec):
    """Update rule and base learning rate."""

    name: Literal["adam", "sgd", "lars", "larc"] = "adam"  # update rule
    lr: Positive = 3e-3  # base learning rate, the peak of the schedule
    lr_batch: Whole = 0  # batch size that `lr` is quoted for; 0 = `lr` holds for any batch
    weight_decay: Amount = 1e-6  # added to the gradient, times the weight
    momentum: Share = 0.9  # of SGD, LARS and LARC
    trust: Positive = 0.02  # coefficient of the layer-wise rates of LARS and LARC
    clip: bool = True  # LARS and LARC: clip the trust ratio so that the local rate never exceeds lr (solo-learn)
    vector_lr: Amount = 0.0  # rate of biases and batch norm, quoted as `lr` is; 0 = `lr` (Barlow Twins code)
    constant: Literal["none", "predictor"] = "none"  # the part that always keeps the peak rate (SimSiam, section 4.2)

    def learning_rate(self, batch_size: int) -> float:
        """Peak learning rate for this batch size."""
        return self.lr * batch_size / self.lr_batch if self.lr_batch else self.lr


@dataclass(frozen=True, kw_only=True)
class Schedule(Spec):
    """Learning rate over time: linear warm-up, then steps or a cosine."""

    kind: Literal["steps", "cosine"] = "steps"  # how the rate falls after warm-up
    warmup_steps: Whole = 500  # updates over which the rate rises
    warmup_epochs: Amount = 0.0  # added to warmup_steps
    warmup_from: Amount = 0.0  # learning rate that warm-up starts from: the first step is already one step above
    drops: tuple[Amount, ...] = (50.0, 25.0)  # epochs before the end at which the rate falls (steps)
    drop_factor: Positive = 0.2  # of the rate, at each drop (steps)
    final: Share = 0.0  # rate at the end, as a share of the peak (cosine)
    moves: Literal["step", "epoch"] = "step"  # how often the cosine falls (MoCo and SimSiam code: once an epoch)


@dataclass(frozen=True, kw_only=True)
class Comprehensive(Spec):
    """CompMod: fusion, coding-rate losses and the two-level step (paper, Eq. 5-9, Algorithm 1)."""

    lambda1: Amount = 0.01  # weight of L_mcr in the inner step; paper, Table 6
    lambda2: Amount = 0.1  # weight of L_comp in the outer step; paper, Table 6
    order: Annotated[int, Range(1, cap=100)] = 4  # Taylor order; MEC's default
    squared_error: Positive = 64.0  # decoding error eps^2 of the coding length; MEC's default
    scale: Literal["literal", "per_sample"] = "literal"  # weight of the coding rate: as Eq. 6 and 7 print it, or MEC's
    fusion: Literal["concatenate", "mixup", "embedding"] = "concatenate"  # of views, before g_xi; paper, Table 7
    alpha: Share | Literal["uniform"] = "uniform"  # mixup only: a fixed share of view 1, or one draw a batch
    flow: Literal["through", "stop"] = "through"  # does the gradient of L_mcr reach the trunk through h-hat?
    # Of the coding length's lambda; auto = on for embeddings wider than 64.
    warmup: Literal["auto", "on", "off"] = "auto"
    warmup_epochs: Amount = 10.0  # over which that lambda rises
    # What g_xi learns from: the second level and L_comp (the paper), one sum of all losses, or L_comp alone.
    training: Literal["two-level", "joint", "comp-only"] = "two-level"
    # How the gradient of the second level is computed: jvp and unrolled are exact, and none leaves it out.
    hypergradient: Literal["jvp", "unrolled", "finite-difference", "none"] = "jvp"
    virtual_step: Literal["plain", "optimizer"] = "plain"  # down the gradient (Eq. 9), or as the recipe's optimiser
    virtual_lr: Amount | None = None  # step size of a plain virtual step; None = the current learning rate
    # Batch of the outer loss. "next" (jvp alone): its gradient comes with the next step, at the weights that the
    # optimiser made; so it costs no pass of its own, and g_xi learns of a step one step later. That is the exact
    # gradient of the virtual step under plain SGD; under other optimisers see two_level/next_batch.py.
    outer_batch: Literal["same", "next"] = "same"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.order > 1 and self.order % 2:
            reason = "an odd polynomial rewards one huge eigenvalue"
            raise ValueError(f"Comprehensive.order must be 1 or even, not {self.order}: {reason}")
        if self.outer_batch == "next" and (self.training, self.hypergradient) != ("two-level", "jvp"):
            raise ValueError(
                "Comprehensive.outer_batch next needs training two-level and hypergradient jvp; valid: same"
            )
        if self.virtual_step == "optimizer" and (self.outer_batch != "same" or self.virtual_lr is not None):
            raise ValueError("Comprehensive.virtual_step optimizer needs outer_batch same and no virtual_lr of its own")


@dataclass(frozen=True, kw_only=True)
class Run(Spec):
    """One pretraining. `method` is a key of METHODS, with "+" appended for CompMod around it."""

    method: str  # the first word of a command line
    dataset: str  # what to train on
    seed: Annotated[int, Range(0, cap=2**63 - 1)] = 0  # of initial weights, order and views
    copy: str = ""  # name of a re-encoded copy of the data set, a folder below the data root; "" = the official files
    train_images: Whole = 0  # pretrain and probe on this many training images, a seeded draw; 0 = all
    epochs: Whole = 1000  # passes over the training images
    batch_size: Annotated[int, Range(2, cap=10**6)] = 512  # images an update, over all processes
    views: tuple[Augmentation, ...] = (Augmentation(), Augmentation())
    backbone: Backbone = Backbone()
    projector: Projector = Projector()
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    compmod: Comprehensive = Comprehensive()
    precision: Precision = "float32"  # float64: for comparisons, not for training
    norm_groups: Count = 1  # parts of the batch, one a process, with separate batch-norm statistics; 1 = none
    options: tuple[tuple[str, int | float | str], ...] = ()  # the method's own settings; see compmod methods METHOD
    own: OwnData | None = None  # what was found in --data-folder, for images of the user's own

    def __post_init__(self) -> None:
        if isinstance(self.options, tuple):  # a switch is 1 or 0, so that True and 1 are one experiment
            object.__setattr__(self, "options", tuple(map(_counted, self.options)))
        super().__post_init__()
        if self.base_method not in METHODS:
            raise ValueError(f"unknown method {self.method!r}; known: {', '.join(METHODS)}, each also with '+'")
        if self.own is None:
            known(self.dataset)
        else:
            check_own_name(self.dataset)
        if not self.plus and self.compmod != Comprehensive():
            raise ValueError(f"compmod settings need a method with '+', such as {self.method + PLUS!r}")
        entry = METHODS[self.base_method]
        if self.plus and not entry.plus:
            raise ValueError(f"{self.method!r} does not exist: {entry.label} has no two-view embedding for CompMod")
        if len(self.views) < entry.views:
            raise ValueError(f"Run.views of {self.method} must be at least {entry.views}, not {len(self.views)}")
        if self.backbone.name == "pixels" and self.epochs:
            raise ValueError("backbone pixels has no parameters to train; use --epochs 0")
        if self.train_images and self.train_images < self.batch_size:
            raise ValueError(f"train_images {self.train_images} is less than one batch of {self.batch_size}")
        if self.batch_size % self.norm_groups:
            raise ValueError(f"Run.norm_groups {self.norm_groups} must divide the batch of {self.batch_size}")
        if not math.isfinite(self.peak_lr):
            raise ValueError(f"Optimizer.lr {self.optimizer.lr} at a batch of {self.batch_size} is not finite")
        if not is_name(self.copy):
            raise ValueError(f"Run.copy must be the name of a folder below the data folder, not {self.copy!r}")
        if self.own and self.copy:
            raise ValueError(f"{self.dataset} is data of your own and has no copies; leave out copy {self.copy!r}")
        object.__setattr__(self, "options", tuple(sorted((str(key), value) for key, value in self.options)))

    @property
    def run(self) -> Run:
        """The pretraining itself: a measurement names another one here."""
        return self

    @property
    def data(self) -> Dataset:
        """What is known of the data set, with the mean and deviation by which images are normalised for the trunk."""
        return self.own.entry(self.dataset) if self.own else known(self.dataset)

    @property
    def kind(self) -> Kind:
        """What kind of work the spec describes."""
        return "pretraining"

    @property
    def protocol(self) -> str:
        """The same in words; a measurement says more here."""
        return self.kind

    @property
    def device(self) -> Device:
        """What the work is meant for: embedded images, and a network that would leave a GPU idle, suit a CPU."""
        tiny = self.backbone.name in ("resnet10", "pixels") and self.backbone.width <= 16
        return "cpu" if tiny or not self.data.folder else "gpu"

    def stated(self) -> dict[str, Any]:
        """What the results of a measurement say of the run, beside its spec: nothing of one that was trained here."""
        return {}

    @property
    def updates(self) -> int:
        """Updates of the optimiser from start to end."""
        return self.epochs * (self.images_per_epoch // self.batch_size)

    @property
    def images_per_epoch(self) -> int:
        """Training images that an epoch sees, without those of the incomplete last batch."""
        dataset = self.data
        images = self.train_images or dataset.train_images + dataset.unlabelled_images
        return images // self.batch_size * self.batch_size

    @property
    def labelled_images(self) -> int:
        """Labelled training images that a measurement may use."""
        everything = self.data.train_images
        return min(self.train_images or everything, everything)

    @property
    def plus(self) -> bool:
        """Whether CompMod is around the method."""
        return self.method.endswith(PLUS)

    @property
    def base_method(self) -> str:
        """The key of METHODS: the name without "+"."""
        return self.method.removesuffix(PLUS)

    @property
    def label(self) -> str:
        """The method as the paper prints it, such as BarlowTwins+."""
        return METHODS[self.base_method].label + (PLUS if self.plus else "")

    @property
    def peak_lr(self) -> float:
        """Learning rate after warm-up, scaled by the batch where the recipe says so."""
        return self.optimizer.learning_rate(self.batch_size)

    @property
    def data_name(self) -> str:
        """The data set and the copy, whole."""
        return self.data.label + (f" (copy: {self.copy})" if self.copy else "")

    @property
    def data_label(self) -> str:
        """The data as every table names it: data set, copy and subset."""
        return self.data_name + (f", {self.train_images} images" if self.train_images else "")

    @property
    def folder(self) -> str:
        """Folder below the runs directory."""
        return f"{self.method}-{self.dataset}-{self.digest}"


def _counted(option: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(int(part) if isinstance(part, bool) else part for part in option)
