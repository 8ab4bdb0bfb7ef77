"""Whoever may write the runs folder runs nothing as whoever submits: tasks are data, commands come from elsewhere."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from compmod.slurm.clusters.cluster import CLUSTERS, Cluster
from compmod.slurm.submission import local
from compmod.slurm.submission.submit import submit
from compmod.slurm.task.task import Task, store, stored
from one_cell_tables import tiny_run, tiny_table
from paths import ROOT
from printing_slurm import PrintingSlurm

PATH = os.environ["PATH"]
PLAIN = Cluster(name="plain", gpus_per_node=0)


class _Hostile:
    """Unpickled, it makes a folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return os.mkdir, (str(self.marker),)


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """What is there once something hostile has run."""
    return tmp_path / "hostile-code-ran"


@pytest.fixture
def submitted(slurm: PrintingSlurm, tmp_path: Path) -> Path:
    """The folder of what was submitted: a run and its probes as jobs 41."""
    submit([tiny_table([0])], tmp_path / "runs", tmp_path, PLAIN)
    (folder,) = (tmp_path / "runs/.slurm/jobs").iterdir()
    return folder


def _task_command(folder: Path) -> str:
    """What srun is told to start."""
    text = (folder / "41_submission.sh").read_text()
    return text[text.index(sys.executable) :]


