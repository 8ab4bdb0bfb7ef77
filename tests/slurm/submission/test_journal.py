"""What was submitted is known afterwards, whoever did it and however it ended; and one at a time submits."""

from __future__ import annotations

import errno
import fcntl
import getpass
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from compmod.slurm.submission import journal
from compmod.slurm.submission.journal import FOLDER, JournalEntry, append, entries, history, new_entries, submitting
from compmod.tables.plan.plan import Step
from one_cell_tables import tiny_run

ENTRY = JournalEntry(
    digest="0123456789ab",
    folder="simclr-digits-0123456789ab",
    job_id="12_3",
    cluster="big",
    where="private",
    user="ann",
    submitted=100.0,
    logs="/logs",
)


def test_what_is_appended_is_read_back(tmp_path: Path) -> None:
    append(tmp_path, [ENTRY])
    assert entries(tmp_path) == {ENTRY.digest: ENTRY}


def test_nothing_is_known_where_nothing_was_submitted(tmp_path: Path) -> None:
    assert entries(tmp_path / "none") == {}


def test_the_newest_entry_of_a_digest_counts_whoever_wrote_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    later = replace(ENTRY, job_id="20", user="bob", submitted=200.0)
    monkeypatch.setattr(getpass, "getuser", lambda: "ann")
    append(tmp_path, [ENTRY])
    monkeypatch.setattr(getpass, "getuser", lambda: "bob")
    append(tmp_path, [later])
    assert entries(tmp_path)[ENTRY.digest] == later
    assert sorted(path.name for path in (tmp_path / ".slurm/journal").iterdir()) == ["ann.jsonl", "bob.jsonl"]


def test_a_line_that_a_crash_cut_short_costs_that_line_alone(tmp_path: Path) -> None:
    append(tmp_path, [ENTRY])
    path = next((tmp_path / ".slurm/journal").iterdir())
    path.write_text(path.read_text() + '{"digest": "ba98')
    append(tmp_path, [replace(ENTRY, digest="ba9876543210")])
    assert [entry.digest for entry in history(tmp_path)] == [ENTRY.digest, "ba9876543210"]


def test_fields_of_a_later_version_are_passed_over(tmp_path: Path) -> None:
    append(tmp_path, [ENTRY])
    path = next((tmp_path / ".slurm/journal").iterdir())
    path.write_text(path.read_text().replace('"digest"', '"colour": "blue", "digest"'))
    assert entries(tmp_path) == {ENTRY.digest: ENTRY}


def test_a_second_submission_of_a_spec_is_its_second_attempt(tmp_path: Path) -> None:
    costs = {"gpu_hours": 0.0, "cpu_hours": 0.0, "disk_gb": 0.0}
    step = Step(
        spec=tiny_run(), needs=(), tables=(7,), measured=False, basis="default", state="not run", cell="M(z)", **costs
    )
    for attempt in (1, 2):
        (entry,) = new_entries([step], ["7"], tmp_path, cluster="big", where="private", logs=tmp_path)
        append(tmp_path, [entry])
        assert entry.attempt == attempt
        assert entries(tmp_path)[entry.digest].cell == "M(z)"


def test_the_log_is_that_of_the_first_process() -> None:
    assert ENTRY.log == Path("/logs/12_3_0_log.out")


def test_folders_that_submitting_makes_have_the_rights_of_the_runs_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o2775)
    with submitting(tmp_path):
        append(tmp_path, [ENTRY])
    assert {oct((tmp_path / name).stat().st_mode & 0o7777) for name in (FOLDER, ".slurm/journal")} == {"0o2775"}
    assert oct((tmp_path / ".slurm/lock").stat().st_mode & 0o7777) == "0o664"


HOLDER = """
import sys, time
from pathlib import Path
from compmod.slurm.submission.journal import submitting
with submitting(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def _hold(runs: Path, seconds: float) -> subprocess.Popen[str]:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(runs), str(seconds)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    holder.stdout.close()
    return holder


def test_a_second_submission_waits_for_the_first(tmp_path: Path) -> None:
    holder = _hold(tmp_path, 0.5)
    began = time.monotonic()
    with submitting(tmp_path):
        assert time.monotonic() - began > 0.2
    holder.wait()


def test_a_submission_that_does_not_end_is_named(tmp_path: Path) -> None:
    holder = _hold(tmp_path, 60)
    try:
        with pytest.raises(ValueError, match=r"someone else is submitting .*\.slurm/lock"), submitting(tmp_path, 0.2):
            pass
    finally:
        holder.kill()
        holder.wait()


def test_a_killed_submission_leaves_no_lock_behind(tmp_path: Path) -> None:
    holder = _hold(tmp_path, 60)
    holder.kill()
    holder.wait()
    with submitting(tmp_path, 1.0):
        pass


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system as NFS without its lock daemon."""

    def refuse(handle: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.mark.usefixtures("no_locks")
def test_without_locks_a_file_stands_for_one_and_is_removed(tmp_path: Path) -> None:
    with submitting(tmp_path):
        assert (tmp_path / journal.HELD).is_file()
    assert not (tmp_path / journal.HELD).exists()


@pytest.mark.usefixtures("no_locks")
def test_without_locks_the_owner_is_named_and_what_to_do(tmp_path: Path) -> None:
    with submitting(tmp_path):  # noqa: SIM117  # the inner one is the second person's
        with pytest.raises(ValueError, match=f"process {os.getpid()} is submitting; where that has ended, remove"):
            with submitting(tmp_path, 0.2):
                pass
    assert not (tmp_path / journal.HELD).exists()
