"""The trainer end to end on tiny runs: exact resume after real kills, clean stops, locks, errors, records."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import random
import signal
import sys
import time
from dataclasses import replace
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from compmod.pretrain.methods.base import SMALL_BATCH
from compmod.pretrain.methods.build import load_method
from compmod.pretrain.recipes.presets import preset
from compmod.pretrain.records.record import Record
from compmod.pretrain.runtime.exit_status import INTERRUPTED
from compmod.pretrain.specs.methods import METHODS
from compmod.pretrain.specs.run import Backbone, Optimizer, Projector, Run
from compmod.pretrain.trainer import train
from compmod.pretrain.training.divergence import NonFiniteLoss
from compmod.pretrain.training.session import Session
from safetensors.torch import load_file

NAMES = [name + plus for name, entry in METHODS.items() for plus in ("", "+") if entry.plus or not plus]
SWITCHED_ON = {"queue_epoch": 1, "freeze_epochs": 1}  # of a method that has them: every kind of state comes into use
QUIET = Session(device="cpu", online_every=0, linear_epochs=1, quiet=True)
KILLS = {"simclr+": 8}  # other methods are killed three times: a start of a process costs seconds
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    ["compmod.pretrain.trainer", "torch.utils.tensorboard", "torch._dynamo", "sklearn.datasets"]  # slow to import
)


def work(encoded: dict[str, Any], runs: Path) -> None:
    """A process of its own. It saves after every step, so that a kill often lands in the middle of a save.

    It starts with the signals blocked, as any process may.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR2})
    torch.set_num_threads(1)
    often = replace(QUIET, checkpoint_minutes=1e-9, log_every=2)
    with (runs / "errors").open("w") as errors, contextlib.redirect_stderr(errors):
        try:
            train(Run.from_dict(encoded), runs, runs, session=often)
        except ValueError as error:
            print(f"error: {error}", file=errors)
            sys.exit(2)


def tiny(method: str, **changes: object) -> Run:
    run = preset(method, "digits")
    small: dict[str, object] = {
        "epochs": 3,
        "batch_size": SMALL_BATCH,
        "train_images": 6 * SMALL_BATCH,
        "backbone": replace(run.backbone, name="resnet10", width=4),
        "projector": Projector(layers=2, hidden=8, out=8),
        "options": tuple((name, SWITCHED_ON.get(name, value)) for name, value in load_method(run.base_method).small),
    }
    return replace(run, **(small | changes))  # type: ignore[arg-type]


def start(run: Run, runs: Path) -> ForkServerProcess:
    runs.mkdir(exist_ok=True)
    child = PROCESSES.Process(target=work, args=(run.to_dict(), runs))
    child.start()
    return child


def wait_for_a_new_checkpoint(child: ForkServerProcess, folder: Path) -> None:
    """Until the process has done something worth losing, or is done."""
    before = {path.name for path in folder.glob("checkpoints/*")}
    while child.is_alive() and {path.name for path in folder.glob("checkpoints/*")} <= before:
        time.sleep(0.001)


def encoder(record: Record) -> dict[str, torch.Tensor]:
    return load_file(record.path / "encoder.safetensors")


def same(one: Record, other: Record) -> bool:
    """Whether their encoders are the same file, byte for byte."""
    first, second = ((record.path / "encoder.safetensors").read_bytes() for record in (one, other))
    return first == second


