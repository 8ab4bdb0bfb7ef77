"""What the script of a job does after its task, by bash: SLURM's commands here only print."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from compmod.slurm.clusters.cluster import Cluster
from compmod.slurm.submission.arrays import Job, arrange
from compmod.slurm.submission.script import sbatch_text
from compmod.tables.plan.measured_rates import Rates
from compmod.tables.plan.plan import lacking
from one_cell_tables import tiny_table
from printing_slurm import PrintingSlurm

PLAIN = Cluster(name="plain", gpus_per_node=0, python="/opt/python")
ASKS = ': > "$COMPMOD_ASK"'


class Script:
    """The script of an array of `count` tasks, and a `srun` that stands for its task."""

    def __init__(self, slurm: PrintingSlurm, folder: Path) -> None:
        self.slurm, self.folder = slurm, folder / "logs of it's own"
        self.folder.mkdir()
        for name in ("bash", "rm"):
            (slurm.folder / name).symlink_to(str(shutil.which(name, path="/usr/bin:/bin")))

    def runs(self, task: str, *, count: int = 1, cluster: Cluster = PLAIN) -> int:
        """Run it, with `task` in place of srun; its exit status."""
        (self.slurm.folder / "srun").write_text(f"#!{self.slurm.shell}\n{task}\n")
        (self.slurm.folder / "srun").chmod(0o755)
        job: Job = arrange(lacking([tiny_table(range(count))], {}, Rates()), PLAIN).jobs[0]
        array = {"SLURM_ARRAY_JOB_ID": "5", "SLURM_ARRAY_TASK_ID": "3"} if count > 1 else {}
        environment = {"PATH": str(self.slurm.folder), "SLURM_JOB_ID": "8", **array}
        text = sbatch_text(job, cluster, self.folder)
        done = subprocess.run(["bash"], input=text, text=True, env=environment, capture_output=True, timeout=60)
        assert done.stderr == ""
        assert list(self.folder.iterdir()) == []
        return done.returncode


@pytest.fixture
def script(slurm: PrintingSlurm, tmp_path: Path) -> Script:
    return Script(slurm, tmp_path)


@pytest.mark.parametrize("setup", [(), ("set -eu",)])
@pytest.mark.parametrize(
    "shown, again",
    [
        ("JobState=RUNNING Reason=None Restarts=1", True),
        ("JobState=COMPLETING Reason=TimeLimit Restarts=1", True),
        ("JobState=COMPLETING Reason=None Restarts=2", False),
        ("JobState=PENDING Reason=BeginTime Restarts=1", False),
        ("JobState=CANCELLED Reason=None Restarts=1", False),
        ("slurm_load_jobs error: Unable to contact slurm controller", False),
    ],
)
def test_a_task_that_asks_is_queued_again_where_one_that_reaches_scontrol_would_be(
    script: Script, shown: str, again: bool, setup: tuple[str, ...]
) -> None:
    script.slurm.says("scontrol", f"JobId=8 {shown} Dependency=(null)\n")
    assert script.runs(f"{ASKS}; exit 75", cluster=replace(PLAIN, setup=setup)) == 75
    assert script.slurm.arguments("scontrol") == ["show job --oneliner 8", *["requeue 8"] * again]


def test_a_task_of_an_array_is_queued_again_and_no_other_task(script: Script) -> None:
    script.slurm.says("scontrol", "JobId=8 JobState=RUNNING Reason=None\n")
    script.runs(ASKS, count=2)
    assert script.slurm.arguments("scontrol") == ["show job --oneliner 5_3", "requeue 5_3"]


@pytest.mark.parametrize("status", [0, 1, 75])
def test_a_task_that_does_not_ask_ends_its_job_with_its_own_status(script: Script, status: int) -> None:
    script.slurm.says("scontrol")
    assert script.runs(f"exit {status}") == status
    assert script.slurm.arguments("scontrol") == []


def test_no_one_can_guess_the_file_by_which_a_task_asks(script: Script, tmp_path: Path) -> None:
    for _ in range(2):
        script.runs(f'printf "%s\\n" "$COMPMOD_ASK" >> "{tmp_path}/asked"')
    first, second = (tmp_path / "asked").read_text().splitlines()
    assert first != second
    assert Path(first).parent == script.folder
