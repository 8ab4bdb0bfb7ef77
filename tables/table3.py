"""Table 3: top-1 and top-5 accuracy after fine-tuning on 1 % and 10 % of ImageNet's labels, ResNet-50.

Protocol: Barlow Twins' (Zbontar et al., ICML 2021, code): backbone and layer train for 20 epochs.
Cost, one seed, one H100 (an estimate from operation counts, not measured): scale `paper` about 7.6 GPU-hours where
Table 2's ImageNet runs are there, and about 11,500 with them; scale `short` a tenth; scale `demo` about 30 seconds on
two CPU cores after Tables 1 and 2.
Expected, as printed: with 1 % top-1 48.3 to 56.1 and top-5 75.5 to 79.8, with 10 % top-1 65.6 to 70.2 and top-5 87.8 to
89.9. Within a column, SimCLR+, BYOL+ and Barlow Twins+ each stand above their plain row.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..pretrain.recipes.scales import Scale, scaled
from ..pretrain.specs.measurement import FineTuning
from ..pretrain.specs.run import Run
from .commands.table import script
from .paper.printed import method_name, printed, printed_columns, printed_rows
from .paper.scales import copied, over_seeds, scale_notes, semi
from .paper.table import BESIDE, Cell, Column, Row, Table

NUMBER = 3
TITLE = "Top-1 and top-5 accuracy (%) after fine-tuning on a share of the labels"
SHARES = {"1%": 0.01, "10%": 0.1}  # printed column group -> share of the labelled images
COSTS: dict[Scale, str] = {
    "paper": "about 7.6 GPU-hours a seed on one H100 after Table 2, 11,500 with its runs (estimate, not measured)",
    "short": "about 0.8 GPU-hours a seed on one H100 after Table 2, 1,150 with its runs (estimate, not measured)",
    "demo": "about 30 seconds a seed on two CPU cores after Tables 1 and 2",
}
ERRATA = (
    "The paper's caption says under linear evaluation, but the whole model is fine-tuned; its text speaks of two "
    "pre-trained models, but three rows have CompMod.",
    "The paper prints 1000 epochs for SwAV; the row's numbers are those of SwAV's published model of 800 epochs, which "
    "ours follows at the paper's scale.",
    "Theirs are tied in both columns of 10 %: SwAV and Barlow Twins+ are both printed in bold.",
    "The protocol's source gives its settings for 1 % alone; ours use them for 10 % too, and count the last epoch.",
)
LISTS = "ImageNet's 1 % and 10 % are those of the lists that SimCLR's authors published; of copies, a balanced draw."


def table3(scale: Scale = "paper", seeds: int = 1, copies: Mapping[str, str] | None = None) -> Table:
    """Table 3 at `scale`; arguments as of `build_table`. Its runs are those of Table 2's ImageNet columns."""
    copies, demo = copies or {}, scale == "demo"
    data = copied(_run("simclr", scale), copies).data_label + (" (demo)" if demo else "")
    columns = []
    for group, _, metric in printed_columns(NUMBER):
        if group in SHARES:
            top = metric.replace("top", "top-")
            heading = f"{group} of {data}"
            column = Column(group=group, name=top, heading=heading)
            columns.append(Column(group=group, name=top, heading=heading, parts=BESIDE) if demo else column)
        else:
            columns.append(Column(group="", name="Epochs", heading=f"Pretraining on {data}", parts=BESIDE, unit="fact"))
    rows = []
    for label in printed_rows(NUMBER):
        method, cells = method_name(label), []
        run = copied(_run(method, scale), copies)
        for group, name, metric in printed_columns(NUMBER):
            number = printed(NUMBER, label, group, name, metric)
            if group in SHARES:
                specs = _specs(run, SHARES[group], scale, seeds)
                cells.append(Cell(metric=metric, paper=number, specs=specs))
            else:
                cells.append(Cell(metric=metric, paper=number, fact=str(run.epochs)))
        rows.append(Row(label=label, method=method, cells=tuple(cells)))
    backbone = run.backbone
    trunk = f"ResNet-{backbone.name.removeprefix('resnet')}" + (f" of width {backbone.width}" if demo else "")
    return Table(
        number=NUMBER,
        title=f"{TITLE}, {trunk}",
        scale=scale,
        columns=tuple(columns),
        rows=tuple(rows),
        cost=COSTS[scale],
        notes=(*scale_notes(scale, copies, ["imagenet"]), *([] if demo else [LISTS]), *ERRATA),
    )


def _run(method: str, scale: Scale) -> Run:
    return scaled(method, "imagenet", scale)


def _specs(run: Run, share: float, scale: Scale, seeds: int) -> tuple[FineTuning, ...]:
    return over_seeds(run, seeds, lambda seeded: semi(seeded, share, scale))


if __name__ == "__main__":
    script(NUMBER)
