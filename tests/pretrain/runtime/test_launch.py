"""What torchrun and SLURM put into the environment: understood, or named with what is expected."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest
from compmod.pretrain.runtime import launch
from compmod.pretrain.runtime.launch import (
    Launch,
    cores_here,
    count_here,
    cpus_per_task,
    first_node,
    launch_of,
    meeting_point,
)
from compmod.pretrain.training.session import Session

STEP = {"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "4", "SLURM_LOCALID": "1", "SLURM_NODEID": "0"}


@pytest.mark.parametrize(
    "given, node, count",
    [
        ("8", "0", 8),
        (" 8 ", "", 8),
        ("2(x3)", "2", 2),
        ("2(x3),1", "2", 2),
        ("2(x3),1", "3", 1),
        ("2(x3),1", "9", 2),
        ("2(x3),1", "", 2),
        ("1,4(x2)", "1", 4),
        ("", "0", None),
        ("  ", "0", None),
    ],
)
def test_a_count_is_that_of_this_node(given: str, node: str, count: int | None) -> None:
    assert count_here({"SLURM_NTASKS_PER_NODE": given, "SLURM_NODEID": node}, "SLURM_NTASKS_PER_NODE") == count


WRONG = ["0", "0(x2)", "2(x0)", "many", "-1", "2(x3", "2,,1", "1e3", "1_0", "٣", "9" * 30, "1.5"]


@pytest.mark.parametrize("given", WRONG)
@pytest.mark.parametrize("name", ["SLURM_CPUS_PER_TASK", "LOCAL_WORLD_SIZE", "SLURM_STEP_TASKS_PER_NODE"])
def test_a_count_that_is_none_is_named(given: str, name: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"{name} is {given!r}; expected counts of at least 1")):
        cores_here(STEP | {name: given}, 8)


@pytest.mark.parametrize(
    "environment, usable, cores",
    [
        ({}, 8, 8),
        ({"LOCAL_WORLD_SIZE": "4"}, 8, 2),
        ({"LOCAL_WORLD_SIZE": "16"}, 8, 1),
        ({"LOCAL_WORLD_SIZE": ""}, 8, 8),
        (STEP | {"SLURM_CPUS_PER_TASK": "8", "SLURM_NTASKS_PER_NODE": "4"}, 8, 8),  # bound: not divided again
        (STEP | {"SLURM_CPUS_PER_TASK": "8", "SLURM_NTASKS_PER_NODE": "4"}, 32, 8),  # not bound: the whole node
        (STEP | {"SLURM_CPUS_PER_TASK": "8", "SLURM_NTASKS_PER_NODE": "0"}, 8, 8),
        (STEP | {"SLURM_CPUS_PER_TASK": "8"}, 6, 6),
        (STEP | {"SLURM_CPUS_ON_NODE": "32", "SLURM_STEP_TASKS_PER_NODE": "4"}, 8, 8),  # bound
        (STEP | {"SLURM_CPUS_ON_NODE": "32", "SLURM_STEP_TASKS_PER_NODE": "4"}, 32, 8),  # not bound
        (STEP | {"SLURM_CPUS_ON_NODE": "32", "SLURM_NTASKS_PER_NODE": "2(x3),1"}, 64, 16),
        (STEP | {"SLURM_NTASKS_PER_NODE": "", "SLURM_CPUS_PER_TASK": ""}, 8, 8),
        (STEP | {"SLURM_CPUS_PER_TASK": "16", "LOCAL_WORLD_SIZE": "4"}, 64, 4),  # torchrun as the one task of a node
    ],
)
def test_cores_are_those_that_a_task_is_bound_to(environment: dict[str, str], usable: int, cores: int) -> None:
    assert cores_here(environment, usable) == cores


@pytest.mark.parametrize("given", ["2(x3)", "2(x3),1", "", "0", "many"])
def test_loader_workers_are_the_cores_of_the_task(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    for name in [name for name in os.environ if name.startswith(("SLURM_", "LOCAL_WORLD"))]:
        monkeypatch.delenv(name)
    for name, value in (STEP | {"SLURM_CPUS_PER_TASK": "8", "SLURM_NTASKS_PER_NODE": given}).items():
        monkeypatch.setenv(name, value)
    assert Session().loader_workers == 8
    assert Session(workers=3).loader_workers == 3


def test_cores_for_threads_are_named_where_they_are_none() -> None:
    assert cpus_per_task({"SLURM_CPUS_PER_TASK": "4(x2)"}) == 4
    with pytest.raises(ValueError, match="SLURM_CPUS_PER_TASK is 'all'"):
        cpus_per_task({"SLURM_CPUS_PER_TASK": "all"})


@pytest.mark.parametrize("wrong", ["", "x", "-1", "1_0", "1.0", "2(x3)", "٣"])
@pytest.mark.parametrize("name", ["SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"])
def test_a_place_that_cannot_be_told_is_named(name: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=f"{name}.*expected three whole numbers"):
        launch_of(STEP | {name: wrong})


def test_a_step_without_processes_is_named() -> None:
    with pytest.raises(ValueError, match="SLURM_PROCID 0 must be below SLURM_STEP_NUM_TASKS 0"):
        launch_of(STEP | {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "0"})
    assert launch_of(STEP) == Launch(1, 4, 1)


@pytest.mark.parametrize("given", ["", None])
def test_a_step_without_nodes_is_named(given: str | None) -> None:
    environment = {} if given is None else {"SLURM_STEP_NODELIST": given}
    with pytest.raises(ValueError, match="SLURM_STEP_NODELIST is ''; expected the names"):
        meeting_point(environment)


@pytest.mark.parametrize(
    "listed, first",
    [
        ("n1", "n1"),
        ("n1,n2", "n1"),
        ("n[1-3]", "n1"),
        ("n[01-03,7],m2", "n01"),
        ("n[7,9-11]", "n7"),
        ("rack[2-3]-n[005,008]", "rack2-n005"),
        ("n[3]-ib,x", "n3-ib"),
        ("n1.lab.org", "n1.lab.org"),
        ("", ""),
        (",", ""),
    ],
)
def test_without_scontrol_the_first_node_is_read_from_the_short_form(listed: str, first: str) -> None:
    assert first_node(listed) == first


def test_without_scontrol_the_first_node_is_met_by_its_name_or_where_its_script_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    launcher = {"SLURM_LAUNCH_NODE_IPADDR": "10.1.2.3"}
    assert meeting_point({"SLURM_STEP_NODELIST": "localhost,n2"} | launcher)["MASTER_ADDR"] == "localhost"
    unknown = {"SLURM_STEP_NODELIST": "no-such-host[7-9].invalid"}
    assert meeting_point(unknown | launcher)["MASTER_ADDR"] == "10.1.2.3"
    with pytest.raises(ValueError, match=r"node no-such-host7.invalid has no address here; .*SLURM_LAUNCH_NODE_IPADDR"):
        meeting_point(unknown)


def test_a_scontrol_that_fails_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shell = shutil.which("sh")
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "scontrol").write_text(f"#!{shell}\necho 'Invalid hostlist: [' >&2\nexit 1\n")
    (tmp_path / "scontrol").chmod(0o755)
    with pytest.raises(ValueError, match=r"Invalid hostlist: \["):
        meeting_point({"SLURM_STEP_NODELIST": "n["})


@pytest.mark.parametrize("name", ["SLURM_JOB_ID", "SLURM_STEP_ID"])
def test_a_number_of_a_job_that_is_none_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "_scontrol", lambda *words: "localhost\n")
    with pytest.raises(ValueError, match=f"{name} is 'x'; expected a whole number"):
        meeting_point({"SLURM_STEP_NODELIST": "localhost", name: "x"})
    assert meeting_point({"SLURM_STEP_NODELIST": "localhost", name: ""})["MASTER_PORT"] == "10000"
