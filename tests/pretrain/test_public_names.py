"""The public names of compmod.pretrain: each is there, and none but those that compute imports torch."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys

import pytest
from compmod import pretrain
from paths import ROOT

NAMES = sorted(pretrain._HOME)
HEAVY = {"Method", "Session", "evaluate_run", "fine_tune", "finished_backbone", "train"}  # they need torch


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_is_what_its_module_has(name: str) -> None:
    module, attribute = pretrain._HOME[name].split(":")
    home = importlib.import_module(f"compmod.pretrain.{module}")
    assert getattr(pretrain, name) is getattr(home, attribute)
    assert name in dir(pretrain)


def test_type_checkers_see_the_same_public_names() -> None:
    tree = ast.parse((ROOT / "pretrain" / "__init__.py").read_text())
    (checked,) = (node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in checked.body if isinstance(node, ast.ImportFrom)]
    named = {alias.asname: f"{node.module}:{alias.name}" for node in imports for alias in node.names}
    assert named == pretrain._HOME


def test_light_public_names_import_no_torch() -> None:
    light = ", ".join(name for name in NAMES if name not in HEAVY)
    code = (
        f"import sys; from compmod.pretrain import {light}; run = preset('simclr+', 'cifar10')\n"
        "heavy = {'torch', 'numpy', 'pandas', 'tyro'} & set(sys.modules); sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_another_name_is_an_error_that_lists_the_public_ones() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'Runs'; public names: .*Run, .*train"):
        pretrain.Runs  # noqa: B018
    with pytest.raises(ImportError):
        importlib.import_module("compmod.pretrain.Runs")


def test_a_public_name_never_hides_a_folder_or_file() -> None:
    stems = {path.stem for path in (ROOT / "pretrain").iterdir()}
    assert stems & set(NAMES) == set()
