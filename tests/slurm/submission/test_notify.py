"""The user's command at the end of a submission: when it is called, with what, and that no text becomes shell."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from compmod.cli import main
from compmod.slurm.clusters.cluster import Cluster
from compmod.slurm.commands.submit import submission_text
from compmod.slurm.submission.journal import entries
from compmod.slurm.submission.notify import MARK, call, notify_text
from compmod.slurm.submission.submit import submit
from one_cell_tables import tiny_table
from printing_slurm import PrintingSlurm

HOSTILE = "failed\nfailed: 0 of 1\nbug: $(touch made) `touch made` '; touch made; ' \" \\ %s $HOME é"
LOCAL = Cluster(
    name="it's mine", executor="local", gpus_per_node=0, notify="cat > said; printenv COMPMOD_STATE > state"
)
PLAIN = Cluster(name="plain", gpus_per_node=0, python="/opt/python", notify="cat")


def _called(folder: Path, text: str, shell: str = "sh") -> subprocess.CompletedProcess[str]:
    return subprocess.run([shell, "-c", text], cwd=folder, capture_output=True, text=True, timeout=60)


def _python(folder: Path, *lines: str) -> tuple[str, ...]:
    """A command that does this in place of Python, whatever its arguments."""
    path = folder / "my python"
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)
    return (str(path),)


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_text_of_runs_reaches_the_command_as_it_stands_and_is_no_shell(tmp_path: Path, shell: str) -> None:
    (tmp_path / "text").write_text(f"a banner; touch made\n{MARK}{HOSTILE}\n{MARK}finished\n")
    cluster = replace(LOCAL, python=_python(tmp_path, f"cat '{tmp_path}/text'"))
    done = _called(tmp_path, call(cluster, tmp_path, [tmp_path / "tasks"]), shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "said").read_text() == f"{HOSTILE.partition(chr(10))[2]}\n{MARK}finished\n"
    assert (tmp_path / "state").read_text() == "failed\n"
    assert not (tmp_path / "made").exists()


def test_the_command_knows_the_cluster_and_the_runs_folder(tmp_path: Path) -> None:
    cluster = replace(LOCAL, notify="echo $COMPMOD_CLUSTER, $COMPMOD_RUNS")
    done = _called(tmp_path, call(cluster, Path("/my runs/it's"), []))
    assert done.stdout.startswith("it's mine, /my runs/it's\n")


@pytest.mark.parametrize("setup", ["true", "set -eu"])
def test_a_command_that_fails_is_in_the_log_and_nothing_else(tmp_path: Path, setup: str) -> None:
    cluster = replace(LOCAL, notify="echo no such mail >&2; exit 7")
    done = _called(tmp_path, f"{setup}\n{call(cluster, tmp_path, [])}")
    assert (done.returncode, done.stderr) == (7, "no such mail\n")
    assert done.stdout == "notify ended with status 7, for COMPMOD_STATE=test\n"


@pytest.mark.parametrize("lines", [("echo half of it", "exit 1"), (f"echo {MARK}finished", "exit 1"), ("echo hello",)])
@pytest.mark.parametrize("setup", ["true", "set -eu"])
def test_an_outcome_that_cannot_be_read_is_told_all_the_same(
    tmp_path: Path, setup: str, lines: tuple[str, ...]
) -> None:
    cluster = replace(LOCAL, python=_python(tmp_path, *lines))
    text = call(cluster, tmp_path, [tmp_path / "tasks"])
    assert _called(tmp_path, f"{setup}\n{text}").returncode == 0
    assert (tmp_path / "state").read_text() == "stalled\n"
    assert "its outcome cannot be read" in (tmp_path / "said").read_text()


def test_the_job_is_small_and_follows_every_array_however_they_end() -> None:
    cluster = replace(
        PLAIN,
        gpus_per_node=8,
        mem_gb=64,
        partition="gpu",
        account="lab",
        setup=("module load x",),
        srun_args=("--container-image=a b",),
        sbatch=(("exclusive", True),),
    )
    text = notify_text(cluster, Path("/runs"), Path("/logs"), [Path("/a b")], ["41", "42"])
    lines = text.splitlines()
    options = [line.removeprefix("#SBATCH --") for line in lines if line.startswith("#SBATCH")]
    wanted = {"dependency=afterany:41:42", "ntasks-per-node=1", "cpus-per-task=1", "nodes=1", "time=10", "mem=1024M"}
    assert wanted | {"partition=gpu", "account=lab"} <= set(options)
    assert not [option for option in options if option.startswith(("gpus", "exclusive", "array"))]
    assert lines.index("module load x") < next(index for index, line in enumerate(lines) if "said=" in line)
    assert "srun --cpus-per-task=1 '--container-image=a b' /opt/python -P -m compmod.slurm.status.outcome " in text
    assert f"{MARK} '/a b')" in text
    assert subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True).stderr == ""


@pytest.fixture
def given(slurm: PrintingSlurm, tmp_path: Path) -> Path:
    """A file that receives every script that sbatch is given."""
    slurm.runs_in_sbatch(f'{slurm.cat} "$1" >> {tmp_path}/given')
    return tmp_path / "given"


def test_a_submission_with_notify_is_one_job_more_which_is_in_no_journal(given: Path, tmp_path: Path) -> None:
    sent = submit([tiny_table(range(2))], tmp_path / "runs", tmp_path, PLAIN)
    assert sent.numbers == ("41", "41")
    scripts = given.read_text().split("#!/bin/bash")[1:]
    assert ["compmod-notify" in script for script in scripts] == [False, False, True]
    assert "--dependency=afterany:41:41\n" in scripts[2]
    files = {word for script in scripts[:2] for word in script.split() if word.endswith(".json")}
    assert len(files) == 2
    assert all(file in scripts[2] for file in files)
    assert len(entries(tmp_path / "runs")) == 4
    assert "notify is called when all of them have ended." in submission_text(sent, PLAIN)


def test_without_notify_or_with_nothing_to_submit_there_is_no_such_job(given: Path, tmp_path: Path) -> None:
    submit([tiny_table([0])], tmp_path / "runs", tmp_path, replace(PLAIN, notify=""))
    submit([], tmp_path / "runs", tmp_path, PLAIN)
    assert "compmod-notify" not in given.read_text()


def test_where_sbatch_refuses_that_job_the_submission_stands_and_says_so(slurm: PrintingSlurm, tmp_path: Path) -> None:
    slurm.runs_in_sbatch(f'if {slurm.grep} -q compmod-notify "$1"; then echo no CPU jobs here >&2; exit 1; fi')
    sent = submit([tiny_table(range(2))], tmp_path / "runs", tmp_path, PLAIN)
    assert len(sent.numbers) == 2
    (remark,) = sent.remarks
    assert remark.startswith("notify will not be called: sbatch refused its job: ")
    assert "no CPU jobs here" in remark
    assert "notify is called" not in submission_text(sent, PLAIN)


def test_where_sbatch_refuses_an_array_the_command_hears_of_those_before_it(
    slurm: PrintingSlurm, tmp_path: Path
) -> None:
    slurm.runs_in_sbatch(
        f'if {slurm.grep} -q compmod-probes "$1"; then echo full >&2; exit 1; fi',
        f'{slurm.cat} "$1" >> {tmp_path}/given',
    )
    with pytest.raises(RuntimeError, match="array 2 of 2"):
        submit([tiny_table(range(2))], tmp_path / "runs", tmp_path, PLAIN)
    assert "--dependency=afterany:41\n" in (tmp_path / "given").read_text()


def test_its_job_counts_among_those_that_a_limit_allows(slurm: PrintingSlurm, tmp_path: Path) -> None:
    sent = submit([tiny_table(range(2))], tmp_path / "runs", tmp_path, replace(PLAIN, max_submitted=3))
    assert [len(job.steps) for job in sent.arranged.jobs] == [1, 1]
    with pytest.raises(ValueError, match="with notify, whose job counts, max_submitted must be 2 or more"):
        replace(PLAIN, max_submitted=1)


@pytest.mark.parametrize(
    "entry, found",
    [
        ('notify = "cat"', "ok     notify: "),
        ('notify = "exit 3"', "FAULTY notify: "),
        ('notify = "cat"\npython = "false"', "FAULTY notify: "),
    ],
)
def test_the_check_calls_the_command_once_through_all_that_a_submission_uses(
    entry: str, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "clusters.toml"
    file.write_text(f'[cluster.mine]\nexecutor = "local"\n{entry}\n')
    monkeypatch.setenv("COMPMOD_CLUSTERS", str(file))
    if found.startswith("ok"):
        main(["cluster", "check", "mine", "--run"])
    else:
        with pytest.raises(SystemExit):
            main(["cluster", "check", "mine", "--run"])
    said = capsys.readouterr().out
    assert said.count(found) == 1
    assert f"for COMPMOD_STATE={'stalled' if 'false' in entry else 'test'}" in said
