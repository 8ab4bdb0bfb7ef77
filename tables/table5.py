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

from collections.abc import Mapping
from dataclasses import replace

from ..pretrain.recipes.scales import SHORT, Scale, scaled
from ..pretrain.specs.run import Run
from ..transfer.spec import COCO, SCENES, Detection, detector
from .commands.table import script
from .paper.printed import method_name, printed, printed_columns, printed_rows
from .paper.scales import copied, over_seeds, scale_notes
from .paper.table import ALL_PARTS, BESIDE, Cell, Column, Row, Table

NUMBER = 5
TITLE = "Average precision of detection and instance segmentation on COCO, Mask R-CNN, ResNet-50-C4"
TASKS = {"Object Det.": "bbox", "Instance Seg.": "segm"}  # printed column group -> COCO's name of the task
COSTS: dict[Scale, str] = {
    "paper": "about 384 GPU-hours a seed on one H100 after Table 2 (estimate, not measured)",
    "short": "about 39 GPU-hours a seed on one H100 after Table 2 (estimate, not measured)",
    "demo": "about 2.9 minutes a seed on two CPU cores, on digit scenes",
}
CITED = "cited: its weights are not ours"
CITED_ROWS = ("Supervised",)
UNTRAINED = "untrained network"
DEMO_ROWS = ("Supervised", "SimCLR", "SimCLR+")  # what two cores do in four minutes
NO_DEMO = "left out of the demo, which is to take four minutes"
ERRATA = (
    "The paper's caption says Mask P-CNN, for Mask R-CNN; its paragraph on data sets says semantic segmentation, for "
    "instance segmentation.",
    "The paper does not state the detector; the Supervised row is known from a C4 backbone with the 1x schedule.",
    "The sources print mask AP 33.3 for SimCLR, 33.1 for SwAV, 33.2 for BYOL, 33.2 for SimSiam and 34.3 for Barlow "
    "Twins, and box AP75 40.3 for SwAV.",
    "The SimCLR, SwAV, BYOL and SimSiam rows are believed to be of 200 epochs of pretraining, the rows with CompMod of "
    "more: theirs mixes budgets.",
    "CompMod is said to improve every task: SimCLR+ has less mask AP75 than SimCLR and the same mask AP50, Barlow "
    "Twins+ less box AP than Barlow Twins.",
)


def table5(scale: Scale = "paper", seeds: int = 1, copies: Mapping[str, str] | None = None) -> Table:
    """Table 5 at `scale`; arguments as of `build_table`."""
    copies, demo = copies or {}, scale == "demo"
    example = Detection(run=copied(scaled("simclr", "imagenet", scale), copies), copy=copies.get(COCO, ""))
    named = [label for label in (example.data_label, example.run.data_label) if "copy" in label]
    columns = [
        Column(
            group=group,
            name=name,
            heading=", ".join([group, *named]),
            parts=BESIDE if demo else ALL_PARTS,
            unit="AP",
        )
        for group, name, _ in printed_columns(NUMBER)
    ]
    rows = [_floor(seeds)] if demo else []
    for label in printed_rows(NUMBER):
        specs: tuple[Detection, ...] = ()
        why_empty = NO_DEMO if demo else CITED
        if label in DEMO_ROWS if demo else label not in CITED_ROWS:
            run = copied(scaled(method_name(label), "imagenet", scale), copies)
            specs, why_empty = _specs(run, scale, seeds, copies.get(COCO, "")), ""
        cells = [
            Cell(
                metric=f"{TASKS[group]}/{name}",
                paper=printed(NUMBER, label, group, name, metric),
                specs=specs,
                why_empty=why_empty,
            )
            for group, name, metric in printed_columns(NUMBER)
        ]
        rows.append(Row(label=label, method=method_name(label), cells=tuple(cells)))
    return Table(
        number=NUMBER,
        title=TITLE,
        scale=scale,
        columns=tuple(columns),
        rows=tuple(rows),
        cost=COSTS[scale],
        notes=(*scale_notes(scale, copies, ["imagenet", COCO]), *ERRATA),
    )


def _specs(run: Run, scale: Scale, seeds: int, copy: str = "") -> tuple[Detection, ...]:
    """Mask R-CNN on `run` at `scale`, a spec a seed; `copy` is the folder of what is not the official COCO 2017."""
    if scale == "demo":
        settings = detector("demo", SCENES)
        return over_seeds(run, seeds, lambda seeded: Detection(run=seeded, detector=settings, data=SCENES))
    settings = detector("1x")
    if scale == "short":
        settings = replace(
            settings,
            iterations=settings.iterations // SHORT,
            warmup_iterations=settings.warmup_iterations // SHORT,
            drops=tuple(drop // SHORT for drop in settings.drops),
        )
    return over_seeds(run, seeds, lambda seeded: Detection(run=seeded, detector=settings, copy=copy))


def _floor(seeds: int) -> Row:
    """The demo's trunk with its random weights, trained on as many scenes."""
    specs = _specs(replace(scaled("simclr", "digits", "demo"), epochs=0), "demo", seeds)
    cells = (Cell(metric=f"{TASKS[group]}/{name}", specs=specs) for group, name, _ in printed_columns(NUMBER))
    return Row(label=UNTRAINED, cells=tuple(cells), meaning="The network as it is drawn, before any pretraining.")


if __name__ == "__main__":
    script(NUMBER)
