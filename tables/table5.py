"""Table 5: average precision of object detection and instance segmentation on COCO, ResNet-50-C4 Mask R-CNN.

Protocol: weights pretrained on ImageNet as in Table 2, then Mask R-CNN with a C4 backbone, 90,000 iterations of 16
images (He et al., CVPR 2020, code).
Cost, one seed, one H100 (an estimate, not measured): scale `paper` about 384 GPU-hours for eight rows of detection
where the ImageNet runs are there; scale `short` a tenth; scale `demo` about 2.9 minutes on two CPU cores, on digit
scenes.
Expected, as printed: boxes AP 37.6 to 39.7, AP50 57.5 to 59.3, AP75 40.2 to 43.1; masks AP 33.0 to 35.4, AP50 54.2 to
56.2, AP75 35.0 to 36.9.
"""

from __future__ import annotations

from dataclasses import replace

from ..pretrain.recipes.scales import SHORT, Scale, scaled
from ..pretrain.specs.run import Run
from ..transfer.spec import COCO, SCENES, Detection, Detector, detector
from .paper.builder import PrintedColumn, TableBuilder, UnprintedRow
from .paper.printed import method_name

TASKS = {"Object Det.": "bbox", "Instance Seg.": "segm"}  # printed column group -> COCO's name of the task
CITED_ROWS = ("Supervised",)
CITED = "cited: its weights are not ours"
DEMO_ROWS = ("Supervised", "SimCLR", "SimCLR+")  # what two cores do in four minutes
NO_DEMO = "left out of the demo, which is to take four minutes"
COSTS: dict[Scale, str] = {
    "paper": "about 384 GPU-hours a seed on one H100 after Table 2 (estimate, not measured)",
    "short": "about 39 GPU-hours a seed on one H100 after Table 2 (estimate, not measured)",
    "demo": "about 2.9 minutes a seed on two CPU cores, on digit scenes",
}
ERRATA = (
    "The paper's caption says Mask P-CNN, for Mask R-CNN; its paragraph on data sets says semantic segmentation, for "
    "instance segmentation.",
    "The paper does not state the detector; the Supervised row is known from a C4 backbone with the 1x schedule.",
    "The sources print mask AP 33.3 for SimCLR, 33.1 for SwAV, 33.2 for BYOL, 33.2 for SimSiam and 34.3 for Barlow "
    "Twins, and box AP75 40.3 for SwAV.",
    "The SimCLR, SwAV, BYOL and SimSiam rows probably have 200 epochs of pretraining, the rows with CompMod "
    "more: the paper's table mixes budgets.",
    "The text says that CompMod improves every task, but SimCLR+ has less mask AP75 than SimCLR and the same mask "
    "AP50, Barlow Twins+ less box AP than Barlow Twins.",
)


class Table5(TableBuilder):
    """Every printed row is a method, every printed column an average precision of one task."""

    number = 5
    title = "Average precision of detection and instance segmentation on COCO, Mask R-CNN, ResNet-50-C4"
    datasets = ("imagenet", COCO)
    unit = "AP"
    costs = COSTS
    errata = ERRATA

    def heading(self, column: PrintedColumn) -> str:
        """The task, and which of its data are copies."""
        run = self.pretraining("simclr", "imagenet")
        labels = (Detection(run=run, copy=self.copies.get(COCO, "")).data_label, run.data_label)
        return ", ".join([column.group, *(label for label in labels if "copy" in label)])

    def run(self, row: str, column: PrintedColumn) -> Run | None:
        runs = row in DEMO_ROWS if self.demo else row not in CITED_ROWS
        return self.pretraining(method_name(row), "imagenet") if runs else None

    def measurement(self, run: Run, column: PrintedColumn) -> Detection:
        if self.demo:
            return Detection(run=run, detector=detector("demo", SCENES), data=SCENES)
        settings = shortened(detector("1x")) if self.scale == "short" else detector("1x")
        return Detection(run=run, detector=settings, copy=self.copies.get(COCO, ""))

    def metric(self, column: PrintedColumn) -> str:
        return f"{TASKS[column.group]}/{column.name}"

    def why_empty(self, row: str, column: PrintedColumn) -> str:
        return NO_DEMO if self.demo else CITED

    def unprinted_rows(self) -> tuple[UnprintedRow, ...]:
        if not self.demo:
            return ()
        run = replace(scaled("simclr", "digits", "demo"), epochs=0)
        return (UnprintedRow("untrained network", run, "The network as it is drawn, before any pretraining."),)


def shortened(settings: Detector) -> Detector:
    """The same detector with a tenth of the iterations."""
    return replace(
        settings,
        iterations=settings.iterations // SHORT,
        warmup_iterations=settings.warmup_iterations // SHORT,
        drops=tuple(drop // SHORT for drop in settings.drops),
    )


table5 = Table5.build

if __name__ == "__main__":
    from .commands.table import script

    script(5)