def same_weights(one: Record, other: Record) -> bool:
    first, second = encoder(one), encoder(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def losses(record: Record) -> list[tuple[int, float]]:
    lines = [json.loads(line) for line in (record.path / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["loss"]) for line in lines if line["kind"] == "train"]


@pytest.mark.slow
@pytest.mark.parametrize("method", NAMES)
def test_a_run_killed_at_random_moments_ends_with_the_same_bits(method: str, tmp_path: Path) -> None:
    run, session = tiny(method), replace(QUIET, log_every=2)  # as the processes log
    straight = train(run, tmp_path / "straight", tmp_path, session=session)
    dice = random.Random(method)
    kills = 0
    while kills < KILLS.get(method, 3):
        child = start(run, tmp_path / "killed")
        wait_for_a_new_checkpoint(child, tmp_path / "killed" / run.folder)
        time.sleep(dice.uniform(0.0, 0.15))
        child.kill()
        child.join()
        if child.exitcode == 0:
            break
        assert child.exitcode == -signal.SIGKILL
        kills += 1
    assert kills >= 2  # a child that came through is the same test of the kills before it
    killed = train(run, tmp_path / "killed", tmp_path, session=session)
    assert killed.status == "done"
    assert same(straight, killed)
    assert losses(straight) == losses(killed)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_a_signal_saves_and_exits_with_its_own_status(number: signal.Signals, tmp_path: Path) -> None:
    run = tiny("simclr+")
    straight = train(run, tmp_path / "straight", tmp_path, session=QUIET)
    child = start(run, tmp_path / "stopped")
    wait_for_a_new_checkpoint(child, tmp_path / "stopped" / run.folder)
    assert child.pid is not None
    os.kill(child.pid, number)
    child.join()
    assert child.exitcode == INTERRUPTED
    assert Record(tmp_path / "stopped", run).status == "unfinished"
    assert same(straight, train(run, tmp_path / "stopped", tmp_path, session=QUIET))


def test_a_second_process_on_the_same_run_stops_with_a_clear_error(tmp_path: Path) -> None:
    run = tiny("simclr", seed=1)
    record = Record(tmp_path, run)
    record.path.mkdir(parents=True)
    with record.lock():
        second = start(run, tmp_path)
        second.join()
    assert second.exitcode == 2
    assert (tmp_path / "errors").read_text() == f"error: {record.path} is in use by another process; " + (
        "wait for it or stop it first\n"
    )


@pytest.mark.parametrize("damage", ["truncated", "altered"])
def test_a_damaged_newest_checkpoint_is_reported_and_the_one_before_used(
    damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tiny("byol+")
    straight = train(run, tmp_path / "straight", tmp_path, session=QUIET)
    often = replace(QUIET, checkpoint_minutes=1e-9)
    monkeypatch.setattr(Record, "finish", lambda *_: os.kill(os.getpid(), 0))  # all but the very last write
    train(run, tmp_path / "damaged", tmp_path, session=often)
    monkeypatch.undo()
    newest = sorted((tmp_path / "damaged" / run.folder / "checkpoints").glob("step-*.pt"))[-1]
    content = bytearray(newest.read_bytes())
    if damage == "truncated":
        del content[len(content) // 2 :]
    else:
        content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    resumed = train(run, tmp_path / "damaged", tmp_path, session=QUIET)
    assert f"{newest} is damaged" in " ".join(capsys.readouterr().err.split())
    assert same(straight, resumed)


def test_a_finished_folder_holds_what_it_promises(tmp_path: Path) -> None:
    record = train(tiny("simclr+"), tmp_path, tmp_path, session=QUIET)
    names = {path.name for path in record.path.iterdir()}
    assert names >= {"spec.json", "results.json", "metrics.jsonl", "provenance.json", "encoder.safetensors"}
    results, provenance = record.results, record.provenance
    assert results is not None
    assert provenance is not None
    assert results["steps"] == 18
    assert results["online"][-1]["epoch"] == 3
    assert 0 <= results["online"][-1]["knn/top1"] <= 1
    assert provenance["digest"] == record.spec.digest
    assert provenance["data_digest"]
    assert {"loss_ssl", "loss_mcr", "loss_comp", "hyper_norm_mcr", "norm_comp"} <= results["last"].keys()


def test_a_finished_run_is_not_run_again(tmp_path: Path) -> None:
    run = tiny("simclr")
    first = train(run, tmp_path, tmp_path, session=QUIET)
    written = (first.path / "encoder.safetensors").stat().st_mtime_ns
    assert train(run, tmp_path, tmp_path, session=QUIET).path == first.path
    assert (first.path / "encoder.safetensors").stat().st_mtime_ns == written


def test_the_encoder_has_torchvisions_names(tmp_path: Path) -> None:
    from torchvision.models import resnet18

    record = train(tiny("byol+", backbone=Backbone(width=4)), tmp_path, tmp_path, session=QUIET)
    theirs = {name for name in resnet18(weights=None).state_dict() if not name.startswith("fc.")}
    assert encoder(record).keys() == theirs


def test_zero_epochs_store_the_untrained_network(tmp_path: Path) -> None:
    run = replace(tiny("simclr"), epochs=0)
    one = train(run, tmp_path / "one", tmp_path, session=QUIET)
    other = train(replace(run, method="barlow_twins"), tmp_path / "other", tmp_path, session=QUIET)
    assert same_weights(one, other)  # the trunk is drawn first, from the seed alone
    assert not same_weights(one, train(replace(run, seed=1), tmp_path / "third", tmp_path, session=QUIET))


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    run = replace(tiny("barlow_twins"), optimizer=Optimizer(name="sgd", lr=1e30))
    with pytest.raises(NonFiniteLoss, match="NaN or infinite at or before step") as caught:
        train(run, tmp_path, tmp_path, session=replace(QUIET, checkpoint_minutes=1e-9))
    record = Record(tmp_path, run)
    assert record.status == "failed"
    assert str(record.path / "checkpoints") in str(caught.value)
    for path in (record.path / "checkpoints").glob("step-*.pt"):
        state = torch.load(_payload(path), weights_only=True)
        assert all(torch.isfinite(t).all() for t in state["objective"].values() if t.is_floating_point())


def _payload(path: Path) -> Path:
    bare = path.with_suffix(".payload")
    bare.write_bytes(path.read_bytes().partition(b"\n")[2])
    return bare


def test_too_large_a_batch_is_named_before_training(tmp_path: Path) -> None:
    run = replace(preset("simclr", "digits"), batch_size=100_000)
    with pytest.raises(ValueError, match="batch_size 100000 is more than the 5752 images of Digits"):
        train(run, tmp_path, tmp_path, session=QUIET)


def test_online_probes_are_logged_and_stored(tmp_path: Path) -> None:
    record = train(tiny("simclr"), tmp_path, tmp_path, session=replace(QUIET, online_every=1))
    results = record.results
    assert results is not None
    assert [row["epoch"] for row in results["online"]] == [1, 2, 3]
    lines = [json.loads(line) for line in (record.path / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines if line["kind"] == "online"] == [1, 2, 3]


def test_bfloat16_trains_and_differs_from_float32(tmp_path: Path) -> None:
    records = [
        train(tiny("simclr+", precision=precision), tmp_path / precision, tmp_path, session=QUIET)
        for precision in ("float32", "bfloat16")
    ]
    (one, other) = (losses(record) for record in records)
    assert one != other
    assert all(abs(a - b) < 0.1 * abs(b) for (_, a), (_, b) in zip(one, other, strict=True))
