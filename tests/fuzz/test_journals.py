"""Damaged journals, failures, drivers' files and cluster files: what others submitted stays known, and nobody stops."""

from __future__ import annotations

import fcntl
import json
import re
import socket
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from command_server import Said, Server
from compmod.slurm.submission import journal
from compmod.slurm.submission.journal import JournalEntry
from compmod.slurm.task.failures import FOLDER as FAILURES
from compmod.slurm.task.failures import Failure, note
from compmod.tables.build import build_table
from file_mutations import Mutation, of_bytes, of_json, of_place
from fuzz_cases import chance_of, chosen, content, fault, no_faults
from made_up_runs import make_up

TABLE = build_table(2, "demo")
SCALE = ("2", "--scale", "demo")
OURS, THEIRS = (TABLE.rows[row].cells[0].specs[0].run for row in (0, 1))
FAILED = TABLE.rows[2].cells[0].specs[0].run
DRIVER = "20260101-000000-abcdef"
FILES = {
    "journal": f"{journal.JOURNALS}/ann.jsonl",
    "states": f".slurm/local/{DRIVER}/states.json",
    "failures": f"{FAILURES}/{FAILED.digest}-local.jsonl",
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two users' submissions to drivers of this machine, one of which lives; and a run that failed."""
    folder = tmp_path_factory.mktemp("journals") / "runs"
    make_up([TABLE], folder, share=0.0)
    folder.mkdir(exist_ok=True)
    numbers = {f"local-{DRIVER}_{place}": spec for place, spec in enumerate((OURS, THEIRS))}
    driver = folder / ".slurm/local" / DRIVER
    driver.mkdir(parents=True)
    (driver / "states.json").write_text(json.dumps(dict.fromkeys(numbers, "RUNNING")))
    journals = folder / journal.JOURNALS
    journals.mkdir()
    for user, (job_id, spec) in zip(("ann", "bob"), numbers.items(), strict=True):
        entry = JournalEntry(
            digest=spec.digest,
            folder=spec.folder,
            job_id=job_id,
            cluster="local",
            where=socket.gethostname(),
            user=user,
            submitted=1_700_000_000.0,
            logs=str(driver),
        )
        (journals / f"{user}.jsonl").write_text(json.dumps(asdict(entry)) + "\n")
    note(folder, FAILED.digest, Failure(kind="diverged", error="the loss became NaN", when=1_700_000_000.0))
    with open(driver / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


def _cases(path: Path, count: int, name: str) -> list[tuple[Path, Mutation]]:
    chance = chance_of(name)
    document = json.loads(path.read_text().splitlines()[0])
    kinds = (of_bytes(chance), of_place(), of_json(document, chance, 200))
    return [(path, each) for kind in kinds for each in chosen(kind, count // 3, chance)]


def _tasks(said: Said) -> dict[str, dict[str, Any]]:
    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} in JSON")

    return {task["digest"]: task for task in json.loads(said.out, parse_constant=refuse)["tasks"]}


@pytest.mark.parametrize("kind", FILES)
def test_status_knows_what_other_users_submitted(kind: str, runs: Path, server: Server) -> None:
    words = ("status", *SCALE, "--json", "--runs", str(runs))
    right = _tasks(server.warm(*words))
    assert right[THEIRS.digest]["state"] == right[OURS.digest]["state"] == "running", right
    assert right[FAILED.digest]["state"] == "failed"

    def judge(damaged: Path) -> str:
        said = server.run(*words)
        if wrong := fault(said, ()) or (said.err.strip() if said.status else ""):
            return wrong
        try:
            found = _tasks(said)
        except ValueError as error:
            return str(error)
        theirs = found[THEIRS.digest]
        if kind != "states" and theirs != right[THEIRS.digest]:
            return f"another user's task is {theirs}"
        if others := [each for each in found if found[each] != right[each] and each not in MINE[kind]]:
            return f"other tasks changed: {found[others[0]]} was {right[others[0]]}"
        return ""

    no_faults(_cases(runs / FILES[kind], 24, f"status {kind}"), judge)


_OF_OURS = {OURS.digest, *(spec.digest for spec in TABLE.specs if spec.run == OURS)}
_OF_THEIRS = {THEIRS.digest, *(spec.digest for spec in TABLE.specs if spec.run == THEIRS)}
_OF_FAILED = {FAILED.digest, *(spec.digest for spec in TABLE.specs if spec.run == FAILED)}
MINE = {"journal": _OF_OURS, "states": _OF_OURS | _OF_THEIRS, "failures": _OF_FAILED}


@pytest.mark.parametrize("command", ["submit", "cancel", "logs"])
def test_commands_go_on_beside_a_damaged_journal(command: str, runs: Path, server: Server, tmp_path: Path) -> None:
    path = runs / FILES["journal"]
    log = runs / ".slurm/local" / DRIVER / f"local-{DRIVER}_1_0_log.out"
    log.write_text("what bob's run says\n")
    words = {
        "submit": ("submit", *SCALE, "--cluster", "local", "--dry-run"),
        "cancel": ("cancel", OURS.digest),
        "logs": ("logs", THEIRS.digest),
    }[command]

    def judge(damaged: Path) -> str:
        said = server.run(*words, "--runs", str(runs))
        if command == "cancel":  # what is damaged may be the very word on this run
            return fault(said, (damaged.name, OURS.digest))
        if wrong := fault(said, (damaged.name,)):
            return wrong
        if command == "logs" and "what bob's run says" not in said.out:
            return f"bob's log is not printed: {said.err.strip()}"
        return ""

    try:
        no_faults(_cases(path, 9, f"{command} journal"), judge)
    finally:
        for asked in (runs / ".slurm/local" / DRIVER).glob("cancel-*"):
            asked.unlink()


CLUSTERS = """
[cluster.lab]
executor = "local"
partition = "gpu"
account = "us"
gpus_per_node = 0
nodes = 1
mem_gb = 0.5
hours = 12.0
setup = ["module load cuda"]
python = "/usr/bin/python3"
max_parallel = 2
requeue = false
sbatch = { mail-type = "FAIL" }
"""
TOML = ("inf", "-inf", "nan", "-1", "0", "1e300", "9" * 30, "true", '""', '"\\n"', '"a\\u001b[31m"', "[]", '["a\\nb"]')


@pytest.mark.parametrize("command", [("cluster", "list"), ("submit", *SCALE, "--cluster", "lab", "--dry-run")])
def test_a_cluster_file_is_right_or_named(command: tuple[str, ...], runs: Path, server: Server, tmp_path: Path) -> None:
    path = tmp_path / "clusters.toml"
    path.write_text(CLUSTERS)
    name = f"clusters {command[0]}"
    chance = chance_of(name)

    def edited(line: str, value: str) -> Mutation:
        key = line.partition(" = ")[0]
        return Mutation(
            f"{key} = {value}", lambda file: file.write_text(CLUSTERS.replace(line, f"{key} = {value}")) and None
        )

    fields = [edited(line, value) for line in CLUSTERS.splitlines() if " = " in line for value in TOML]
    kinds = ((of_bytes(chance), 6), (of_place(), 4), (fields, 14))
    cases = [(path, each) for kind, count in kinds for each in chosen(kind, count, chance)]

    def judge(damaged: Path) -> str:
        words = command if command[0] == "cluster" else (*command, "--runs", str(runs))
        said = server.run(str(path), *words, function="command_with_clusters:with_clusters")
        absurd = re.search(rb"= (-?inf|nan|-1|1e300|9{30})$|= .*\\(n|u001b)", content(damaged) or b"", re.MULTILINE)
        accepted = "is accepted" if absurd and said.status == 0 else ""
        return fault(said, (damaged.name,)) or accepted

    no_faults(cases, judge)
