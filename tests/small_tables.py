"""Tables of pretrainings that take two seconds each, for tests that really submit them. On the path of every test."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from compmod.pretrain.run import Augmentation, Backbone, Evaluation, Projector, Run, Schedule
from compmod.tables.table import Cell, Column, Row, Table

_VIEW = Augmentation(flip=0.0)


def tiny_run(seed: int = 0, **changes: Any) -> Run:
    """SimCLR on 96 digits, a narrow network."""
    settings: dict[str, Any] = {
        "method": "simclr",
        "dataset": "digits",
        "train_images": 96,
        "batch_size": 32,
        "epochs": 2,
        "views": (_VIEW, _VIEW),
        "backbone": Backbone(name="resnet10", width=4),
        "projector": Projector(layers=2, hidden=16, out=8),
        "schedule": Schedule(warmup_steps=0),
    }
    return Run(seed=seed, **(settings | changes))


def tiny_table(seeds: Iterable[int] = range(2), **changes: Any) -> Table:
    """One cell: the linear probe of a tiny run for each seed."""
    specs = tuple(Evaluation(run=tiny_run(seed, **changes), linear_epochs=2) for seed in seeds)
    cell = Cell(metric="linear/top1", specs=specs)
    return Table(
        number=1,
        title="Tiny",
        scale="demo",
        columns=(Column(group="digits", name="linear", heading="digits"),),
        rows=(Row(label="SimCLR", method="simclr", cells=(cell,)),),
        cost="seconds",
    )
