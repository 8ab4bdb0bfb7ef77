"""`compmod methods`: every method and preset is listed, and docs/methods.md holds what it prints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from compmod.cli import main
from compmod.pretrain.commands.methods import END, START, Format, all_methods, methods, one_method
from compmod.pretrain.methods.base import declared_options
from compmod.pretrain.methods.build import load_method
from compmod.pretrain.recipes.presets import recipes
from compmod.pretrain.specs.datasets import DATASETS
from compmod.pretrain.specs.methods import METHODS
from paths import ROOT

PAGE = ROOT / "docs" / "methods.md"


def test_the_page_holds_the_table_of_methods() -> None:
    held = PAGE.read_text().partition(START)[2].partition(END)[0].strip()
    assert held == all_methods("md"), "renew it: .venv/bin/compmod methods --page docs/methods.md"


def test_the_command_writes_the_list_into_the_page_and_changes_nothing_else(tmp_path: Path) -> None:
    written = tmp_path / "page.md"
    written.write_text(f"before\n{START}\nan older list\n{END}\nafter\n")
    main(["methods", "--page", str(written)])
    assert written.read_text() == f"before\n{START}\n{all_methods('md')}\n{END}\nafter\n"


@pytest.mark.parametrize("content", ["# compmod", f"{START}\n", f"{END}\n{START}\n"])
def test_a_page_without_both_marks_is_left_as_it_is(content: str, tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(content)
    with pytest.raises(ValueError, match="has no lines <!-- methods: start --> and <!-- methods: end -->"):
        methods(page=tmp_path / "page.md")
    assert (tmp_path / "page.md").read_text() == content


def test_a_page_takes_the_list_of_all_methods_alone() -> None:
    with pytest.raises(ValueError, match="leave out the name"):
        methods("byol", page=PAGE)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_has_one_line_of_markdown_with_its_label_and_paper(name: str) -> None:
    (line,) = [line for line in all_methods("md").splitlines() if line.startswith(f"| {name} ")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[1] == METHODS[name].label
    assert cells[2].startswith(METHODS[name].source)


@pytest.mark.parametrize("name", METHODS)
def test_a_methods_own_list_has_a_line_for_each_preset(name: str) -> None:
    listed = [
        tuple(cell.strip() for cell in line.strip("|").split("|")[:2])
        for line in one_method(name, "md").splitlines()
        if line.startswith("| ")
    ]
    presets = [(dataset, variant or "(default)") for dataset in DATASETS for variant in recipes(name, dataset)]
    assert sorted(listed) == sorted([("data set", "preset"), *presets])


@pytest.mark.parametrize("name", ["", *METHODS])
def test_what_is_read_in_a_terminal_fits_80_columns(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["methods", *filter(None, [name])])
    assert [line for line in capsys.readouterr().out.splitlines() if len(line) > 80] == []


@pytest.mark.parametrize("name", METHODS)
def test_a_terminal_shows_every_preset_below_its_data_set(name: str) -> None:
    paragraphs = one_method(name, "text").split("\n\n")[2:]
    listed = {
        lines[0]: [line for line in lines[1:] if not line.startswith("    ")]
        for lines in map(str.splitlines, paragraphs)
    }
    assert {dataset: [line.strip().partition(":")[0] for line in lines] for dataset, lines in listed.items()} == {
        dataset: [variant or "(default)" for variant in recipes(name, dataset)]
        for dataset in DATASETS
        if recipes(name, dataset)
    }


def test_a_reconstruction_is_called_one() -> None:
    assert "reconstruction" in one_method("icl_msr", "text").splitlines()[0]
    assert "reconstruction" in next(line for line in all_methods("md").splitlines() if "| icl_msr" in line)


def test_an_unknown_method_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"^unknown method 'mocca'; known: simclr, "):
        one_method("mocca", "text")


def test_the_command_prints_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    main(["methods", "--format", "md"])
    assert capsys.readouterr().out.strip() == all_methods("md")


def test_the_command_prints_the_presets_of_a_method(capsys: pytest.CaptureFixture[str]) -> None:
    main(["methods", "w_mse"])
    said = capsys.readouterr().out
    assert said.startswith("W-MSE: Ermolov et al., ICML 2021")
    assert "2-views" in said


def test_a_preset_is_chosen_by_its_name_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["pretrain", "simclr", "--dataset", "cifar10", "--preset", "google", "--help"])
    assert "(default: lars)" in " ".join(capsys.readouterr().out.replace("│", " ").split())


def test_an_unknown_preset_is_one_line_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leave:
        main(["pretrain", "byol", "--dataset", "cifar10", "--preset", "mine"])
    assert leave.value.code == 2
    assert capsys.readouterr().err == (
        "error: unknown preset 'mine' of byol on cifar10; known: 2-layer, solo-learn, laptop\n"
    )


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("format", ["text", "md"])
def test_a_methods_own_list_shows_type_range_and_default_of_every_option(name: str, format: Format) -> None:
    said = one_method(name, format)
    for option, declared in declared_options(load_method(name)).items():
        assert f"- {option}: {declared}" in said.splitlines()


def test_options_are_listed_in_words() -> None:
    lines = one_method("dcl", "text").splitlines()
    assert "- form: debiased, decoupled or weighted; debiased by default" in lines
    assert "- prior: a number from 0 to below 1; 0.1 by default" in lines
    assert "- symmetric: 1 or 0 (on or off); 1 by default" in one_method("moco", "text").splitlines()
    assert "- queue: a whole number at least 1; 32768 by default" in one_method("moco", "text").splitlines()


def test_a_cost_that_nobody_measured_is_no_share_of_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = replace(METHODS["simclr"], cost=0.0, plus_cost=0.0)
    monkeypatch.setitem(METHODS, "simclr", entry)
    assert "Cost: not measured, not measured with +." in one_method("simclr", "text")
