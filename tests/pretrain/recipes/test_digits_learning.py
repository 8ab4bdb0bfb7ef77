"""Every method learns on digits by its recipe there: a linear probe reads more from it than from random weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from compmod.pretrain.evaluate.probe import probe
from compmod.pretrain.networks.encoder import finished_backbone
from compmod.pretrain.recipes.presets import preset
from compmod.pretrain.specs.measurement import Evaluation
from compmod.pretrain.specs.methods import METHODS
from compmod.pretrain.specs.run import Run
from compmod.pretrain.trainer import train
from compmod.pretrain.training.session import Session

# A share of the 1,152 digits held out: twice the standard error of a difference between two accuracies around 0.3.
MARGIN = 0.04
QUIET = Session(device="cpu", online_every=0, linear_epochs=1, quiet=True)


def accuracy(run: Run, folder: Path) -> float:
    train(run, folder, folder, QUIET)
    spec = Evaluation(run=run, linear_epochs=60, split="validation")
    return probe(finished_backbone(folder, run), spec, folder, "cpu")["linear/top1"]


@pytest.mark.learning
@pytest.mark.parametrize("method", METHODS)
def test_a_method_beats_its_untrained_network(method: str, tmp_path: Path) -> None:
    run = preset(method, "digits")
    assert accuracy(run, tmp_path) > accuracy(replace(run, epochs=0), tmp_path) + MARGIN
