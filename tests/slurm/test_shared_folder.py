"""Several people share a runs folder: what one leaves unreadable, damaged or half written costs the others nothing."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from compmod.cli import main
from compmod.slurm.clusters.cluster import CLUSTERS, Cluster
from compmod.slurm.clusters.squeue import SlurmError
from compmod.slurm.submission import journal, local
from compmod.slurm.submission.journal import JOURNALS, LOCK, JournalEntry, append, entries, history
from compmod.slurm.submission.submit import submit
from compmod.slurm.task.failures import FOLDER, Failure, histories, note
from one_cell_tables import tiny_run, tiny_table
from printing_slurm import NAME, PrintingSlurm

PLAIN = Cluster(name="plain", gpus_per_node=0)
ENTRY = JournalEntry(
    digest="0123456789ab",
    folder="simclr-digits-0123456789ab",
    job_id="12_3",
    cluster="big",
    where=NAME,
    user="ann",
    submitted=100.0,
    logs="/logs",
)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    folder.mkdir()
    folder.chmod(0o2775)
    return folder


@pytest.fixture
def forbidden(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Make a path one that this user has no right to read or write; the tests' user may be root."""
    paths: set[str] = set()
    opened, listed, allowed = os.open, os.listdir, os.access

    def open_(path: object, *given: object, **named: object) -> int:
        if str(path) in paths:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *given, **named)  # type: ignore[arg-type]

    def listdir(path: object = ".") -> list[str]:
        if str(path) in paths:
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)  # type: ignore[call-overload,no-any-return]

    monkeypatch.setattr(os, "open", open_)
    monkeypatch.setattr(os, "listdir", listdir)
    monkeypatch.setattr(os, "scandir", _refusing(paths, os.scandir))
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) not in paths and allowed(path, mode))
    return lambda path: paths.add(str(path))


def _refusing(paths: set[str], call: Callable[..., object]) -> Callable[..., object]:
    def refuse(path: object = ".") -> object:
        if str(path).rstrip("/") in paths:
            raise PermissionError(13, "Permission denied", str(path))
        return call(path)

    return refuse


def _journal(runs: Path, name: str = "bob") -> Path:
    """Another one's journal of one line."""
    append(runs, [ENTRY])
    own = next((runs / JOURNALS).glob("*.jsonl"))
    return own.rename(own.with_name(f"{name}.jsonl"))


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


