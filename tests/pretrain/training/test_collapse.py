"""Collapse: the figures that are logged each epoch, and the warning of a run that collapses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from compmod.pretrain.methods.base import Embedded
from compmod.pretrain.recipes.presets import preset
from compmod.pretrain.specs.run import Backbone, Optimizer, Projector, Run, Schedule
from compmod.pretrain.trainer import train
from compmod.pretrain.training.collapse import collapsed, effective_rank, normalised_std, spread
from compmod.pretrain.training.session import Session


def random_rows(count: int, width: int) -> torch.Tensor:
    return torch.randn(count, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def tiny(method: str, **changes: object) -> Run:
    small = replace(
        preset(method, "digits"),
        epochs=2,
        batch_size=32,
        train_images=128,
        backbone=Backbone(name="resnet10", width=4),
        projector=Projector(layers=2, hidden=16, out=8),
        options=(),
    )
    return replace(small, **changes)  # type: ignore[arg-type]


def run(spec: Run, runs: Path) -> tuple[list[dict[str, float]], str]:
    """The logged figures, an epoch a line, and what the results say."""
    record = train(spec, runs, runs, Session(device="cpu", online_every=0, linear_epochs=1, quiet=True))
    lines = [json.loads(line) for line in (record.path / "metrics.jsonl").read_text().splitlines()]
    assert record.results is not None
    return [line for line in lines if line["kind"] == "spread"], record.results["collapsed"]


def test_directions_spread_evenly_have_a_std_near_one() -> None:
    assert abs(float(normalised_std(random_rows(4000, 16))) - 1) < 0.01


def test_one_direction_has_no_std_whatever_the_lengths() -> None:
    lengths = torch.rand(10, 1, dtype=torch.float64) + 0.5
    assert float(normalised_std(lengths * random_rows(1, 16))) < 1e-12


def test_the_effective_rank_counts_equal_directions() -> None:
    basis = torch.eye(5, dtype=torch.float64)
    assert abs(float(effective_rank(torch.cat([basis, -basis]))) - 5) < 1e-12


def test_rows_on_a_line_have_rank_one() -> None:
    steps = torch.linspace(-1, 1, 9, dtype=torch.float64)[:, None]
    assert abs(float(effective_rank(steps * random_rows(1, 6) + random_rows(1, 6))) - 1) < 1e-6


def test_the_rank_of_equal_rows_is_finite() -> None:
    assert torch.isfinite(effective_rank(torch.ones(4, 3)))


def test_the_embeddings_figures_are_those_of_the_embeddings() -> None:
    h, z = torch.eye(6, dtype=torch.float64), torch.ones(6, 4, dtype=torch.float64)
    figures = spread(Embedded((h,), (z,)))
    assert figures["embedding_std"] < 1e-12
    assert figures["representation_rank"] > 4.9


@pytest.mark.parametrize(
    ("z", "words"),
    [
        (torch.ones(20, 8) + 1e-4 * torch.randn(20, 8, generator=torch.Generator().manual_seed(1)), "nearly one"),
        (torch.linspace(-1, 1, 20)[:, None] * torch.arange(1.0, 9.0), "on a line"),
        (torch.randn(200, 8, generator=torch.Generator().manual_seed(1)), ""),
    ],
)
def test_each_kind_of_collapse_is_told_and_health_is_not(z: torch.Tensor, words: str) -> None:
    said = collapsed(spread(Embedded((z,), (z,))))
    assert words in said
    assert bool(words) == bool(said)


def test_every_epoch_logs_the_figures_and_a_sound_run_says_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines, said = run(tiny("simclr"), tmp_path)
    assert [line["epoch"] for line in lines] == [1, 2]
    assert all(line["embedding_std"] > 0.3 and line["embedding_rank"] > 2 for line in lines)
    assert said == ""
    assert "collapsed" not in capsys.readouterr().err


def test_a_run_that_collapses_warns_once_and_its_results_say_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """VICReg with its invariance term alone has nothing against one answer for all."""
    alone = (("invariance", 25.0), ("variance", 0.0), ("covariance", 0.0))
    steep = Optimizer(name="sgd", lr=0.05, momentum=0.9, weight_decay=0.0)
    lines, said = run(
        tiny("vicreg", options=alone, optimizer=steep, schedule=Schedule(warmup_steps=0), epochs=12), tmp_path
    )
    assert "embeddings" in said
    assert lines[-1]["embedding_std"] < lines[0]["embedding_std"]
    warnings = [line for line in capsys.readouterr().err.splitlines() if "has collapsed in epoch" in line]
    assert len(warnings) == 1
