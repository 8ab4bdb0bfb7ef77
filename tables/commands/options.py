"""Options: those that several commands of tables share, as tyro reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, get_args

from tyro.conf import Positional, UseAppendAction, arg

from ...pretrain.commands.options import Values
from ...pretrain.recipes.scales import Scale
from ...pretrain.specs.fields import Range, is_name
from ...pretrain.specs.run import Precision
from ..build import TABLES, build_table, tables_at
from ..paper.table import Table

NumbersOption = Annotated[
    Positional[tuple[int, ...]],
    Values(tuple(map(str, TABLES))),
    arg(metavar="[N...]", help="tables of the paper; none = all"),
]
ScaleOption = Annotated[Scale, arg(help="full recipes, a tenth of their epochs, CIFAR-10 or digits on a CPU")]
MethodsOption = Annotated[tuple[str, ...], arg(metavar="[NAME ...]", help="these alone; none = all")]
SeedsOption = Annotated[int, Range(1, 1000), arg(help="number of seeds a cell")]
PrecisionOption = Annotated[
    Literal["auto", "float32", "tf32", "bfloat16"], arg(help="of pretraining; auto = that of the scale")
]
CopiesOption = Annotated[
    UseAppendAction[tuple[str, ...]],
    arg(metavar="DATA=COPY", help="a re-encoded copy in place of a data set, a folder below data"),
]


def built(
    numbers: Sequence[int], scale: Scale, seeds: int, copies: Sequence[str], precision: str = "auto"
) -> list[Table]:
    """The tables that the options of a command ask for; all of the scale for none. Raises ValueError on a wrong one."""
    settings = scale, seeds, named_copies(copies), chosen_precision(precision)
    return [build_table(number, *settings) for number in dict.fromkeys(numbers or tables_at(scale))]


def of_methods(tables: Sequence[Table], methods: Sequence[str]) -> list[Table]:
    """The tables with the measurements of these methods alone; with all for none.

    Raises ValueError on a name that is no method of theirs.
    """
    known = dict.fromkeys(spec.run.method for table in tables for spec in table.specs)
    for name in methods:
        if name not in known:
            raise ValueError(f"no method {name!r} in these tables; valid: {', '.join(known)}")
    return [table.with_specs(lambda spec: not methods or spec.run.method in methods) for table in tables]


def chosen_precision(given: str) -> Precision | None:
    """What `build_table` takes for the value of the option."""
    return next((name for name in get_args(Precision) if name == given), None)


def named_copies(given: Sequence[str]) -> dict[str, str]:
    """Data set to copy, from words such as cifar10=cifar10-jpeg. Raises ValueError on any other word."""
    copies: dict[str, str] = {}
    for word in given:
        dataset, _, copy = word.partition("=")
        if not dataset or not copy:
            raise ValueError(f"copies must be DATA=COPY, such as cifar10=cifar10-jpeg, not {word!r}")
        if not is_name(copy):
            raise ValueError(f"a copy is the name of a folder below data, not {copy!r} as in {word!r}")
        if dataset in copies:
            raise ValueError(f"copies name {dataset!r} twice, {copies[dataset]!r} and {copy!r}")
        copies[dataset] = copy
    return copies
