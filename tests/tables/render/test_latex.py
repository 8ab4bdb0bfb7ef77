"""The LaTeX of a table: groups and environments closed, rows as wide as their tabular, every letter escaped."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from compmod.pretrain.recipes.scales import SCALES
from compmod.tables.build import build_table, tables_at
from compmod.tables.paper.table import Table
from compmod.tables.render.latex import COMMANDS, LETTERS, escaped
from compmod.tables.render.render import render
from compmod.tables.results.verdict import CellVerdict

CONTROL = re.compile(r"\\([A-Za-z]+|.)", re.DOTALL)
KNOWN = {  # what the packages that the first line names, and LaTeX itself, define
    *("begin", "end", "centering", "footnotesize", "setlength", "tabcolsep", "caption", "resizebox", "ifdim", "width"),
    *("linewidth", "else", "fi", "toprule", "midrule", "bottomrule", "cmidrule", "multicolumn", "textbf", "texttt"),
    *(
        "par",
        "medskip",
        "raggedright",
        "parindent",
        "pm",
        "Delta",
        "checkmark",
        "dag",
        "ddag",
        "lambda",
        "alpha",
        "circ",
        "times",
    ),
    *("medskip", "dots", "textless", "textgreater", "textbar", "textbackslash", "textasciitilde", "textasciicircum"),
    *("\\", "&", "%", "$", "#", "_", "{", "}"),
}


def _uncommented(text: str) -> str:
    return re.sub(r"(?<!\\)%.*", "", text)


def _check(text: str) -> None:
    """Assert what a TeX engine would stumble over."""
    body = _uncommented(text)
    assert set(CONTROL.findall(body)) <= KNOWN
    bare = CONTROL.sub("", body)
    depth = 0
    for letter in bare:
        depth += {"{": 1, "}": -1}.get(letter, 0)
        assert depth >= 0, "a group is closed that was not opened"
    assert depth == 0, "a group stays open"
    assert bare.count("$") % 2 == 0
    assert set("#^_~") & set(re.sub(r"\$[^$]*\$", "", bare)) == set()
    environments: list[str] = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", body):
        if kind == "begin":
            environments.append(name)
        else:
            assert environments.pop() == name
    assert environments == []
    for columns, inside in re.findall(r"\\begin\{tabular\}\{(\w+)\}(.*?)\\end\{tabular\}", body, re.DOTALL):
        lines = [line for line in inside.splitlines() if line.endswith(r"\\")]
        assert len(lines) > 2
        for line in lines:
            spanned = sum(int(width) - 1 for width in re.findall(r"\\multicolumn\{(\d+)\}", line))
            assert len(re.findall(r"(?<!\\)&", line)) + 1 + spanned == len(columns), line


@pytest.mark.parametrize("number, scale", [(number, scale) for scale in SCALES for number in tables_at(scale)])
def test_every_table_is_sound_and_plain_ascii(number: int, scale: Any, tmp_path: Path) -> None:
    text = render(build_table(number, scale), tmp_path / "runs", "latex").replace(str(tmp_path), "")
    _check(text)
    assert text.isascii()


def test_a_filled_table_is_sound(every_case: Table, tmp_path: Path, finish: Any) -> None:
    for spec in every_case.specs[:4]:
        finish(spec, source=None)
    _check(render(every_case, tmp_path / "runs", "latex"))


def test_what_plus_changes_is_a_tabular_of_its_own_in_the_same_float(every_case: Table, tmp_path: Path) -> None:
    floats = render(every_case, tmp_path, "latex").split(r"\begin{table}")[1:]
    assert [text.count(r"\begin{tabular}") for text in floats] == [1, 2, 2]  # settings have no gains
    assert r"SimCLR & $+0.1$ & not run & $+1.0$ & not run \\" in floats[1]


@pytest.mark.parametrize(
    "wrong",
    ["{", "}", r"\begin{tabular}{lr}" + "\na & b & c \\\\\n" * 3 + r"\end{tabular}", "a_b", r"\textquotedbl", "$"],
)
def test_the_check_sees_what_is_wrong(wrong: str) -> None:
    with pytest.raises(AssertionError):
        _check(wrong)


def test_every_special_letter_is_escaped() -> None:
    assert escaped(r"50 % of a_b & {c} #1 $x$ \n ~^") == (
        r"50 \% of a\_b \& \{c\} \#1 \$x\$ \textbackslash{}n \textasciitilde{}\textasciicircum{}"
    )


def test_no_command_swallows_the_letter_after_it() -> None:
    names = [command for command in COMMANDS.values() if re.fullmatch(r"\\[A-Za-z]+", command)]
    assert names == []


def test_a_letter_of_a_path_without_a_command_stays_as_it_is() -> None:
    assert escaped("/home/josé") == "/home/josé"


def test_the_legend_has_another_letter_for_every_verdict(every_case: Table, tmp_path: Path) -> None:
    from typing import get_args

    assert set(LETTERS) == set(get_args(CellVerdict))
    assert len(set(LETTERS.values())) == len(LETTERS)
    text = render(every_case, tmp_path, "latex")
    assert all(f"{letter} = {verdict}" in text for verdict, letter in LETTERS.items())