def _start(command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """As SLURM starts it, with no time for what is not there."""
    environment = os.environ | {"PATH": PATH, "SLURM_JOB_ID": "41", "SUBMITIT_EXECUTOR": "slurm"}
    return subprocess.run(
        ["bash", "-c", command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=100
    )


def _poison(folder: Path, marker: Path) -> None:
    """Every name that submitit would read."""
    names = {path.name for path in folder.glob("*.pkl")} | {"41_submitted.pkl", "41_0_result.pkl", "41_0_submitted.pkl"}
    for name in names:
        (folder / name).write_bytes(pickle.dumps(_Hostile(marker)))


def test_a_hostile_pickle_in_the_jobs_folder_runs_nothing(submitted: Path, marker: Path, tmp_path: Path) -> None:
    command = _task_command(submitted)
    _poison(submitted, marker)
    for file in submitted.glob("tasks-*.json"):
        file.write_text("[]")
    done = _start(command, tmp_path)
    assert not marker.exists()
    assert done.returncode == 2
    assert "was changed after it was submitted" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_folder_whose_parent_was_exchanged_for_another_runs_nothing(
    submitted: Path, marker: Path, tmp_path: Path
) -> None:
    command, runs = _task_command(submitted), tmp_path / "runs"
    (runs / ".slurm").rename(runs / "away")
    shutil.copytree(runs / "away", runs / ".slurm")
    _poison(submitted, marker)
    for file in submitted.glob("tasks-*.json"):
        tasks = json.loads(file.read_text())
        tasks[0] |= {"data": "/", "python": f"touch {marker}", "setup": [f"touch {marker}"]}
        file.write_text(json.dumps(tasks))
    done = _start(command, tmp_path)
    assert not marker.exists()
    assert done.returncode == 2
    assert not list(runs.glob("simclr*"))


def test_a_module_in_the_folder_that_a_job_starts_in_is_not_imported(
    submitted: Path, marker: Path, tmp_path: Path
) -> None:
    command, cwd = _task_command(submitted), tmp_path / "cwd"
    hostile = f"import os; os.makedirs({str(marker)!r}, exist_ok=True)\n"
    for name in ("compmod", "submitit", "torch", "numpy"):
        (cwd / name).mkdir(parents=True)
        (cwd / name / "__init__.py").write_text(hostile)
    for file in submitted.glob("tasks-*.json"):
        file.write_text("[]")  # it need not train
    _start(command, cwd)
    assert not marker.exists()


def test_sbatch_reads_no_script_that_others_could_exchange(slurm: PrintingSlurm, tmp_path: Path) -> None:
    submit([tiny_table([0])], tmp_path / "runs", tmp_path, PLAIN)
    assert len(slurm.arguments("sbatch")) == 2
    assert not any(str(tmp_path / "runs") in arguments for arguments in slurm.arguments("sbatch"))


def test_the_driver_takes_no_command_from_its_folder(
    tmp_path: Path, marker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = replace(CLUSTERS["local"], python="true", max_parallel=2)  # whose tasks end at once
    start = local._start

    def meddled(folder: Path, slots: int, *rest: bytes) -> None:
        plan = {"slots": 2, "gpus": 0, "setup": [f"mkdir {marker}"], "python": f"mkdir {marker}; true"}
        tasks = {f"local-{folder.name}_0": asdict(Task.of(tiny_run(0), tmp_path / "runs", tmp_path))}
        (folder / "plan.json").write_text(json.dumps(plan | {"tasks": tasks}))
        start(folder, slots, *rest)

    monkeypatch.setattr(local, "_start", meddled)
    submit([tiny_table([0])], tmp_path / "runs", tmp_path, cluster)
    end = time.monotonic() + 60
    while local.states(tmp_path / "runs"):
        assert time.monotonic() < end
        time.sleep(0.05)
    (folder,) = (path for path in (tmp_path / "runs/.slurm/local").iterdir() if path.is_dir())
    assert set(json.loads((folder / "states.json").read_text()).values()) == {"FAILED"}, "it has ended its work"
    assert not marker.exists()


def test_nothing_of_submitits_that_reads_or_writes_pickles_is_called() -> None:
    words = r"\.pkl|process_job|DelayedSubmission|submit_array|map_array|pickle_load|\.results?\(\)|executor\.submit\("
    found = [
        f"{path.name}: {line.strip()}"
        for path in sorted((ROOT / "slurm").rglob("*.py"))
        for line in path.read_text().splitlines()
        if re.search(words, line)
    ]
    assert found == []


def test_a_task_is_read_back_as_it_was_stored(tmp_path: Path) -> None:
    tasks = [Task.of(tiny_run(seed), tmp_path, tmp_path, minutes=10, warning_s=5) for seed in range(2)]
    file = store(tasks, tmp_path)
    assert [stored(file, place) for place in "01"] == tasks


@pytest.mark.parametrize(
    "change, said",
    [
        ({"python": "sh"}, "unknown field 'python'; known: spec, digest, runs"),
        ({"runs": 3}, "runs must be a text"),
        ({"runs": "relative"}, "runs must be a text"),
        ({"device": "cuda"}, "device must be one of cpu, auto"),
        ({"minutes": -1}, "minutes must be a whole number from 0"),
        ({"minutes": True}, "minutes must be a whole number"),
        ({"requeue": 1}, "requeue must be true or false"),
        ({"spec": []}, "a task is an object with a spec"),
        ({"digest": None}, "digest must be a text"),
    ],
)
def test_a_field_of_a_task_that_cannot_be_is_named(tmp_path: Path, change: dict[str, object], said: str) -> None:
    fields = asdict(Task.of(tiny_run(), tmp_path, tmp_path)) | change
    with pytest.raises(ValueError, match=re.escape(f"here: {said}")):
        Task.from_fields(fields, "here")


def test_a_task_without_a_field_names_it(tmp_path: Path) -> None:
    fields = asdict(Task.of(tiny_run(), tmp_path, tmp_path))
    del fields["requeue"]
    with pytest.raises(ValueError, match="requeue is missing"):
        Task.from_fields(fields, "here")


@pytest.mark.parametrize("place", ["1", "-1", "x", "", "1e0"])
def test_a_place_that_a_file_of_tasks_has_not_is_named(tmp_path: Path, place: str) -> None:
    file = store([Task.of(tiny_run(), tmp_path, tmp_path)], tmp_path)
    with pytest.raises(ValueError, match="holds no task"):
        stored(file, place)


@pytest.mark.parametrize("spec", [{"Run": 3}, {"Nothing": {}}, {}, {"Run": {"method": 3}}, {"Spec": {}}])
def test_a_spec_that_is_none_is_a_value_error(tmp_path: Path, spec: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"spec|unknown|Run|Nothing"):
        replace(Task.of(tiny_run(), tmp_path, tmp_path), spec=spec).decoded()
