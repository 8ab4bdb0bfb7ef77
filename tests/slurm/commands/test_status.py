"""`compmod status`, `logs`, `cancel` and `retry` from the command line. SLURM's answers are made up."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from compmod.cli import main
from compmod.pretrain.records.record import Record
from compmod.pretrain.specs.measurement import Work
from compmod.slurm.commands import status as status_commands
from compmod.slurm.commands.cancel_retry import cut
from compmod.slurm.submission import journal
from compmod.slurm.submission.arrays import Wish
from compmod.slurm.submission.journal import JournalEntry
from compmod.slurm.submission.submit import submit
from compmod.slurm.task.failures import Failure, note
from compmod.tables.build import build_table
from made_up_runs import make_up
from printing_slurm import NAME, PrintingSlurm, line

TABLE = build_table(2, "demo")
MEASUREMENT = TABLE.specs[0]
RUN = MEASUREMENT.run
MEASUREMENTS = [spec for spec in TABLE.specs if spec.run == RUN]
OTHER = next(spec.run for spec in TABLE.specs if spec.run != RUN)


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PrintingSlurm:
    found = PrintingSlurm(tmp_path / "bin", monkeypatch)
    found.has()
    return found


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In a working folder whose file knows a cluster called ours."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COMPMOD_CLUSTERS", str(tmp_path / "clusters.toml"))
    monkeypatch.setenv("COLUMNS", "160")
    (tmp_path / "clusters.toml").write_text("[cluster.ours]\ngpus_per_node = 0\n")
    (tmp_path / "runs").mkdir()
    return tmp_path / "runs"


def _submit(runs: Path, jobs: dict[str, Work], log: str = "") -> None:
    """The journal's lines of these jobs, and what each has logged."""
    entries = [
        JournalEntry(
            digest=spec.digest,
            folder=spec.folder,
            job_id=job_id,
            cluster="ours",
            where=NAME,
            user="ann",
            submitted=time.time() - 60,
            logs=str(runs / "logs"),
        )
        for job_id, spec in jobs.items()
    ]
    journal.append(runs, entries)
    for entry in entries if log else ():
        entry.log.parent.mkdir(exist_ok=True)
        entry.log.write_text(log)


def _numbered(specs: Iterable[Work], array: int) -> dict[str, Work]:
    return {f"{array}_{place}": spec for place, spec in enumerate(specs)}


def _said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    main([*words, "--runs", "runs"])
    return capsys.readouterr().out


def _mistake(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit, match="2"):
        main([*words, "--runs", "runs"])
    return capsys.readouterr().err


def test_status_counts_what_a_table_has(runs: Path, slurm: PrintingSlurm, capsys: pytest.CaptureFixture[str]) -> None:
    make_up([TABLE], runs)
    count = str(len({spec.run.digest for spec in TABLE.specs} | {spec.digest for spec in TABLE.specs}))
    assert _said(capsys, "status", "2", "--scale", "demo").splitlines()[1].split()[-6:] == [count, *"0000", count]


