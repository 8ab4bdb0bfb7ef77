"""What sbatch is given, and that nothing is given to it twice; sbatch itself only prints here (test_on_cluster*.py).

After a meant change, renew the golden files with `COMPMOD_RENEW_GOLDEN=1 pytest tests/slurm/submission/test_submit.py`,
and read the difference before committing it.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from compmod.cli import main
from compmod.pretrain.records.record import Record
from compmod.slurm.clusters.cluster import Cluster
from compmod.slurm.clusters.squeue import SlurmError
from compmod.slurm.commands.submit import submission_text
from compmod.slurm.submission.arrays import Arranged, Job, Wish, arrange
from compmod.slurm.submission.journal import append, entries
from compmod.slurm.submission.notify import notify_text
from compmod.slurm.submission.script import dependency, sbatch_text
from compmod.slurm.submission.submit import Submission, submit
from compmod.tables.build import build_table
from compmod.tables.plan.measured_rates import Rates
from compmod.tables.plan.plan import lacking
from one_cell_tables import tiny_run, tiny_table
from paths import FIXTURES
from paths import GOLDEN as GOLDEN_FOLDER
from printing_slurm import NAME, PrintingSlurm, line

GOLDEN = GOLDEN_FOLDER / "slurm"
BIG = Cluster(
    name="big",
    partition="gpu",
    account="lab",
    qos="long",
    constraint="volta|ampere",
    gpus_per_node=8,
    gpu_type="a100",
    nodes=2,
    hours=48,
    mem_gb=62.5,
    python="/opt/python",
    setup=("module load cuda", "export NCCL_DEBUG=WARN"),
    sbatch=(("mail-type", "FAIL"), ("exclusive", True), ("overcommit", False)),
)
PLAIN = Cluster(name="plain", gpus_per_node=0, python="/opt/python")


def _texts(arranged: Arranged, cluster: Cluster) -> str:
    numbers = [f"ARRAY_{place + 1}" for place in range(len(arranged.jobs))]
    given = (
        sbatch_text(job, cluster, Path("/runs/.slurm/jobs/SUBMISSION"), dependency(job, arranged.jobs, numbers))
        for job in arranged.jobs
    )
    return "\n".join(given)


def _large_jobs() -> Arranged:
    """The first pretraining on large images and what follows it, as one array each, and two small ones."""
    found = lacking([build_table(2), tiny_table(range(2))], {}, Rates())
    jobs = arrange(found, BIG).jobs
    first = next(place for place, job in enumerate(jobs) if job.resources.nodes > 1 and len(job.steps) > 1)
    of_digits = next(place for place, job in enumerate(jobs) if job.resources.gpus_per_node == 0)
    chosen = [jobs[first], replace(jobs[first + 1], corresponds=0), jobs[of_digits]]
    return Arranged(jobs=tuple(chosen))


def _single() -> Arranged:
    return arrange(lacking([tiny_table([0])], {}, Rates()), PLAIN)


def _notify() -> str:
    cluster = replace(BIG, notify="mail -s 'compmod' me@lab.org")
    return notify_text(cluster, Path("/runs"), Path("/logs"), [Path("/logs/tasks-SHA256.json")], ["ARRAY_1", "ARRAY_2"])


@pytest.mark.parametrize(
    "name, text",
    [
        ("sbatch_large.txt", _texts(_large_jobs(), BIG)),
        ("sbatch_single.txt", _texts(_single(), PLAIN)),
        ("sbatch_notify.txt", _notify()),
    ],
)
def test_what_sbatch_is_given_is_what_the_golden_file_says(name: str, text: str) -> None:
    if os.environ.get("COMPMOD_RENEW_GOLDEN"):
        (GOLDEN / name).write_text(text)
    assert text == (GOLDEN / name).read_text(), "renew it if that is meant; see above"


def test_data_that_the_jobs_will_look_for_in_vain_is_named(tmp_path: Path) -> None:
    def warned(number: int, copies: dict[str, str]) -> str:
        table = build_table(number, "short", copies=copies)
        sent = submit([table], tmp_path / "runs", tmp_path / "data", replace(PLAIN, gpus_per_node=8), dry_run=True)
        return " ".join(line for line in submission_text(sent, PLAIN).splitlines() if "look for them" in line)

    (tmp_path / "data" / "stl10_binary").mkdir(parents=True)
    (tmp_path / "data" / "mine" / "train").mkdir(parents=True)
    assert f"warning: no CIFAR-100, Tiny ImageNet below {tmp_path}/data, where" in warned(1, {"cifar10": "mine"})
    assert f"warning: no ImageNet, COCO 2017 (copy: few) below {tmp_path}/data" in warned(5, {"coco": "few"})
    sent = submit([build_table(1, "demo")], tmp_path / "runs", tmp_path / "data", PLAIN, dry_run=True)
    assert sent.remarks == ()


def test_one_process_a_gpu_shares_a_node() -> None:
    text = _texts(_large_jobs(), BIG)
    assert "#SBATCH --ntasks-per-node=8\n" in text
    assert "#SBATCH --gpus-per-node=a100:8\n" in text


def test_bash_understands_what_sbatch_is_given() -> None:
    text = _texts(_large_jobs(), BIG)
    done = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("minutes, warning_s", [(1, 15), (4, 60), (10, 120), (600, 120)])
def test_a_job_is_warned_within_the_last_quarter_of_its_time(minutes: int, warning_s: int) -> None:
    (job, _) = _single().jobs
    short = replace(job, resources=replace(job.resources, minutes=minutes))
    assert f"#SBATCH --signal=USR2@{warning_s}\n" in sbatch_text(short, PLAIN, Path("/logs"))


def test_a_cluster_that_forbids_requeueing_is_not_asked_to() -> None:
    (job, _) = _single().jobs
    text = sbatch_text(job, replace(PLAIN, requeue=False), Path("/logs"))
    assert "#SBATCH --no-requeue\n" in text
    assert "#SBATCH --requeue" not in text


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def test_every_array_is_one_sbatch(slurm: PrintingSlurm, runs: Path, tmp_path: Path) -> None:
    sent = submit([tiny_table(range(3))], runs, tmp_path, PLAIN)
    assert sent.numbers == ("41", "41")
    assert len(slurm.arguments("sbatch")) == 2


def test_every_task_is_in_the_journal_by_its_number_in_the_array(
    slurm: PrintingSlurm, runs: Path, tmp_path: Path
) -> None:
    submit([tiny_table(range(3))], runs, tmp_path, PLAIN)
    noted = entries(runs)
    assert [noted[tiny_run(seed).digest].job_id for seed in range(3)] == ["41_0", "41_1", "41_2"]
    assert {entry.where for entry in noted.values()} == {NAME}
    assert len(noted) == 6


def test_a_single_task_is_no_array(slurm: PrintingSlurm, runs: Path, tmp_path: Path) -> None:
    submit([tiny_table([0])], runs, tmp_path, PLAIN)
    assert entries(runs)[tiny_run(0).digest].job_id == "41"


def test_what_waits_or_runs_is_not_submitted_again(slurm: PrintingSlurm, runs: Path, tmp_path: Path) -> None:
    submit([tiny_table(range(2))], runs, tmp_path, PLAIN)
    slurm.has(line("41_0", "RUNNING"), line("41_1", "PENDING", "Resources"))
    again = submit([tiny_table(range(2))], runs, tmp_path, PLAIN)
    assert (again.arranged.jobs, len(again.arranged.under_way)) == ((), 4)
    assert len(slurm.arguments("sbatch")) == 2


def test_what_the_queue_has_lost_is_submitted_again(slurm: PrintingSlurm, runs: Path, tmp_path: Path) -> None:
    for attempt in (1, 2):
        submit([tiny_table([0])], runs, tmp_path, PLAIN)
        assert entries(runs)[tiny_run(0).digest].attempt == attempt


@pytest.mark.parametrize("job", [line("41", "FAILED", "NonZeroExitCode"), line("41", "COMPLETED")])
def test_what_has_ended_unfinished_is_submitted_again(
    slurm: PrintingSlurm, runs: Path, tmp_path: Path, job: str
) -> None:
    submit([tiny_table([0])], runs, tmp_path, PLAIN)
    slurm.has(job)
    assert submit([tiny_table([0])], runs, tmp_path, PLAIN).numbers == ("41", "41")


def test_what_waits_for_a_job_that_failed_is_submitted_again(slurm: PrintingSlurm, runs: Path, tmp_path: Path) -> None:
    submit([tiny_table([0])], runs, tmp_path, PLAIN)
    slurm.has(line("41", "PENDING", "DependencyNeverSatisfied"))
    assert len(submit([tiny_table([0])], runs, tmp_path, PLAIN).numbers) == 2


def test_a_new_measurement_waits_for_the_job_of_a_run_that_is_queued(
    slurm: PrintingSlurm, runs: Path, tmp_path: Path
) -> None:
    table = tiny_table(range(2))
    submit([table], runs, tmp_path, PLAIN)
    (cell,) = table.rows[0].cells
    longer = replace(cell, specs=tuple(replace(spec, linear_epochs=3) for spec in cell.specs))
    other = replace(table, rows=(replace(table.rows[0], cells=(longer,)),))
    slurm.has(line("41_0", "RUNNING"), line("41_1", "PENDING"))
    slurm.says("sbatch", "Submitted batch job 42\n")
    sent = submit([other], runs, tmp_path, PLAIN)
    assert sent.arranged.jobs[0].after == ("41_0", "41_1")
    script = runs / ".slurm" / "jobs"
    assert "#SBATCH --dependency=afterok:41_0:41_1\n" in next(script.glob("*/42_submission.sh")).read_text()


def test_what_another_cluster_was_given_is_left_to_it(slurm: PrintingSlurm, runs: Path, tmp_path: Path) -> None:
    submit([tiny_table([0])], runs, tmp_path, PLAIN)
    append(runs, [replace(entry, where="far", submitted=2e9) for entry in entries(runs).values()])
    assert submit([tiny_table([0])], runs, tmp_path, PLAIN).numbers == ()


def test_what_is_done_is_not_submitted(slurm: PrintingSlurm, runs: Path, tmp_path: Path) -> None:
    table = tiny_table([0])
    for spec in (tiny_run(0), *table.specs):
        record = Record(runs, spec)
        record.start()
        record.finish({"linear/top1": 0.5}, {})
    assert submit([table], runs, tmp_path, PLAIN).numbers == ()
    assert slurm.arguments("sbatch") == []


def test_when_squeue_does_not_answer_nothing_is_submitted(slurm: PrintingSlurm, runs: Path, tmp_path: Path) -> None:
    submit([tiny_table([0])], runs, tmp_path, PLAIN)
    slurm.says("squeue", complains="slurm_load_jobs error: Unable to contact slurm controller\n", status=1)
    with pytest.raises(SlurmError, match="Unable to contact slurm controller"):
        submit([tiny_table([0])], runs, tmp_path, PLAIN)
    assert len(slurm.arguments("sbatch")) == 2


def test_when_sbatch_refuses_an_array_those_before_it_stay_in_the_journal(
    slurm: PrintingSlurm, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refuse = "echo sbatch: error: QOSMaxSubmitJobPerUserLimit >&2; exit 1"
    slurm.runs_in_sbatch(f"[ ! -e {tmp_path}/once ] || {{ {refuse}; }}", f"> {tmp_path}/once")
    with pytest.raises(SlurmError, match=r"array 2 of 2 \(probes, 2 tasks\): .*PerUserLimit; 1 were submitted"):
        submit([tiny_table(range(2))], runs, tmp_path, PLAIN)
    assert sorted(entries(runs)) == sorted(tiny_run(seed).digest for seed in range(2))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "said",
    [
        "AssocMaxSubmitJobLimit",
        "QOSMaxSubmitJobPerUserLimit",
        "Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size)",
        "Batch job submission failed: Slurm temporarily unable to accept job, sleeping and retrying",
    ],
)
def test_where_slurm_itself_limits_the_tasks_the_error_names_the_setting(
    slurm: PrintingSlurm, runs: Path, tmp_path: Path, said: str
) -> None:
    slurm.says("sbatch", complains=f"sbatch: error: {said}\n", status=1)
    with pytest.raises(SlurmError, match="the same command goes on; max_submitted in the cluster's entry"):
        submit([tiny_table([0])], runs, tmp_path, PLAIN)


def test_another_refusal_does_not_name_that_setting(slurm: PrintingSlurm, runs: Path, tmp_path: Path) -> None:
    slurm.says("sbatch", complains="sbatch: error: Invalid account\n", status=1)
    with pytest.raises(SlurmError, match=r"Invalid account; 0 were submitted, and the same command goes on$"):
        submit([tiny_table([0])], runs, tmp_path, PLAIN)


def test_what_others_of_this_user_take_of_the_limit_is_left_out(
    slurm: PrintingSlurm, runs: Path, tmp_path: Path
) -> None:
    limited = replace(PLAIN, max_submitted=4)
    slurm.says("squeue", "90\n91_[0-9%2]\n")
    sent = submit([tiny_table(range(3))], runs, tmp_path, limited)
    assert (sent.numbers, len(sent.arranged.remaining)) == ((), 6)
    assert "Nothing submitted.\n6 tasks remain: max_submitted 4 of plain is reached; submit again goes on." in (
        submission_text(sent, limited)
    )
    slurm.says("squeue", "90\n")
    sent = submit([tiny_table(range(3))], runs, tmp_path, limited)
    assert [len(job.steps) for job in sent.arranged.jobs] == [1, 1]
    assert "\n4 tasks remain: max_submitted 4 of plain is reached" in submission_text(sent, limited)
    assert sorted(entries(runs)) == sorted(step.spec.digest for job in sent.arranged.jobs for step in job.steps)


def test_a_dry_run_tells_what_would_remain(
    slurm: PrintingSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "clusters.toml"
    file.write_text("[cluster.big]\nmax_submitted = 5\n")
    monkeypatch.setenv("COMPMOD_CLUSTERS", str(file))
    command = ["submit", "7", "--cluster", "big", "--dry-run", "--runs", str(tmp_path / "runs")]
    slurm.says("squeue", "90\n")
    main(command)
    said = capsys.readouterr().out
    assert "4 tasks in 2 arrays would be submitted" in said
    assert "12 tasks remain: max_submitted 5 of big is reached; submit again goes on." in said
    slurm.says("squeue", complains="Unable to contact slurm controller\n", status=1)
    main(command)
    assert "max_submitted is compared as if nothing of yours waited or ran" in capsys.readouterr().out


def test_every_task_starts_by_the_entrys_command_with_the_entrys_arguments_of_srun() -> None:
    (job, _) = _single().jobs
    python, srun_args = ("apptainer", "exec", "/my images/a.sif", "python3"), ("--container-mounts=/my data:/data",)
    text = sbatch_text(job, replace(PLAIN, python=python, srun_args=srun_args), Path("/logs"))
    (line,) = [line for line in text.splitlines() if line.startswith("srun ")]
    words = shlex.split(line)
    assert "--container-mounts=/my data:/data" in words[: words.index("apptainer")]
    assert words[words.index("apptainer") :][:5] == [*python, "-P"]


def test_without_slurm_the_error_says_where_to_submit(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SlurmError, match="sbatch is not on PATH; submit on a login node"):
        submit([tiny_table([0])], runs, tmp_path, PLAIN)


def test_variables_of_the_job_that_submits_do_not_reach_sbatch(
    slurm: PrintingSlurm, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "64")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
    env = shutil.which("env", path="/usr/bin:/bin")
    slurm.runs_in_sbatch(f"{env} > {tmp_path}/environment")
    submit([tiny_table([0])], runs, tmp_path, PLAIN)
    found = (tmp_path / "environment").read_text()
    assert "SLURM_CPUS_PER_TASK" not in found
    assert "SLURM_CONF=/etc/slurm.conf" in found
    assert os.environ["SLURM_CPUS_PER_TASK"] == "64"


def test_what_a_task_unpickles_lies_where_only_its_owner_writes(
    slurm: PrintingSlurm, runs: Path, tmp_path: Path
) -> None:
    runs.mkdir()
    runs.chmod(0o777)
    submit([tiny_table([0])], runs, tmp_path, PLAIN)
    (folder,) = (runs / ".slurm" / "jobs").iterdir()
    assert oct(folder.stat().st_mode & 0o777) == "0o755"


def test_a_dry_run_submits_and_writes_nothing(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "clusters.toml"
    file.write_text('[cluster.big]\npartition = "gpu"\n')
    monkeypatch.setenv("COMPMOD_CLUSTERS", str(file))
    monkeypatch.setenv("PATH", str(tmp_path))
    main(["submit", "7", "--cluster", "big", "--dry-run", "--runs", str(runs)])
    said = capsys.readouterr().out
    assert "Missing from table 7" in said
    assert "#SBATCH --partition=gpu" in said
    assert "#SBATCH --dependency=aftercorr:ARRAY_1" in said
    assert "16 tasks in 4 arrays would be submitted to big:" in said
    assert not runs.exists()


def test_the_dry_run_of_a_measurement_of_large_images_names_its_shape() -> None:
    job: Job = _large_jobs().jobs[0]
    said = submission_text(Submission(lacking([], {}, Rates()), Arranged(jobs=(job,))), BIG, dry_run=True)
    assert f"{len(job.steps)} x pretraining, each 2 nodes, 8 GPUs, at most" in said


@pytest.mark.parametrize(
    "options, said",
    [
        ([], "--cluster"),
        (["--cluster", "local", "--nodes", "-1"], "nodes must be from 0 to 10000, not -1"),
        (["--cluster", "local", "--gpus", "-2"], "gpus must be from -1 to 1024, not -2"),
        (["--cluster", "none"], "unknown cluster 'none'"),
    ],
)
def test_a_wrong_option_is_one_line(options: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leave:
        main(["submit", "1", "--dry-run", *options])
    assert leave.value.code == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert said in error


def test_processes_on_several_nodes_end_together() -> None:
    job = arrange(lacking([tiny_table([0])], {}, Rates()), PLAIN, wish=Wish(nodes=2)).jobs[0]
    text = sbatch_text(job, PLAIN, Path("/logs"))
    assert "#SBATCH --nodes=2\n" in text
    assert "--kill-on-bad-exit=1" in text


def test_submitting_imports_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from compmod.cli import main\n"
        f"main(['submit', '1', '--cluster', 'local', '--dry-run', '--runs', {str(tmp_path)!r}])\n"
        "sys.exit('imported torch' if 'torch' in sys.modules else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_two_people_who_submit_at_once_submit_nothing_twice(slurm: PrintingSlurm, runs: Path, tmp_path: Path) -> None:
    slurm.says("squeue", f"{line('41_0', 'PENDING')}\n{line('41_1', 'PENDING')}\n")
    code = (
        "import sys; from pathlib import Path\n"
        "from compmod.slurm.clusters.cluster import Cluster\n"
        "from compmod.slurm.submission.submit import submit\n"
        "from one_cell_tables import tiny_table\n"
        "cluster = Cluster(name='plain', gpus_per_node=0)\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "submit([tiny_table(range(2))], Path(sys.argv[1]), Path(sys.argv[1]), cluster)\n"
    )
    command, tests = [sys.executable, "-c", code, str(runs)], FIXTURES
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with contextlib.ExitStack() as stack:
        people = [stack.enter_context(subprocess.Popen(command, cwd=tests, **pipes)) for _ in range(3)]
        for person in people:
            assert person.stdout is not None
            person.stdout.readline()
        for person in people:
            assert person.stdin is not None
            person.stdin.write(b"now\n")
            person.stdin.flush()
    assert [person.returncode for person in people] == [0, 0, 0]
    assert len(slurm.arguments("sbatch")) == 2
