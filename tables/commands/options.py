"""Options: those that several commands of tables share, as tyro reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from tyro.conf import Positional, UseAppendAction, arg

from ...pretrain.recipes.scales import Scale
from ...pretrain.specs.fields import Range, is_name

NumbersOption = Annotated[Positional[tuple[int, ...]], arg(metavar="[N...]", help="tables of the paper; none = all")]
ScaleOption = Annotated[Scale, arg(help="the full recipes, a tenth of the epochs, or digits on a CPU")]
SeedsOption = Annotated[int, Range(1, 1000), arg(help="number of seeds a cell")]
CopiesOption = Annotated[
    UseAppendAction[tuple[str, ...]],
    arg(metavar="DATA=COPY", help="a re-encoded copy in place of a data set, a folder below data; repeatable"),
]


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