@pytest.mark.parametrize("spoil", [_pipe, _folder, _dangling])
def test_a_journal_that_is_no_file_is_named_and_nothing_is_submitted(
    slurm: PrintingSlurm, runs: Path, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    path = _journal(runs)
    spoil(path)
    with pytest.raises(ValueError, match=re.escape(str(path))):
        submit([tiny_table([0])], runs, tmp_path, PLAIN)
    assert slurm.arguments("sbatch") == []
    remarks: list[str] = []
    assert history(runs, remarks) == []
    assert len(remarks) == 1
    assert str(path) in remarks[0]


def test_a_journal_that_may_not_be_read_names_owner_and_mend(
    slurm: PrintingSlurm, runs: Path, tmp_path: Path, forbidden: Callable[[Path], None]
) -> None:
    path = _journal(runs)
    forbidden(path)
    with pytest.raises(ValueError, match=rf"cannot read {path}: Permission denied; .* is .*'s, .* chmod a\+r {path}"):
        submit([tiny_table([0])], runs, tmp_path, PLAIN)
    assert slurm.arguments("sbatch") == []


def test_journals_that_may_not_be_listed_are_not_taken_for_none(
    slurm: PrintingSlurm, runs: Path, tmp_path: Path, forbidden: Callable[[Path], None]
) -> None:
    submit([tiny_table([0])], runs, tmp_path, PLAIN)
    forbidden(runs / JOURNALS)
    with pytest.raises(ValueError, match=f"cannot list {runs / JOURNALS}: Permission denied; .* chmod 2775 {runs}/"):
        submit([tiny_table([0])], runs, tmp_path, PLAIN)
    assert len(slurm.arguments("sbatch")) == 2


def test_status_goes_on_without_a_journal_that_may_not_be_read(
    slurm: PrintingSlurm, runs: Path, forbidden: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    path = _journal(runs)
    forbidden(path)
    main(["status", "7", "--json", "--runs", str(runs)])
    document = json.loads(capsys.readouterr().out)
    (remark,) = document["remarks"]
    assert remark.startswith(f"cannot read {path}")


def test_a_lock_that_may_not_be_opened_is_one_line(
    slurm: PrintingSlurm, runs: Path, tmp_path: Path, forbidden: Callable[[Path], None]
) -> None:
    submit([tiny_table([0])], runs, tmp_path, PLAIN)
    forbidden(runs / LOCK)
    with pytest.raises(ValueError, match=f"cannot write {runs / LOCK}: Permission denied; .*chmod"):
        submit([tiny_table([0])], runs, tmp_path, PLAIN)


def test_what_is_made_has_the_rights_of_the_runs_folder_whatever_the_umask(
    slurm: PrintingSlurm, runs: Path, tmp_path: Path
) -> None:
    touch = shutil.which("touch", path="/usr/bin:/bin")
    slurm.runs_in_sbatch(f"{touch} {tmp_path}/made")
    before = os.umask(0o077)
    try:
        submit([tiny_table([0])], runs, tmp_path, PLAIN)
        note(runs, "abc", Failure(kind="bug", error="x"))
        assert os.umask(0o077) == 0o077
    finally:
        os.umask(before)
    made = {str(path.relative_to(runs)): path.stat().st_mode & 0o777 for path in runs.rglob("*") if path.is_dir()}
    folders = {name: mode for name, mode in made.items() if not name.startswith(".slurm/jobs/")}
    assert set(folders.values()) == {0o775}, folders
    files = [path for path in runs.rglob("*") if path.is_file()]
    assert len(files) > 4
    assert all(path.stat().st_mode & 0o444 == 0o444 for path in files)
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o664, "so has what the job makes: it inherits the umask"


def test_a_private_runs_folder_stays_private(slurm: PrintingSlurm, runs: Path, tmp_path: Path) -> None:
    runs.chmod(0o700)
    submit([tiny_table([0])], runs, tmp_path, PLAIN)
    assert all(path.stat().st_mode & 0o077 == 0 for path in runs.rglob("*") if not path.is_symlink())


def test_nothing_is_sent_where_it_cannot_be_noted(slurm: PrintingSlurm, runs: Path, tmp_path: Path) -> None:
    append(runs, [ENTRY])
    own = runs / JOURNALS / f"{journal.user()}.jsonl"
    own.unlink()
    own.symlink_to("/dev/full")
    with pytest.raises(ValueError, match=re.escape(str(own))):
        submit([tiny_table([0])], runs, tmp_path, PLAIN)
    assert slurm.arguments("sbatch") == []


def test_nothing_is_sent_where_the_disk_is_full(
    slurm: PrintingSlurm, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: int, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    own = runs / JOURNALS / f"{journal.user()}.jsonl"
    with pytest.raises(ValueError, match=f"cannot write {own}: No space left on device"):
        submit([tiny_table([0])], runs, tmp_path, PLAIN)
    assert slurm.arguments("sbatch") == []


def test_a_journal_that_leads_elsewhere_is_not_written(slurm: PrintingSlurm, runs: Path, tmp_path: Path) -> None:
    append(runs, [ENTRY])
    own, private = runs / JOURNALS / f"{journal.user()}.jsonl", tmp_path / "private"
    private.write_text("")
    private.chmod(0o600)
    own.unlink()
    own.symlink_to(private)
    with pytest.raises(ValueError, match=f"cannot write {own}"):
        submit([tiny_table([0])], runs, tmp_path, PLAIN)
    assert (private.read_text(), private.stat().st_mode & 0o777, slurm.arguments("sbatch")) == ("", 0o600, [])


def test_an_array_that_could_not_be_noted_is_cancelled(slurm: PrintingSlurm, runs: Path, tmp_path: Path) -> None:
    own = runs / JOURNALS / f"{journal.user()}.jsonl"
    slurm.runs_in_sbatch(f"/bin/rm -f {own}", f"/bin/mkdir {own}")
    with pytest.raises(SlurmError, match=r"array 1 of 2 .* could not be noted: .*job 41 was cancelled; 0 were"):
        submit([tiny_table([0])], runs, tmp_path, PLAIN)
    assert slurm.arguments("scancel") == ["41"]


DAMAGE: dict[str, str] = {
    "submitted": '"x"',
    "digest": "3",
    "folder": '"../../etc"',
    "job_id": '"--user=ann"',
    "attempt": "1e999",
    "logs": '"a\\u0000b"',
    "where": "[]",
    "user": '"\\ud800"',
    "cluster": "null",
}


def _damaged(name: str, value: str) -> str:
    fields = {key: json.dumps(each) for key, each in dataclasses.asdict(ENTRY).items()} | {name: value}
    return "{" + ", ".join(f'"{key}": {each}' for key, each in fields.items()) + "}\n"


@pytest.mark.parametrize(
    "line",
    [*(_damaged(*each) for each in DAMAGE.items()), "[" * 100_000 + "\n", "3\n", "null\n", '{"a"\n', "{}\n", "\x00\n"],
    ids=[*DAMAGE, "deep", "number", "null", "cut", "empty", "nul"],
)
def test_a_damaged_line_costs_itself_and_one_remark(
    slurm: PrintingSlurm, runs: Path, tmp_path: Path, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _journal(runs)
    path.write_text(line + path.read_text() + line)
    slurm.has("12_3|PENDING|1:02|10:00|ann||None")
    for command in (["status", "7"], ["cancel", ENTRY.digest], ["submit", "7", "--cluster", "local", "--dry-run"]):
        main([*command, "--runs", str(runs)])
        said = " ".join(capsys.readouterr().out.split())
        assert said.count("damaged line passed over") == 1, command
        assert str(path) in said.replace(" ", "")
    assert slurm.arguments("scancel") == ["12_3"]
    assert list(entries(runs)) == [ENTRY.digest]
    assert len(submit([tiny_table([0])], runs, tmp_path, PLAIN).numbers) == 2


def test_a_line_that_is_no_text_is_a_remark(runs: Path) -> None:
    path = _journal(runs)
    path.write_bytes(b"\xff\xfe\n" + path.read_bytes())
    remarks: list[str] = []
    assert history(runs, remarks) == [ENTRY]
    assert f"{path}, line 1" in remarks[0]


@pytest.mark.parametrize(
    "change",
    [{"kind": []}, {"kind": "none"}, {"when": "x"}, {"updates": -1}, {"updates": True}, {"error": None}, {"node": 3}],
)
def test_a_damaged_failure_costs_itself_and_one_remark(runs: Path, change: dict[str, object]) -> None:
    good = Failure(kind="bug", error="x", job_id="7", when=1.0)
    note(runs, "abc", good)
    path = runs / FOLDER / "abc-7.jsonl"
    path.write_text(json.dumps(dataclasses.asdict(good) | change) + "\n" + path.read_text() + "[" * 100_000)
    remarks: list[str] = []
    assert histories(runs, None, remarks) == {"abc": (good,)}
    assert len(remarks) == 1
    assert str(path) in remarks[0]


@pytest.mark.parametrize("spoil", [_pipe, _folder, _dangling])
def test_failures_in_what_is_no_file_are_a_remark(runs: Path, spoil: Callable[[Path], None]) -> None:
    note(runs, "abc", Failure(kind="bug", error="x", job_id="7"))
    spoil(runs / FOLDER / "abc-7.jsonl")
    remarks: list[str] = []
    assert histories(runs, None, remarks) == {}
    assert "abc-7.jsonl" in remarks[0]


@pytest.mark.parametrize("content", ["", "[]", "[" * 100_000, '{"a": NaN}', "\xff"])
def test_all_that_a_living_driver_was_given_counts_while_its_word_is_damaged(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.setattr(local, "_start", lambda *given: None)
    monkeypatch.setattr(local, "_alive", lambda folder: True)
    table = tiny_table([0])
    submit([table], runs, tmp_path, CLUSTERS["local"])
    (states,) = (runs / local.DRIVERS).glob("*/states.json")
    states.write_text(content, encoding="latin-1")
    again = submit([table], runs, tmp_path, CLUSTERS["local"])
    assert (again.arranged.jobs, len(again.arranged.under_way)) == ((), 2)
    assert str(states) in again.remarks[0]


def test_cancelling_what_another_ones_driver_does_names_the_folder(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = runs / local.DRIVERS / "s"
    folder.mkdir(parents=True)

    def touch(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "touch", touch)
    with pytest.raises(ValueError, match=f"cannot write {folder}/cancel-local-s_0: Permission denied; {folder} is"):
        local.cancel(runs, ["local-s_0"])


@pytest.mark.parametrize("name", ["../bob", "", ".hidden", "a/b\n"])
def test_a_users_name_is_a_files_name(name: str, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: name)
    append(runs, [ENTRY])
    assert history(runs) == [ENTRY]
    (path,) = (runs / JOURNALS).iterdir()
    assert shlex.quote(path.name) == path.name


def test_a_user_without_a_name_has_a_number(monkeypatch: pytest.MonkeyPatch, runs: Path) -> None:
    def unknown() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr("getpass.getuser", unknown)
    submit([tiny_table([0])], runs, runs, CLUSTERS["local"], dry_run=True)
    append(runs, [ENTRY])
    assert [path.name for path in (runs / JOURNALS).iterdir()] == [f"{os.getuid()}.jsonl"]
    assert tiny_run().digest not in entries(runs)
