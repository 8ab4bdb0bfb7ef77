"""Detection: everything that determines a Mask R-CNN fine-tuned on a trunk of ours, or on weights from elsewhere.

The defaults are the Mask R-CNN of MoCo's detection code (He et al., CVPR 2020): a C4 backbone, the 1x schedule of 16
images a step. Nothing here imports torch, so a table can be read without it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, Literal, get_args

from ..pretrain.specs.fields import Amount, Count, Positive, Range, Share, Whole, Width
from ..pretrain.specs.measurement import Measurement
from ..pretrain.specs.run import Device, Kind, Run
from ..pretrain.specs.spec import Spec

MOVES_NO_NUMBER = "holds settings, which the spec's digest holds"

DetectionData = Literal["coco", "digit-scenes"]
COCO: Final = "coco"
SCENES: Final = "digit-scenes"
ScheduleName = Literal["1x", "2x", "demo"]
SCHEDULES: tuple[ScheduleName, ...] = get_args(ScheduleName)
Side = Annotated[int, Range(1, cap=10**4)]  # pixels
REFERENCE_BATCH = 16  # images a step, for which published rates and lengths are quoted


@dataclass(frozen=True, kw_only=True)
class Detector(Spec):
    """Mask R-CNN on a ResNet, how it is trained and how it is scored. Lengths are counted in steps."""

    architecture: Literal["c4", "fpn"] = "c4"  # c4: the last stage is the box head; fpn: a pyramid of every stage
    pixels: Literal["rgb", "msra"] = "rgb"  # msra: BGR less its mean, undivided, for weights of Detectron2's model zoo
    batch_size: Width = REFERENCE_BATCH
    iterations: Whole = 90_000
    lr: Positive = 0.02
    momentum: Share = 0.9
    weight_decay: Amount = 1e-4  # none on normalisation layers
    warmup_iterations: Whole = 1_000
    warmup_from: Share = 0.001  # share of the rate at the first step; it rises on a line
    drops: tuple[Count, ...] = (60_000, 80_000)  # steps at which the rate falls
    drop_factor: Positive = 0.1
    train_sizes: tuple[Side, ...] = (640, 672, 704, 736, 768, 800)  # shorter side, one drawn an image; pixels
    test_size: Side = 800
    longest: Side = 1_333  # longer side at most
    flip: Share = 0.5
    anchors: tuple[Side, ...] = (32, 64, 128, 256, 512)  # sides in pixels; three shapes a side
    train_proposals: tuple[Width, Width] = (12_000, 2_000)  # before and after suppression of overlaps; fpn: a level
    test_proposals: tuple[Width, Width] = (6_000, 1_000)
    regions: Width = 512  # of one image, from which the heads learn
    precise_bn: Whole = 200  # batches over which batch-norm statistics are averaged before scoring; 0 = running ones
    detections: Width = 100  # of one image at most; COCO scores no more
    precision: Literal["float32", "tf32"] = "float32"

    def __post_init__(self) -> None:
        super().__post_init__()
        if list(self.drops) != sorted(set(self.drops)):
            raise ValueError(f"Detector.drops must ascend, not {self.drops}")
        for name in ("train_sizes", "anchors"):
            if not getattr(self, name):
                raise ValueError(f"Detector.{name} must name at least one size")
        if self.longest < max(*self.train_sizes, self.test_size):
            raise ValueError(f"Detector.longest {self.longest} must be at least every shorter side")

    def scaled(self, batch_size: int) -> Detector:
        """The same training with another batch: the rate is in proportion to it, every length in inverse proportion."""
        share = batch_size / self.batch_size
        return replace(
            self,
            batch_size=batch_size,
            lr=self.lr * share,
            iterations=round(self.iterations / share),
            warmup_iterations=round(self.warmup_iterations / share),
            drops=tuple(round(drop / share) for drop in self.drops),
        )


# Of FPN (VICReg's code, Bardes et al., ICLR 2022): one anchor a level, proposals by level.
_FPN: dict[str, Any] = {"architecture": "fpn", "train_proposals": (2_000, 1_000), "test_proposals": (1_000, 1_000)}
_TWICE: dict[str, Any] = {"iterations": 180_000, "drops": (120_000, 160_000)}
# Ours, for two CPU cores: small images, few steps. Its numbers only show that the path works.
_DEMO: dict[DetectionData, dict[str, Any]] = {
    "coco": {
        "batch_size": 4,
        "iterations": 200,
        "lr": 0.04,
        "warmup_iterations": 20,
        "drops": (160,),
        "train_sizes": (160, 192),
        "test_size": 192,
        "longest": 320,
        "anchors": (16, 32, 64, 128),
        "train_proposals": (1_000, 200),
        "test_proposals": (500, 100),
        "regions": 64,
        "precise_bn": 10,
    },
    "digit-scenes": {
        "batch_size": 8,
        "iterations": 120,
        "lr": 0.15,  # of 0.1, 0.15 and 0.2 the best
        "warmup_iterations": 20,
        "drops": (100,),
        "train_sizes": (64,),
        "test_size": 64,
        "longest": 64,
        "flip": 0.0,  # a mirrored digit is another one
        "anchors": (8, 12, 16),
        "train_proposals": (300, 100),
        "test_proposals": (200, 50),
        "regions": 32,
        "precise_bn": 10,
        "detections": 20,
    },
}


def detector(
    schedule: ScheduleName, data: DetectionData = "coco", architecture: Literal["c4", "fpn"] = "c4"
) -> Detector:
    """Mask R-CNN by the name of its schedule; `demo` depends on the data."""
    if schedule not in SCHEDULES:
        raise ValueError(f"unknown schedule {schedule!r}; known: {', '.join(SCHEDULES)}")
    if schedule != "demo" and data == SCENES:
        raise ValueError(f"schedule {schedule!r} is of coco; valid for {SCENES}: demo")
    settings = dict(_FPN) if architecture == "fpn" else {}
    settings |= {"1x": {}, "2x": _TWICE, "demo": _DEMO[data]}[schedule]
    return Detector(**settings)


@dataclass(frozen=True, kw_only=True)
class Detection(Measurement):
    """Mask R-CNN on the trunk of a finished pretraining, scored by COCO's average precision.

    Weights from elsewhere replace the trunk of a run without epochs; the run says which architecture they have.
    """

    run: Run
    detector: Detector = Detector()
    data: DetectionData = "coco"
    copy: str = ""  # name of a folder that is not the official COCO 2017, below the data root; "" = the official one
    weights: str = ""  # SHA-256 of a file of weights from elsewhere; "" = the run's own

    def __post_init__(self) -> None:
        super().__post_init__()
        backbone = self.run.backbone
        if backbone.name == "pixels" or backbone.colours != "rgb":
            given = "pixels" if backbone.name == "pixels" else f"a pair of trunks on {backbone.colours}"
            raise ValueError(f"a detector needs one ResNet on rgb images, not {given}")
        if self.copy and self.data == SCENES:
            raise ValueError(f"data {SCENES} are rendered and have no copies, such as {self.copy!r}")
        if self.weights and self.run.epochs:
            raise ValueError(f"weights from elsewhere need a run of 0 epochs, not {self.run.epochs}")
        if self.detector.pixels == "msra" and not self.weights:
            raise ValueError("pixels 'msra' are of Detectron2's own weights; valid for a trunk of ours: rgb")

    @property
    def kind(self) -> Kind:
        """Detection."""
        return "detection"

    @property
    def device(self) -> Device:
        """What the work is meant for: rendered scenes are small enough for a CPU."""
        return "cpu" if self.data == SCENES else "gpu"

    @property
    def updates(self) -> int:
        """Updates of the optimiser from start to end."""
        return self.detector.iterations

    @property
    def batch_size(self) -> int:
        """Images of one update."""
        return self.detector.batch_size

    @property
    def images_folder(self) -> str:
        """Name of the folder of the images below the data root; scenes are rendered and need none."""
        return self.copy or COCO

    @property
    def data_label(self) -> str:
        """The data that it learns and is scored on, as every table names them."""
        name = "COCO 2017" if self.data == COCO else "digit scenes"
        return name + (f" (copy: {self.copy})" if self.copy else "")

    @property
    def data_name(self) -> str:
        """The same: a detection draws no subset."""
        return self.data_label

    @property
    def folder(self) -> str:
        """Folder below the runs directory: inside the folder of the run whose trunk it is."""
        return f"{self.run.folder}/detection-{self.digest}"
