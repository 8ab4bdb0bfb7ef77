"""Divergence: every training whose numbers are no longer finite ends as NonFiniteLoss, with words that are true."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from compmod.pretrain import trainer
from compmod.pretrain.methods.w_mse import whiten
from compmod.pretrain.records.record import Record
from compmod.pretrain.specs.methods import METHODS
from compmod.pretrain.specs.run import Comprehensive, Optimizer, Run
from compmod.pretrain.trainer import Trainer, train
from compmod.pretrain.training.divergence import NonFiniteLoss, diverged
from compmod.pretrain.training.interruption import Stop
from compmod.pretrain.training.session import Session
from compmod.slurm.task.failures import classify
from process_group import group_of_one_process
from small_runs import SAMPLES, small

NAMES = [name + plus for name, entry in METHODS.items() for plus in ("", "+") if entry.plus or not plus]
WITH_PLUS = [name for name in NAMES if name.endswith("+")]
QUIET = Session(device="cpu", online_every=0, linear_epochs=1, quiet=True)
SAVING = replace(QUIET, checkpoint_minutes=1e-9)


def tiny(method: str, **changes: Any) -> Run:
    """Three epochs of two steps."""
    return small(method, epochs=3, train_images=2 * SAMPLES, **changes)


def poison(monkeypatch: pytest.MonkeyPatch, value: float) -> None:
    """Every trainer starts with one such weight in its trunk."""
    build = Trainer._build

    def poisoned(self: Trainer) -> Any:
        objective = build(self)
        with torch.no_grad():
            next(objective.method.backbone.parameters()).view(-1)[0] = value
        return objective

    monkeypatch.setattr(Trainer, "_build", poisoned)


@pytest.mark.parametrize("name", NAMES)
def test_weights_that_are_not_finite_diverge_at_the_first_loss(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, float("nan"))
    with pytest.raises(NonFiniteLoss, match="at or before step 1 of 6; no checkpoint was saved before;") as caught:
        train(tiny(name), tmp_path, tmp_path, session=QUIET)
    assert classify(error=caught.value) == "diverged"
    assert "already the first loss was, which no optimizer.lr changes: look at the options of" in str(caught.value)
    assert Record(tmp_path, tiny(name)).status == "failed"


@pytest.mark.parametrize("name", NAMES)
def test_an_absurd_rate_diverges_and_a_lower_one_is_advised(name: str, tmp_path: Path) -> None:
    run = tiny(name, optimizer=Optimizer(name="sgd", lr=1e30))
    with pytest.raises(NonFiniteLoss, match=r"a lower optimizer\.lr than 1e\+30 is the usual cure") as caught:
        train(run, tmp_path, tmp_path, session=SAVING)
    assert classify(error=caught.value) == "diverged"
    kept = sorted((Record(tmp_path, run).path / "checkpoints").glob("step-*.pt"))
    assert ("no checkpoint was saved before" in str(caught.value)) == (not kept)


@pytest.mark.parametrize("name", WITH_PLUS)
def test_a_virtual_step_out_of_range_diverges(name: str, tmp_path: Path) -> None:
    run = tiny(name, compmod=Comprehensive(virtual_lr=1e30), optimizer=Optimizer(name="sgd", lr=1e-3))
    with pytest.raises(NonFiniteLoss) as caught:
        train(run, tmp_path, tmp_path, session=QUIET)
    assert classify(error=caught.value) == "diverged"


def test_weights_that_the_last_step_makes_are_no_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its loss, of before the step, is finite."""
    step = Trainer._train_step

    def last_one_wild(self: Trainer, given: Any) -> None:
        step(self, given)
        if self.step == self.total:
            with torch.no_grad():
                next(self.objective.method.backbone.parameters()).fill_(float("inf"))

    monkeypatch.setattr(Trainer, "_train_step", last_one_wild)
    with pytest.raises(NonFiniteLoss, match="the weights became NaN or infinite at or before step 6 of 6"):
        train(tiny("simclr"), tmp_path, tmp_path, session=QUIET)
    record = Record(tmp_path, tiny("simclr"))
    assert record.status == "failed"
    assert not (record.path / "encoder.safetensors").exists()


def test_a_matrix_that_cannot_be_factored_is_a_divergence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def of_nothing(embedded: object) -> None:
        torch.linalg.cholesky(torch.zeros(2, 2))

    monkeypatch.setattr(trainer, "spread", of_nothing)
    with pytest.raises(NonFiniteLoss, match="at or before step 2 of 6") as caught:
        train(tiny("simclr"), tmp_path, tmp_path, session=QUIET)
    assert classify(error=caught.value) == "diverged"


def test_whitening_rows_without_a_cholesky_factor_gives_nan_and_raises_nothing() -> None:
    """All processes of a run must come to the next collective, or they would wait for the one that raised."""
    rows = torch.randn(8, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    both = torch.cat([rows, torch.zeros(8, 3, dtype=torch.float64)]).requires_grad_()
    found = whiten(both, 8)
    torch.testing.assert_close(found[:8], whiten(rows, 8), rtol=0, atol=0)
    assert found[8:].isnan().all()
    found.sum().backward()  # type: ignore[no-untyped-call]


def test_the_first_of_several_processes_raises_nothing_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only it comes to a checkpoint that is due by time; a signal is known to all."""
    poison(monkeypatch, float("nan"))
    run = tiny("simclr")
    with group_of_one_process(2):
        images, _ = trainer._images(run, tmp_path)
        training = Trainer(Record(tmp_path, run), run, images, tmp_path, SAVING, Stop())
        training._save_or_stop(due=False)
        assert not training.checkpoints.exists()
        monkeypatch.setattr(training.shared_stop, "asked", lambda *, last: True)
        with pytest.raises(NonFiniteLoss, match="the weights became NaN"):
            training._save_or_stop(due=False)


def test_the_error_names_the_newest_checkpoint_if_there_is_one(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    assert "step 9 of 10; no checkpoint was saved before; less" in str(diverged("loss", 9, 10, folder, "less"))
    folder.mkdir()
    for step in (3, 6):
        (folder / f"step-{step:09d}.pt").touch()
    assert f"; the checkpoint of step 6 in {folder} is kept; less" in str(diverged("loss", 9, 10, folder, "less"))


def test_the_advice_names_coarse_precision_options_and_the_methods_own_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, float("nan"))
    run = tiny("w_mse", precision="bfloat16")
    with pytest.raises(NonFiniteLoss) as caught:
        train(run, tmp_path, tmp_path, session=QUIET)
    assert "the options of w_mse (repeats 2, whitening 12)" in str(caught.value)
    assert "bfloat16 is coarse: precision float32 may help" in str(caught.value)
    assert "whitening needs embeddings in all projector.out directions" in str(caught.value)


def test_a_temperature_that_no_number_survives_is_blamed_beside_the_rate(tmp_path: Path) -> None:
    run = replace(tiny("simclr"), options=(("temperature", 1e-45),))
    with pytest.raises(NonFiniteLoss, match=r"the options of simclr \(temperature 1e-45\)"):
        train(run, tmp_path, tmp_path, session=QUIET)