def test_status_as_json_is_json(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(_said(capsys, "status", "2", "--scale", "demo", "--json"))
    assert document["tables"]["2"]["to do"] == len(document["tasks"]) > 0


def test_status_of_no_table_is_of_all(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert list(json.loads(_said(capsys, "status", "--json"))["tables"]) == [*"1234567", "all"]


def test_status_is_watched_or_is_json(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "give one of them" in _mistake(capsys, "status", "--watch", "--json")


@pytest.mark.parametrize("word", [RUN.digest, RUN.digest[:5], RUN.folder, f"runs/{RUN.folder}"])
def test_logs_prints_the_log_of_a_digests_beginning_or_folder(
    runs: Path, capsys: pytest.CaptureFixture[str], word: str
) -> None:
    _submit(runs, {"7_0": RUN}, log="first\nsecond\n")
    assert _said(capsys, "logs", word) == "first\nsecond\n"


def test_logs_prints_the_newest_submissions(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _submit(runs, {"7_0": RUN}, log="old\n")
    _submit(runs, {"8_0": RUN}, log="new\n")
    assert _said(capsys, "logs", RUN.digest) == "new\n"


def test_logs_prints_so_many_lines_of_the_end(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _submit(runs, {"7_0": RUN}, log="first\nsecond\nthird\n")
    assert _said(capsys, "logs", RUN.digest, "--lines", "2") == "second\nthird\n"


def test_a_digest_that_nothing_has_lists_those_there_are(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _submit(runs, {"7_0": RUN})
    assert f"submitted: {RUN.digest} ({RUN.method}-{RUN.dataset})" in _mistake(capsys, "logs", "zzzzzz")


def test_a_digest_that_is_too_short_is_no_digest(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _submit(runs, {"7_0": RUN})
    assert "of 4 characters at least" in _mistake(capsys, "logs", RUN.digest[:3])


def test_a_beginning_of_several_digests_lists_them(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = JournalEntry(
        digest="abcdef",
        folder="a-b-abcdef",
        job_id="1",
        cluster="c",
        where="c",
        user="a",
        submitted=1.0,
        logs="l",
        cell="M(z)",
    )
    second = JournalEntry(
        digest="abcdee", folder="a-c-abcdee", job_id="2", cluster="c", where="c", user="a", submitted=1.0, logs="l"
    )
    journal.append(runs, [first, second])
    assert "the beginning of 2 digests: abcdef (a-b M(z)), abcdee (a-c)" in _mistake(capsys, "logs", "abcde")


def test_logs_without_any_journal_say_so(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "nothing was submitted from this runs folder" in _mistake(capsys, "logs", "abcdef")


def test_a_job_that_has_not_started_has_no_log_yet(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _submit(runs, {"7_0": RUN})
    assert "job 7_0 has written no log yet" in _mistake(capsys, "logs", RUN.digest)


def test_following_prints_what_is_added_until_the_job_has_ended(
    runs: Path, slurm: PrintingSlurm, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status_commands, "POLL_S", 0.01)
    monkeypatch.setattr(status_commands, "ASK_S", 0.02)
    slurm.has(line("7_0", "PENDING"))
    _submit(runs, {"7_0": RUN})
    path = journal.entries(runs)[RUN.digest].log

    def job() -> None:
        path.parent.mkdir()
        path.write_text("first\n")
        time.sleep(0.1)
        with open(path, "a") as file:
            file.write("second\n")
        slurm.has()

    thread = threading.Thread(target=job)
    thread.start()
    said = _said(capsys, "logs", RUN.digest, "--follow")
    thread.join()
    assert said == "first\nsecond\n"


def test_following_a_job_that_ended_without_a_log_is_a_mistake(
    runs: Path, slurm: PrintingSlurm, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status_commands, "POLL_S", 0.01)
    monkeypatch.setattr(status_commands, "ASK_S", 0.02)
    _submit(runs, {"7_0": RUN})
    assert "job 7_0 ended and left no log" in _mistake(capsys, "logs", RUN.digest, "--follow")


def test_cancelling_needs_to_be_told_what(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "cancel needs the numbers of tables, all, or digests" in _mistake(capsys, "cancel")


def test_a_table_is_cancelled_as_far_as_it_waits_or_runs(
    runs: Path, slurm: PrintingSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    _submit(runs, {"7_0": RUN, "7_1": OTHER, **_numbered(MEASUREMENTS, 8)})
    waiting = [line(f"8_{place}", "PENDING", "Dependency") for place in range(len(MEASUREMENTS))]
    slurm.has(line("7_0", "RUNNING"), line("7_1", "FAILED"), *waiting)
    assert "cancelled 1 pretraining and" in _said(capsys, "cancel", "2", "--scale", "demo")
    assert sorted(slurm.arguments("scancel")[0].split()) == ["7_0", *_numbered(MEASUREMENTS, 8)]


def test_another_tables_jobs_are_left_and_so_is_the_pretraining_that_they_wait_for(
    runs: Path, slurm: PrintingSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    stranger = next(spec for spec in build_table(1, "demo").specs if spec.run.digest not in _runs_of_table())
    folder = f"{RUN.folder}/evaluation-{'f' * 12}"
    foreign = JournalEntry(
        digest="f" * 12, folder=folder, job_id="9", cluster="ours", where=NAME, user="ann", submitted=1.0, logs="l"
    )
    _submit(runs, {"7_0": RUN, "8_0": MEASUREMENT, "5": stranger.run})
    journal.append(runs, [foreign])
    slurm.has(line("7_0", "RUNNING"), line("8_0", "PENDING"), line("9", "PENDING"), line("5", "RUNNING"))
    said = _said(capsys, "cancel", "2", "--scale", "demo")
    assert "left 1 pretraining, which jobs of other tables wait for" in said
    assert slurm.arguments("scancel") == ["8_0"]


def test_a_pretraining_named_by_its_digest_is_cancelled_with_its_measurements(
    runs: Path, slurm: PrintingSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    _submit(runs, {"7_0": RUN, "7_1": OTHER, "8_0": MEASUREMENT})
    slurm.has(line("7_0", "RUNNING"), line("7_1", "RUNNING"), line("8_0", "PENDING"))
    assert _said(capsys, "cancel", RUN.digest[:8]) == "cancelled 1 pretraining and 1 measurement\n"
    assert slurm.arguments("scancel") == ["7_0 8_0"]


def test_a_measurement_named_by_its_digest_is_cancelled_alone(
    runs: Path, slurm: PrintingSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    _submit(runs, {"7_0": RUN, "8_0": MEASUREMENT})
    slurm.has(line("7_0", "RUNNING"), line("8_0", "PENDING"))
    assert _said(capsys, "cancel", MEASUREMENT.digest) == "cancelled 1 measurement\n"
    assert slurm.arguments("scancel") == ["8_0"]


def test_where_nothing_waits_or_runs_nothing_is_cancelled(
    runs: Path, slurm: PrintingSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    _submit(runs, {"7_0": RUN})
    assert _said(capsys, "cancel", "all", "--scale", "demo") == "cancelled nothing\n"
    assert slurm.arguments("scancel") == []


def test_where_slurm_does_not_answer_cancelling_says_so(
    runs: Path, slurm: PrintingSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    _submit(runs, {"7_0": RUN})
    slurm.says("squeue", complains="slurm_load_jobs error: Unable to contact slurm controller\n", status=1)
    assert "Unable to contact slurm controller" in _said(capsys, "cancel", "2", "--scale", "demo")


def test_an_unknown_table_is_no_digest(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "unknown table 9; known: 1, 2" in _mistake(capsys, "cancel", "9")


def test_retrying_submits_what_failed_with_what_waited_for_it_and_nothing_else(
    runs: Path, slurm: PrintingSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    _failed(runs, slurm)
    said = _said(capsys, "retry", "2", "--scale", "demo")
    assert said.startswith("submitted again to ours: 1 pretraining and")
    again = {digest for digest, entry in journal.entries(runs).items() if entry.attempt == 2}
    assert again == {RUN.digest, *(spec.digest for spec in MEASUREMENTS)}


def test_retrying_asks_for_the_nodes_that_are_wished_for(
    runs: Path, slurm: PrintingSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    _failed(runs, slurm)
    wishes: list[object] = []

    def noted(*arguments: object) -> object:
        wishes.append(arguments[-1])
        return submit(*arguments[:-1], dry_run=True)  # type: ignore[arg-type]

    monkeypatch.setattr("compmod.slurm.submission.submit.submit", noted)
    main(["retry", RUN.digest[:6], "--scale", "demo", "--runs", "runs", "--nodes", "2", "--gpus", "4"])
    assert wishes == [Wish(2, 4)]


def test_retrying_within_a_limit_says_what_remains(
    runs: Path, slurm: PrintingSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    _failed(runs, slurm)
    queued, count = 1 + len(MEASUREMENTS), len(MEASUREMENTS)
    (runs.parent / "clusters.toml").write_text(f"[cluster.ours]\ngpus_per_node = 0\nmax_submitted = {queued + 1}\n")
    assert _said(capsys, "retry", "2", "--scale", "demo") == (
        "submitted again to ours: 1 pretraining\n"
        f"{count} task{'s remain' if count != 1 else ' remains'}: max_submitted {queued + 1} of ours is reached; "
        "submit again goes on.\n"
    )


def test_retrying_first_cancels_what_waits_in_vain(
    runs: Path, slurm: PrintingSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    _failed(runs, slurm)
    _said(capsys, "retry", "2", "--scale", "demo")
    assert [sorted(words.split()) for words in slurm.arguments("scancel")] == [sorted(_numbered(MEASUREMENTS, 8))]


def test_retrying_one_digest_leaves_what_else_failed(
    runs: Path, slurm: PrintingSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    _failed(runs, slurm)
    note(runs, OTHER.digest, Failure(kind="bug", error="TypeError: x"))
    _said(capsys, "retry", RUN.digest[:6], "--scale", "demo")
    assert OTHER.digest not in journal.entries(runs)


def test_retrying_what_has_not_failed_lists_what_has(
    runs: Path, slurm: PrintingSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    _failed(runs, slurm)
    assert f"valid: {RUN.digest}" in _mistake(capsys, "retry", OTHER.digest, "--scale", "demo")


def test_where_nothing_failed_nothing_is_retried(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Record(runs, RUN).start()
    assert _said(capsys, "retry", "2", "--scale", "demo") == "nothing has failed or was lost\n"


def test_a_cut_table_wants_the_measurements_that_are_left() -> None:
    (found,) = cut([TABLE], {MEASUREMENT.digest})
    assert found.specs == (MEASUREMENT,)


def _runs_of_table() -> set[str]:
    return {spec.run.digest for spec in TABLE.specs}


def _failed(runs: Path, slurm: PrintingSlurm) -> None:
    """A pretraining that failed, and its measurements, which wait for it in vain."""
    _submit(runs, {"7_0": RUN, **_numbered(MEASUREMENTS, 8)})
    note(runs, RUN.digest, Failure(kind="bug", error="TypeError: x", job_id="7_0"))
    stuck = [line(job_id, "PENDING", "DependencyNeverSatisfied") for job_id in _numbered(MEASUREMENTS, 8)]
    slurm.has(line("7_0", "FAILED"), *stuck)
    slurm.says("sbatch", "Submitted batch job 99\n")
    slurm.says("srun")
