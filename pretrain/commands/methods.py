"""The lists that `compmod methods` prints: all methods, or the options and presets of one.

`compmod methods --page docs/methods.md` writes the list of all methods there. Importing this imports no torch;
the options of a method stand in its code, which does.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill, wrap
from typing import Annotated, Literal

from tabulate import tabulate
from tyro.conf import Positional, arg

from ..files.whole_file import write_whole
from ..recipes.presets import preset, recipes
from ..recipes.recipe import UNVERIFIED
from ..specs.datasets import DATASETS
from ..specs.methods import METHODS, Entry
from ..specs.run import PLUS, Optimizer, Run
from .options import Values
from .parsing import WIDTH

Format = Literal["text", "md"]
DEFAULT = "(default)"  # in place of the name of the preset that is used unless another is asked for
START, END = "<!-- methods: start -->", "<!-- methods: end -->"  # lines of a page, around the list
_ALL = ("name", "method", "paper", "other presets", "cost", "cost of +")
_ONE = ("data set", "preset", "epochs", "batch", "views", "trunk", "head", "optimiser", "options", "from")
_WIDTHS = (12, 11, 20, 14, 6, 4)  # characters a cell of the list of all methods, so that a line fits WIDTH


def methods(
    name: Annotated[
        Positional[str], Values(tuple(METHODS)), arg(help="one method, for its presets", metavar="[NAME]")
    ] = "",
    format: Annotated[Format, arg(help="to read, or markdown")] = "text",
    page: Annotated[
        Path | None, arg(metavar="PATH", help="write the markdown into this file, and print nothing")
    ] = None,
) -> None:
    """List the methods, their papers, presets and costs; with a name, that method's options and presets.

    A cost is the time of one optimisation step relative to SimCLR's.
    """
    if name.endswith(PLUS):
        raise ValueError(
            f"unknown method {name!r}; known: {', '.join(METHODS)}; recipes of a method hold for it with +"
        )
    if page:
        if name:
            raise ValueError("--page writes the list of all methods; leave out the name")
        write_page(page)
        return
    print(one_method(name, format) if name else all_methods(format), flush=True)


def write_page(path: Path) -> None:
    """Put the list of all methods between the lines START and END of a file. Raises ValueError where they are not."""
    before, start, rest = path.read_text("utf-8").partition(START)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"{path} has no lines {START} and {END}, between which the list of methods stands")
    write_whole(path, f"{before}{start}\n{all_methods('md')}\n{end}{after}".encode())


def all_methods(format: Format) -> str:
    """A table of every method: name, label, paper, presets, and costs relative to SimCLR's step."""
    rows = []
    for name, entry in METHODS.items():
        plus = _cost(entry.plus_cost) if entry.plus else "no +"
        source = "; ".join(part for part in (entry.source, entry.remark, _unverified(name)) if part)
        rows.append((name, entry.label, source, ", ".join(_variants(name)), _cost(entry.cost), plus))
    return _table(_ALL, rows, format)


def one_method(name: str, format: Format) -> str:
    """Every preset of one method, below its label, paper and options: in words, or as a table of markdown.

    Raises ValueError on an unknown name.
    """
    base = name.removesuffix(PLUS)
    if base not in METHODS:
        raise ValueError(f"unknown method {name!r}; known: {', '.join(METHODS)}")
    found = {dataset: recipes(name, dataset) for dataset in DATASETS}
    presets = [(dataset, variant, recipe.remark) for dataset, of in found.items() for variant, recipe in of.items()]
    rows = [
        (dataset, variant or DEFAULT, *_settings(preset(name, dataset, variant)), remark)
        for dataset, variant, remark in presets
    ]
    listed = _table(_ONE, rows, format) if format == "md" else _in_words(rows)
    return f"{_title(METHODS[base])}\n\n{_options(base)}\n\n{listed}"


def _in_words(rows: Sequence[tuple[str, ...]]) -> str:
    """A paragraph for each data set, and in it an entry for each preset."""
    paragraphs: dict[str, list[str]] = {}
    for dataset, name, epochs, batch, views, trunk, head, optimiser, options, remark in rows:
        many, seen = "s"[: epochs != "1"], "s"[: views != "1"]
        training = f"{epochs} epoch{many}, batch {batch}, {views} view{seen}"
        parts = (training, f"trunk {trunk}", f"head {head}", optimiser, options, f"from: {remark}" if remark else "")
        entry = f"{name}: {'; '.join(filter(None, parts))}"
        lines = fill(entry, WIDTH, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)
        paragraphs.setdefault(dataset, []).append(lines)
    return "\n\n".join("\n".join([dataset, *entries]) for dataset, entries in paragraphs.items())


def _options(name: str) -> str:
    """A line for each option of a method: name, type, range and default."""
    from ..methods.base import declared_options
    from ..methods.build import load_method

    lines = [f"- {name}: {option}" for name, option in declared_options(load_method(name)).items()]
    return "\n".join(["Options (--options NAME VALUE ...):", *lines]) if lines else "It has no options of its own."


def _variants(name: str) -> list[str]:
    """The names of a method's presets other than defaults, over all data sets."""
    found = (of for dataset in DATASETS for of in recipes(name, dataset).items())
    return list(dict.fromkeys(variant for variant, recipe in found if variant and recipe.verified))


def _unverified(name: str) -> str:
    """What a method's line says of its recipes; nothing where it has one of its own for some data set."""
    verified = any(recipe.verified for dataset in DATASETS for recipe in recipes(name, dataset).values())
    return "" if verified else f"recipes: {UNVERIFIED}"


def _title(entry: Entry) -> str:
    remark = f"; {entry.remark}" if entry.remark else ""
    plain = f"{_cost(entry.cost)} of SimCLR's step" if entry.cost else _cost(0)
    cost = plain + (f", {_cost(entry.plus_cost)} with +" if entry.plus else "")
    return fill(f"{entry.label}: {entry.source}{remark}. Cost: {cost}.", WIDTH)


def _cost(cost: float) -> str:
    return f"{cost:.1f}x" if cost else "not measured"


def _settings(run: Run) -> tuple[str, ...]:
    """What tells presets apart, in the columns' order."""
    head = run.projector
    trunk = f"{run.backbone.name}, {run.backbone.stem}"
    return (
        str(run.epochs),
        str(run.batch_size),
        str(len(run.views)),
        trunk if run.backbone.colours == "rgb" else f"{trunk}, {run.backbone.colours}",
        " -> ".join(str(width) for width in (*(head.hidden,) * (head.layers - 1), head.out)),
        f"{run.optimizer.name}, lr {_rate(run.optimizer)}, wd {run.optimizer.weight_decay:g}, {run.schedule.kind}",
        " ".join(f"{option}={value}" for option, value in run.options),
    )


def _rate(optimizer: Optimizer) -> str:
    return f"{optimizer.lr:g}" + (f" per {optimizer.lr_batch}" if optimizer.lr_batch else "")


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]], format: Format) -> str:
    if format == "text":
        headers, *rows = [
            ["\n".join(wrap(cell, width, break_on_hyphens=False)) for cell, width in zip(row, _WIDTHS, strict=True)]
            for row in (headers, *rows)
        ]
    table: str = tabulate(rows, headers, tablefmt="pipe" if format == "md" else "simple", disable_numparse=True)
    return table
