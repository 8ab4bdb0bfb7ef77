"""Damaged records: tables, plan, claims, status and report go on, and no number of theirs is wrong."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_server import Said, Server
from compmod.pretrain.specs.measurement import Measurement
from compmod.pretrain.specs.run import PLUS
from compmod.tables.build import build_table
from file_mutations import Mutation, of_bytes, of_json, of_place
from fuzz_cases import TIMES, chance_of, chosen, content, fault, no_faults
from made_up_runs import make_up

TABLE = build_table(2, "demo")
MEASUREMENT: Measurement = TABLE.rows[0].cells[0].specs[0]
RUN = MEASUREMENT.run
OWN = f"{RUN.folder}/{MEASUREMENT.folder.rpartition('/')[2]}"
FILES = {
    "results": f"{OWN}/results.json",
    "provenance": f"{OWN}/provenance.json",
    "run's results": f"{RUN.folder}/results.json",
    "run's provenance": f"{RUN.folder}/provenance.json",
    "spec": f"{RUN.folder}/spec.json",
    "metrics": f"{RUN.folder}/metrics.jsonl",
    "failure": f"{RUN.folder}/failed.json",
}
SCALE = ("2", "--scale", "demo")
COMMANDS: dict[str, tuple[tuple[str, ...], int]] = {  # with the number of cases a kind of file
    "table": (("table", *SCALE, "--format", "csv"), 12),
    "table's text": (("table", *SCALE, "--sources"), 4),
    "status": (("status", *SCALE, "--json"), 9),
    "plan": (("plan", *SCALE, "--json"), 4),
    "claims": (("claims", "--scale", "demo", "--format", "csv"), 4),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Table 2's records, and one pretraining that failed."""
    folder = tmp_path_factory.mktemp("records") / "runs"
    make_up([TABLE], folder)
    return folder


@pytest.fixture(scope="module")
def sound(runs: Path, server: Server) -> dict[str, Said]:
    """What every command says of the sound records."""
    said = {name: server.warm(*words, "--runs", str(runs)) for name, (words, _) in COMMANDS.items()}
    assert all(each.status == 0 for each in said.values()), said
    return said


def cases_of(path: Path, count: int, name: str) -> list[tuple[Path, Mutation]]:
    """So many of every kind of mutation, as far as there are some."""
    chance = chance_of(name)
    text = path.read_text()
    document = json.loads(text.splitlines()[0] if path.suffix == ".jsonl" else text)
    kinds = (of_bytes(chance), of_place(), of_json(document, chance, 200))
    shares = (count - count // 4 - count // 3, count // 4, count // 3)
    return [(path, each) for kind, share in zip(kinds, shares, strict=True) for each in chosen(kind, share, chance)]


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_damaged_record_costs_itself_alone(
    command: str, kind: str, runs: Path, sound: dict[str, Said], server: Server
) -> None:
    words, count = COMMANDS[command]
    path = runs / FILES[kind]
    if kind == "failure":
        _unfinish(runs)
    try:
        right = server.run(*words, "--runs", str(runs)) if kind == "failure" else sound[command]

        def judge(damaged: Path) -> str:
            said = server.run(*words, "--runs", str(runs))
            return fault(said, ()) or _status(said) or JUDGES[command](said, right, damaged)

        no_faults(cases_of(path, count, f"{command} {kind}"), judge)
    finally:
        if kind == "failure":
            _finish(runs)


def _unfinish(runs: Path) -> None:
    """Let the pretraining be one that failed."""
    os.rename(runs / FILES["run's results"], runs / "aside")
    os.rename(runs / OWN, runs / "aside-too")
    (runs / FILES["failure"]).write_text(json.dumps({"error": "the loss became NaN"}))


def _finish(runs: Path) -> None:
    os.rename(runs / "aside", runs / FILES["run's results"])
    os.rename(runs / "aside-too", runs / OWN)
    (runs / FILES["failure"]).unlink()


def _status(said: Said) -> str:
    return f"status {said.status}: {said.err.strip()}" if said.status else ""


def _table(said: Said, right: Said, damaged: Path) -> str:
    """Every cell that does not rest on the damaged file is as before; that of the file is so, or a gap."""
    rows, before = (list(csv.DictReader(io.StringIO(each.out))) for each in (said, right))
    if len(rows) != len(before):
        return f"{len(rows)} rows in place of {len(before)}"
    for row, old in zip(rows, before, strict=True):
        mine = old["row"] == TABLE.rows[0].label and old["group"] in ("top-1", "top-5")
        if old["row"] == TABLE.rows[0].label + PLUS:  # its gain rests on the plain row, too
            row, old = ({name: text for name, text in line.items() if "gain" not in name} for line in (row, old))
        if not mine and row != old:
            return f"another cell changed: {row} was {old}"
        allowed = ("", old["ours_mean"])
        if mine and row["ours_mean"] not in allowed:
            return f"a wrong number: {row['ours_mean']} was {old['ours_mean']}"
    return ""


def _text(said: Said, right: Said, damaged: Path) -> str:
    """No other row's line changes; what cannot be read is remarked on."""
    lines = set(said.out.splitlines())
    lost = [line for line in right.out.splitlines() if line.startswith("| ") and line not in lines]
    others = [line for line in lost if not line.startswith(f"| {TABLE.rows[0].label} ") and RUN.digest not in line]
    # the column's best is marked, and widths follow the longest
    others = [line for line in others if _plain(line) not in set(map(_plain, lines))]
    if others:
        return f"other rows changed: {others[0]}"
    return _unremarked(said.out, damaged)


def _plain(line: str) -> str:
    return "".join(line.replace("**", "").split())


def _unremarked(text: str, damaged: Path) -> str:
    """Whether a file of a record that a table reads, and cannot be read, is not named."""
    if damaged.name not in ("results.json", "provenance.json") or not os.path.lexists(damaged):
        return ""
    if damaged.is_symlink() and os.readlink(damaged) == "nowhere":  # as good as missing
        return ""
    try:
        broken = not isinstance(json.loads((content(damaged) or b"").decode()), dict)
    except (ValueError, RecursionError):
        broken = True
    own = damaged.parent.name == Path(OWN).name or damaged.name == "provenance.json"
    return f"no remark on {damaged.name}: {text[-200:]!r}" if broken and own and damaged.name not in text else ""


def _document(said: Said) -> Any:
    """What a command printed, as other programs read JSON: without NaN."""

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} in JSON")

    return json.loads(said.out, parse_constant=refuse)


