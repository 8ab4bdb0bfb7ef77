"""Curves of training: what is read of a metrics file, which runs share a picture, and what its words say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from compmod.pretrain.recipes.scales import scaled
from compmod.pretrain.specs.methods import METHODS
from compmod.pretrain.specs.run import Run
from compmod.tables.report.curves import (
    LOSSES,
    MOST_POINTS,
    by_panel,
    draw_training_curves,
    read_metrics,
    read_training_curves,
    running_mean,
)
from made_up_metrics import write_metrics


@pytest.fixture
def pair() -> list[Run]:
    return [scaled(method, "digits", "demo") for method in ("simclr", "simclr+")]


def _draw(runs: Path, specs: list[Run]) -> bytes:
    return draw_training_curves("SimCLR", [read_training_curves(runs, run) for run in specs]).content


def test_the_picture_is_drawn_from_the_metrics(pair: list[Run], tmp_path: Path) -> None:
    write_metrics(tmp_path / pair[0].folder)
    one = _draw(tmp_path, pair)
    write_metrics(tmp_path / pair[1].folder, plus=True)
    assert one.startswith(b"<?xml")
    assert _draw(tmp_path, pair) != one


def test_equal_metrics_make_equal_pictures(pair: list[Run], tmp_path: Path) -> None:
    write_metrics(tmp_path / pair[0].folder)
    assert _draw(tmp_path, pair) == _draw(tmp_path, pair)


def test_the_words_give_first_and_last_loss_and_the_last_accuracy_of_both_kinds(
    pair: list[Run], tmp_path: Path
) -> None:
    for run in pair:
        write_metrics(tmp_path / run.folder, plus=run.plus)
    picture = draw_training_curves("SimCLR, Digits", [read_training_curves(tmp_path, run) for run in pair])
    assert picture.alternative == (
        "SimCLR, Digits, 6 epochs; the method alone: loss from 4.95 to 2, 5-nn accuracy at the end 50.0 %; "
        "with CompMod: loss from 3.95 to 1, 5-nn accuracy at the end 50.0 %."
    )


def test_a_long_run_makes_no_larger_picture_than_its_pixels_can_show(pair: list[Run], tmp_path: Path) -> None:
    write_metrics(tmp_path / pair[0].folder, steps=MOST_POINTS)
    short = _draw(tmp_path, pair[:1])
    write_metrics(tmp_path / pair[0].folder, steps=50 * MOST_POINTS)
    assert len(_draw(tmp_path, pair[:1])) < 1.5 * len(short)


def test_a_metrics_line_that_was_cut_is_left_out(tmp_path: Path) -> None:
    write_metrics(tmp_path, steps=5)
    with open(tmp_path / "metrics.jsonl", "a") as handle:
        handle.write('{"kind": "train", "step": 5, "lo')
    assert [line["step"] for line in read_metrics(tmp_path / "metrics.jsonl", ["train"])[0]] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "line", ['{"kind": "train", "epoch": "x", "loss": 1}', '{"kind": "train", "loss": null}', "[]"]
)
def test_a_metrics_line_without_numbers_leaves_no_point(line: str, pair: list[Run], tmp_path: Path) -> None:
    folder = tmp_path / pair[0].folder
    folder.mkdir()
    (folder / "metrics.jsonl").write_text(line + "\n")
    assert len(read_training_curves(tmp_path, pair[0]).loss.values) == 0


def test_of_a_step_logged_twice_after_a_resume_the_last_counts(tmp_path: Path) -> None:
    lines = [{"kind": "train", "step": 1, "loss": 2.0}, {"kind": "train", "step": 1, "loss": 3.0}]
    (tmp_path / "metrics.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    assert [line["loss"] for line in read_metrics(tmp_path / "metrics.jsonl", ["train"])[0]] == [3.0]


def test_a_run_without_metrics_has_no_lines(tmp_path: Path) -> None:
    assert read_metrics(tmp_path / "metrics.jsonl", ["train", "online"]) == ([], [])


def test_the_running_mean_equals_a_plain_loop_and_keeps_the_length() -> None:
    values = np.random.default_rng(0).normal(size=23)
    expected = [values[max(0, i - 2) : i + 3].mean() for i in range(23)]
    np.testing.assert_allclose(running_mean(values, 5), expected, rtol=1e-12)


@pytest.mark.parametrize("window", [0, 1])
def test_a_window_of_one_changes_nothing(window: int) -> None:
    values = np.array([3.0, 1.0, 2.0])
    np.testing.assert_allclose(running_mean(values, window), values)


def test_plain_and_plus_share_a_picture_and_every_data_set_has_its_own(pair: list[Run]) -> None:
    elsewhere = scaled("simclr", "cifar10", "paper")
    panels = by_panel([(1, pair[0]), (1, elsewhere), (1, pair[1])])
    assert panels == {"SimCLR, Digits": pair, "SimCLR, CIFAR-10": [elsewhere]}


def test_a_run_of_two_tables_is_drawn_once_and_a_tables_own_variant_apart(pair: list[Run]) -> None:
    variant = replace(pair[1], epochs=2)
    panels = by_panel([(1, pair[1]), (6, pair[1]), (6, variant)])
    assert panels == {"SimCLR, Digits": [pair[1]], "SimCLR, Digits: Table 6": [variant]}


def test_a_network_that_is_not_trained_has_no_curve(pair: list[Run]) -> None:
    assert by_panel([(1, replace(pair[0], epochs=0))]) == {}


def test_a_picture_names_the_loss_with_its_unit_and_both_axes(pair: list[Run], tmp_path: Path) -> None:
    write_metrics(tmp_path / pair[0].folder)
    content = _draw(tmp_path, pair)
    for words in (b"loss: InfoNCE (nats)", b"5-nn accuracy (%)", b"epoch of pretraining"):
        assert words in content
    assert set(LOSSES) == set(METHODS)
