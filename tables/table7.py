"""Table 7: linear accuracy on CIFAR-10 of BYOL+ by how it fuses two views, and without the two-level step, ResNet-18.

Cost, one seed, one H100 (an estimate from operation counts, not measured): scale `paper` about 96 GPU-hours for 8
runs, one of them Table 1's; scale `short` a tenth; scale `demo` about 20 seconds on two CPU cores.
Expected, as printed: Mixup 91.03 to 91.87, M(h) 93.96, which is Table 1's BYOL+, M(z) 92.58, no bi-level 92.05.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..pretrain.recipes.fusions import fused
from ..pretrain.recipes.scales import Scale
from .commands.table import script
from .paper.printed import paper_table, printed_columns, printed_rows
from .paper.scales import ablated, over_seeds, probes, scale_notes
from .paper.table import ALL_PARTS, BESIDE, Cell, Column, Row, Table

NUMBER = 7
METHOD = "byol+"
TITLE = "Top-1 accuracy (%) of a linear classifier by fusion and optimisation"
COSTS: dict[Scale, str] = {
    "paper": "about 96 GPU-hours a seed on one H100, 13 of them for a run of Table 1 (estimate, not measured)",
    "short": "about 10 GPU-hours a seed on one H100 (estimate, not measured)",
    "demo": "about 20 seconds a seed on two CPU cores",
}
ERRATA = (
    "No bi-level is printed under the last column, M(z), and its fusion is not stated; ours fuses as M(h) does.",
    "The text draws alpha from U(0, 1), the table fixes it; the width of g_xi under Mixup is not given. Ours fix "
    "alpha, and g_xi takes representations of one view's width.",
    "Four of the five Mixup numbers are below plain BYOL in Table 1; only alpha = 0.5 is above.",
)
ONE_STEP = "one step"  # the column of the number that the paper prints without one
MEANINGS = {
    "Acc.": "CompMod around BYOL with the fusion of the column.",
    "No bi-level": "CompMod around BYOL, every loss minimised in one step.",
}


def table7(scale: Scale = "paper", seeds: int = 1, copies: Mapping[str, str] | None = None) -> Table:
    """Table 7 at `scale`; arguments as of `build_table`. The paper's last line has one number of its own."""
    copies, demo = copies or {}, scale == "demo"
    base = ablated(METHOD, scale, copies)
    data = base.data_label + (" (demo)" if demo else "")
    columns = [
        Column(group=group, name=name or ONE_STEP, heading=f"{group}, {data}", parts=BESIDE if demo else ALL_PARTS)
        for group, name, _ in printed_columns(NUMBER)
    ]
    rows = []
    for label in printed_rows(NUMBER):
        cells = []
        for group, name, metric in printed_columns(NUMBER):
            number = paper_table(NUMBER).get((label, group, name, metric))
            run = fused(base, name or label) if number else None
            specs = over_seeds(run, seeds, lambda seeded: probes(seeded, scale)) if run else ()
            cells.append(Cell(metric="linear/top1", paper=number, specs=specs))
        rows.append(Row(label=label, method=METHOD, cells=tuple(cells), meaning=MEANINGS[label]))
    width = f" of width {base.backbone.width}" if demo else ""
    return Table(
        number=NUMBER,
        title=f"{TITLE}, {base.label}, ResNet-{base.backbone.name.removeprefix('resnet')}{width}",
        scale=scale,
        columns=tuple(columns),
        rows=tuple(rows),
        cost=COSTS[scale],
        notes=(*scale_notes(scale, copies, ["cifar10"]), *ERRATA),
    )


if __name__ == "__main__":
    script(NUMBER)