def _board(said: Said, right: Said, damaged: Path) -> str:
    try:
        found, before = _document(said), _document(right)
    except ValueError as error:
        return str(error)
    counts, old = (each["tables"]["2"] for each in (found, before))
    if sum(counts.values()) != sum(old.values()):
        return f"other tasks: {counts} were {old}"
    if abs(counts["done"] - old["done"]) > 2:  # the pretraining and its measurement
        return f"other tasks' states changed: {counts} were {old}"
    return ""


def _plan(said: Said, right: Said, damaged: Path) -> str:
    try:
        found, before = _document(said), _document(right)
    except ValueError as error:
        return str(error)
    more = [step for step in found["steps"] if RUN.digest not in str(step) and MEASUREMENT.digest not in str(step)]
    if len(more) > len(before["steps"]):
        return f"more to do: {more}"
    if found["totals"]["2"].keys() != before["totals"]["2"].keys():
        return f"other totals: {found['totals']}"
    if any(value < 0 for total in found["totals"].values() for value in total.values()):
        return f"totals below 0: {found['totals']}"
    return ""


def _claims(said: Said, right: Said, damaged: Path) -> str:
    rows, before = (list(csv.reader(io.StringIO(each.out))) for each in (said, right))
    return "" if len(rows) == len(before) else f"{len(rows)} claims in place of {len(before)}"


JUDGES: dict[str, Callable[[Said, Said, Path], str]] = {
    "table": _table,
    "table's text": _text,
    "status": _board,
    "plan": _plan,
    "claims": _claims,
}


@pytest.mark.slow
@pytest.mark.parametrize("kind, count", [("metrics", 1), ("run's results", 1)])
def test_a_report_is_written_on_damaged_records(
    kind: str, count: int, runs: Path, server: Server, tmp_path: Path
) -> None:
    def judge(damaged: Path) -> str:
        output = str(tmp_path / "report")
        said = server.run("report", "--scale", "demo", "--runs", str(runs), "-o", output, seconds=90)
        return fault(said, ()) or _status(said)

    cases = cases_of(runs / FILES[kind], 40, f"report {kind}")
    no_faults(chance_of(kind).sample(cases, max(1, round(count * TIMES))), judge)
