"""Recipes as text: every preset of every method and data set is written out below tests/golden/recipes.

A change of one number in a recipe is thus one readable line in a diff, in each preset that has it. A file holds the
presets of one method: a line in brackets names the method, the data set and the preset, and a line follows for every
setting. Views that are equal and follow one another share their lines: `views.1-2.flip` is that of views 1 and 2. A
default recipe of a method or data set without its own is left out, so adding a method or a data set changes no file.

After a meant change run `COMPMOD_RENEW_GOLDEN=1 pytest tests/pretrain/recipes/test_recipes_as_text.py` and read the
difference. A digest that changes is the folder of other runs: see tests/pretrain/specs/test_spec.py.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
from compmod.pretrain.recipes.presets import preset, recipes
from compmod.pretrain.recipes.recipe import UNVERIFIED, Recipe
from compmod.pretrain.specs.datasets import DATASETS
from compmod.pretrain.specs.methods import METHODS
from compmod.pretrain.specs.run import PLUS, Comprehensive, Run
from paths import GOLDEN, ROOT
from spec_text import spec_lines

FOLDER = GOLDEN / "recipes"
WRITER = Path(__file__).relative_to(ROOT).as_posix()
RENEW = f"if the change is meant, run COMPMOD_RENEW_GOLDEN=1 pytest {WRITER} and read the difference"


def _as_text(method: str) -> str:
    """Every preset of one method, plain and with CompMod."""
    blocks = [f"# {METHODS[method].label}: every preset. Written by {WRITER}, which says how to renew it."]
    for dataset in DATASETS:
        for variant, recipe in _own_recipes(method, dataset).items():
            plain = preset(method, dataset, variant)
            blocks.append(_block(plain, variant, [f"from: {recipe.remark}", *_settings(plain)]))
            if METHODS[method].plus:
                plus = preset(method + PLUS, dataset, variant)
                blocks.append(_block(plus, variant, _differences(plain, plus)))
    return "\n\n".join(blocks) + "\n"


def _block(run: Run, variant: str, lines: list[str]) -> str:
    title = " ".join(filter(None, (run.method, run.dataset, variant)))
    return "\n".join([f"[{title}]", f"digest: {run.digest}", *lines])


def _settings(run: Run) -> list[str]:
    """Every field of a run but its method and data set, which the title has; CompMod's only where it is used."""
    unused = () if run.plus else ("compmod",)
    return list(spec_lines(run, leave_out=("method", "dataset", *unused)))


def _differences(plain: Run, plus: Run) -> list[str]:
    """CompMod's settings, and what else a "+" run has other than its plain one (nothing, so far)."""
    known = set(_settings(plain))
    return ["the rest: as without +", *(line for line in _settings(plus) if line not in known)]


def _own_recipes(method: str, dataset: str) -> dict[str, Recipe]:
    return {name: recipe for name, recipe in recipes(method, dataset).items() if UNVERIFIED not in recipe.remark}


OWN = [method for method in METHODS if any(_own_recipes(method, dataset) for dataset in DATASETS)]


@pytest.mark.parametrize("method", OWN)
def test_every_preset_of_a_method_is_as_its_golden_text_has_it(method: str) -> None:
    golden, text = FOLDER / f"{method}.txt", _as_text(method)
    if os.environ.get("COMPMOD_RENEW_GOLDEN"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text, encoding="utf-8")
    assert golden.is_file(), f"{golden} is missing; {RENEW}"
    assert text == golden.read_text(encoding="utf-8"), f"{golden.name} differs; {RENEW}"


def test_every_golden_recipe_is_of_a_method() -> None:
    assert sorted(path.stem for path in FOLDER.iterdir()) == sorted(OWN)


def test_golden_recipes_name_every_method_on_every_data_set_that_has_a_recipe() -> None:
    titles = {line for path in FOLDER.iterdir() for line in path.read_text().splitlines() if line.startswith("[")}
    pairs = [(method, dataset) for method in OWN for dataset in DATASETS if "" in _own_recipes(method, dataset)]
    assert {f"[{method} {dataset}]" for method, dataset in pairs} <= titles
    assert {f"[{method}{PLUS} {dataset}]" for method, dataset in pairs if METHODS[method].plus} <= titles
    assert len(pairs) >= 16 * 7  # those of today: none may become a default unseen


@pytest.mark.parametrize("method", [method for method in METHODS if METHODS[method].plus])
def test_a_plus_preset_differs_from_its_plain_one_in_compmod_alone(method: str) -> None:
    for dataset in DATASETS:
        for variant in recipes(method, dataset):
            plus = preset(method + PLUS, dataset, variant)
            plain = dataclasses.replace(plus, method=method, compmod=Comprehensive())
            assert plain == preset(method, dataset, variant)


def test_text_of_a_run_has_every_field_and_changes_by_one_line_with_one_number() -> None:
    run = preset("byol+", "imagenet")
    other = dataclasses.replace(run, optimizer=dataclasses.replace(run.optimizer, lr=0.125))
    before, after = _settings(run), _settings(other)
    assert [line for line in after if line not in before] == ["optimizer.lr: 0.125"]
    names = {line.split(":")[0].split(".")[0] for line in before}
    assert names == {field.name for field in dataclasses.fields(run)} - {"method", "dataset"}


def test_recipes_are_written_out_without_torch() -> None:
    code = f"import sys, {Path(__file__).stem} as recipes; recipes._as_text('moco'); sys.exit('torch' in sys.modules)"
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path}, timeout=60)
    assert done.returncode == 0
