"""Loggers of foreign packages: the same run and every step once after a kill, and no harm where they fail.

A fake package shows the interface; the installed ones are asked for what they stored.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from compmod.pretrain.records.record import Record
from compmod.pretrain.trainer import train
from logged_training import KILLED, Curve, logged, run, session
from paths import ROOT

FIXTURES = ROOT / "tests" / "fixtures"


def _of_fake(folder: Path) -> tuple[int, Curve]:
    entries = [json.loads(line) for line in Path(os.environ["FAKE_STORE"]).read_text().splitlines()]
    rows = [(entry["step"], entry["values"]) for entry in entries if "step" in entry]
    return 1, sorted((name, step, value) for step, values in rows for name, value in values.items())


def _of_trackio(folder: Path) -> tuple[int, Curve]:
    from trackio.sqlite_storage import SQLiteStorage

    records = SQLiteStorage.get_run_records("compmod")
    rows = [row for of in records for row in SQLiteStorage.get_logs("compmod", of["name"], run_id=of["id"])]
    aside = ("step", "timestamp")
    return len(records), sorted(
        (name, row["step"], value) for row in rows for name, value in row.items() if name not in aside
    )


def _of_wandb(folder: Path) -> tuple[int, Curve]:
    from wandb.proto import wandb_internal_pb2

    runs, curve = set(), []
    for file in folder.glob("loggers/wandb/wandb/offline-run-*/*.wandb"):
        for content in _records(file.read_bytes()):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(content)
            runs |= {record.run.run_id} if record.WhichOneof("record_type") == "run" else set()
            items = {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
            step = record.history.step.num
            curve += [(name, step, json.loads(text)) for name, text in items.items() if not name.startswith("_")]
    return len(runs), sorted(curve)


def _records(content: bytes) -> list[bytes]:
    """Records of a .wandb file: parts with a header of 7 bytes, none of which crosses a block (LevelDB's log)."""
    records, record, at = [], b"", 7
    while at + 7 <= len(content):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, at)
        record += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            records.append(record)
            record = b""
    return records


def _of_mlflow(folder: Path) -> tuple[int, Curve]:
    import mlflow

    client = mlflow.MlflowClient()
    runs = client.search_runs([client.get_experiment_by_name("compmod").experiment_id])
    assert {of.info.status for of in runs} == {"FINISHED"}
    curve = [
        (name, metric.step, metric.value)
        for of in runs
        for name in of.data.metrics
        for metric in client.get_metric_history(of.info.run_id, name)
    ]
    return len(runs), sorted(curve)


def _trained(runs: Path, logger: str, kill: int) -> int:
    command = [sys.executable, str(FIXTURES / "logged_training.py"), str(runs), logger, str(kill)]
    paths = os.pathsep.join([os.environ.get("PYTHONPATH", ""), *filter(None, sys.path)])
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=os.environ | {"PYTHONPATH": paths})
    assert "warning" not in done.stderr
    return done.returncode


def _check_a_kill(logger: str, runs: Path, stored: Callable[[Path], tuple[int, Curve]]) -> None:
    """Kill a training beyond its checkpoint, go on, and compare what the logger has with metrics.jsonl."""
    folder = Record(runs, run()).path
    assert _trained(runs, logger, KILLED) == -9
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["step-000000004.pt"]
    assert _trained(runs, logger, 0) == 0
    expected = logged(folder)
    assert {step for name, step, _ in expected if name == "train/loss"} == set(range(1, 13))
    assert stored(folder) == (1, expected)


def test_after_a_kill_a_logger_gets_every_step_once(store: Path, tmp_path: Path) -> None:
    _check_a_kill("trackio", tmp_path / "runs", _of_fake)


@pytest.mark.slow
@pytest.mark.trackio
def test_trackio_has_one_run_with_every_step_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    from trackio import sqlite_storage

    monkeypatch.setattr(sqlite_storage, "TRACKIO_DIR", tmp_path / "trackio")
    _check_a_kill("trackio", tmp_path / "runs", _of_trackio)


@pytest.mark.slow
@pytest.mark.wandb
def test_wandb_has_one_run_with_every_step_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    _check_a_kill("wandb", tmp_path / "runs", _of_wandb)


@pytest.mark.slow
@pytest.mark.mlflow
@pytest.mark.filterwarnings("default")  # MLflow's own
def test_mlflow_has_one_run_with_every_step_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    _check_a_kill("mlflow", tmp_path / "runs", _of_mlflow)


def _thread() -> threading.Thread:
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "trackio logger"]
    return thread


@pytest.mark.parametrize(
    "fault, reason", [("fails", "RuntimeError: no network here"), ("dies", "its process ended with status 7")]
)
def test_a_logger_that_fails_costs_one_line_and_no_training(
    fault: str, reason: str, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    monkeypatch.setenv("FAKE_FAULT", fault)
    record = train(run(), tmp_path, tmp_path, session("trackio"))
    for thread in threading.enumerate():
        if thread.name == "trackio logger":
            thread.join()
    assert record.status == "done"
    assert capfd.readouterr().err == f"warning: no more is logged to trackio: {reason}\n"


def test_training_waits_for_no_logger(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_FAULT", "waits")
    record = train(run(), tmp_path, tmp_path, session("trackio"))
    assert record.status == "done"
    thread = _thread()
    assert not store.exists()
    store.touch()
    thread.join()
    assert _of_fake(record.path) == (1, logged(record.path))


def test_a_logger_that_is_not_installed_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from compmod.cli import main
    from compmod.pretrain.loggers import names

    monkeypatch.setattr(names, "find_spec", lambda package: None)
    words = ["pretrain", "simclr", "--dataset", "digits", "--runs", str(tmp_path / "runs"), "--logger", "wandb"]
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert capsys.readouterr().err == "error: logger wandb is not installed; this installs it: pip install wandb\n"
    assert not (tmp_path / "runs").exists()
