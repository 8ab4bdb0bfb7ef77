"""What an entry says of the way to Python: a command with spaces, arguments of srun, environment modules."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from compmod.pretrain.records.record import Record
from compmod.slurm.clusters.cluster import Cluster
from compmod.slurm.submission.journal import entries
from compmod.slurm.submission.submit import submit
from private_cluster import CONTAINED, PrivateCluster
from tables_of_tiny_runs import tiny, tiny_table

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

RUN = tiny("simclr", epochs=1)
# What environment modules and Lmod are to a script: a function of the shell, which the file named in `setup` defines.
MODULES = """
module() {
    [ "$1" = load ] || return 2
    [ -e "$MODULEPATH/$2" ] || { echo "Unable to locate a modulefile for '$2'" >&2; return 1; }
    . "$MODULEPATH/$2"
}
"""


def logged(place: Cluster, cluster: PrivateCluster, folder: Path, state: str = "COMPLETED") -> str:
    """The log of a pretraining that is submitted there, when its job has ended in this state."""
    submit([tiny_table([RUN])], folder / "runs", folder, place)
    entry = entries(folder / "runs")[RUN.digest]
    cluster.wait(entry.job_id, state)
    return entry.log.read_text()


def entered(folder: Path) -> str:
    """A program that says where it is, then becomes the command that follows it, as `apptainer exec IMAGE` does."""
    program = folder / "my tools" / "enter it's"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "entered $1 in $(pwd) with ${LOADED:-nothing}"\nshift\nexec "$@"\n')
    program.chmod(0o755)
    return str(program)


def test_a_command_with_spaces_and_arguments_of_srun_reach_every_task_as_they_stand(
    cluster: PrivateCluster, tmp_path: Path
) -> None:
    (tmp_path / "my data").mkdir()
    image, where = "$HOME's image.sif", str(tmp_path / "my data")
    place = cluster.place(python=(entered(tmp_path), image, sys.executable), srun_args=(f"--chdir={where}",))
    assert f"entered {image} in {where} with nothing\n" in logged(place, cluster, tmp_path)
    assert Record(tmp_path / "runs", RUN).status == "done"


def test_the_check_runs_what_tasks_run(
    cluster: PrivateCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, said = entered(tmp_path), tmp_path / "said"
    entry = {"partition": "low", "gpus_per_node": 0, "cpus_per_gpu": 1, "hours": 1.0}
    entry |= {"python": [program, "x", sys.executable], "srun_args": [f"--chdir={tmp_path}/my tools"]}
    entry |= {"notify": f"{{ echo $COMPMOD_STATE; cat; }} > '{said}'"}
    lines = [f"{name} = {json.dumps(value)}" for name, value in entry.items()]
    (tmp_path / "clusters.toml").write_text("\n".join(["[cluster.private]", *lines, ""]))
    monkeypatch.setitem(cluster.environment, "COMPMOD_CLUSTERS", str(tmp_path / "clusters.toml"))
    monkeypatch.chdir(tmp_path)
    shown = cluster.run(sys.executable, "-m", "compmod", "cluster", "check", "private", "--run")
    assert "FAULTY" not in shown
    assert "with nothing compmod" in shown  # the end of a log is shown
    assert "torch" in shown
    assert said.read_text() == "test\nThis is what compmod cluster check sends.\n"


@pytest.fixture
def modules(tmp_path: Path) -> tuple[str, ...]:
    """The lines of `setup` that load a module `data/1.0`, which sets a variable."""
    (tmp_path / "module files/data").mkdir(parents=True)
    (tmp_path / "module files/data/1.0").write_text("export LOADED='data 1.0'\n")
    (tmp_path / "init it's.sh").write_text(MODULES)
    return (
        f'source "{tmp_path}/init it\'s.sh"',
        f"export MODULEPATH='{tmp_path}/module files'",
        "module load data/1.0",
    )


def test_a_module_that_setup_loads_is_there_for_the_task(
    cluster: PrivateCluster, tmp_path: Path, modules: tuple[str, ...]
) -> None:
    place = cluster.place(python=(entered(tmp_path), "x", sys.executable), setup=modules)
    assert "with data 1.0\n" in logged(place, cluster, tmp_path)


def test_after_set_e_a_module_that_is_missing_ends_the_job_before_its_task(
    cluster: PrivateCluster, tmp_path: Path, modules: tuple[str, ...]
) -> None:
    log = logged(cluster.place(setup=("set -e", *modules, "module load none")), cluster, tmp_path, "FAILED")
    assert log.strip() == "Unable to locate a modulefile for 'none'"


def test_a_container_without_scontrol_needs_nothing_but_the_runs_folder(
    cluster: PrivateCluster, tmp_path: Path
) -> None:
    log = logged(cluster.place(python=CONTAINED), cluster, tmp_path)
    assert "scontrol" not in log
    assert Record(tmp_path / "runs", RUN).status == "done"
