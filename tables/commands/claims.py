"""The command behind `compmod claims`: the claims of the paper, checked on its own numbers and on ours."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

from ...pretrain.commands.options import RunsOption
from ...pretrain.recipes.scales import Scale
from ...pretrain.specs.fields import Range
from .options import CopiesOption, PrecisionOption, chosen_precision, named_copies


def claims_command(
    scale: Annotated[Scale, arg(help="scale of our runs")] = "paper",
    seeds: Annotated[int, Range(1, 1000), arg(help="number of seeds a cell; fewer than two decide nothing")] = 1,
    copies: CopiesOption = (),
    precision: PrecisionOption = "auto",
    runs: RunsOption = Path("runs"),
    format: Annotated[Literal["md", "csv"], arg(help="markdown to read or CSV, one line a claim")] = "md",
) -> None:
    """Print the paper's claims about its tables, and whether its numbers and ours support them.

    Raises ValueError on a wrong argument.
    """
    from ..claims.checked_claims import claims_frame, claims_markdown
    from ..results.results import Results

    results = Results(runs)
    settings = scale, seeds, named_copies(copies), chosen_precision(precision)
    if format == "csv":
        text = claims_frame(results, *settings).to_csv(index=False)
        print(*results.damaged, sep="\n", end="\n" * bool(results.damaged), file=sys.stderr)
    else:
        text = claims_markdown(results, *settings)
    print(text, end="", flush=True)
