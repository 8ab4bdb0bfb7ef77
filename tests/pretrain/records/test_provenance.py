"""Provenance: complete, plain JSON, cheap, and never the reason that a result is lost."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
from pathlib import Path

import pytest
from compmod.pretrain.records import provenance as module
from compmod.pretrain.records.provenance import provenance
from compmod.pretrain.specs.measurement import Evaluation
from compmod.pretrain.specs.run import Run

RUN = Run(method="simclr", dataset="digits", seed=3)


def test_it_is_plain_json_that_names_the_spec_and_the_seed() -> None:
    found = provenance(RUN, seconds=1.5, device="cpu", data_digest="ab")
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert (found["spec"], found["digest"], found["seed"]) == ("Run", RUN.digest, 3)
    assert (found["data_digest"], found["seconds"]) == ("ab", 1.5)


def test_an_evaluation_carries_the_seed_of_its_run() -> None:
    assert provenance(Evaluation(run=RUN), seconds=0, device="cpu")["seed"] == 3


def test_start_and_end_lie_as_far_apart_as_the_work_took() -> None:
    found = provenance(RUN, seconds=120, device="cpu")
    started, ended = (datetime.datetime.fromisoformat(found[name]) for name in ("started", "ended"))
    assert ended - started == datetime.timedelta(seconds=120)
    assert ended.utcoffset() == datetime.timedelta(0)


def test_the_command_does_not_tell_where_the_program_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "orig_argv", ["/home/someone/bin/python3", "/home/someone/bin/compmod", "table", "1"])
    monkeypatch.setattr(sys, "argv", ["/home/someone/bin/compmod", "table", "1"])
    assert provenance(Run(method="simclr", dataset="digits"), seconds=1, device="cpu")["command"] == (
        "python3 compmod table 1"
    )
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "compmod", "table", "a b"])
    assert provenance(Run(method="simclr", dataset="digits"), seconds=1, device="cpu")["command"] == (
        "python -m compmod table 'a b'"
    )


def test_extra_entries_are_added() -> None:
    assert provenance(RUN, seconds=0, device="cpu", extra={"images": 7})["images"] == 7


def test_the_versions_that_can_move_a_number_are_named() -> None:
    import torch

    versions = provenance(RUN, seconds=0, device="cpu")["versions"]
    assert versions["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert set(versions) == {"python", *module.PACKAGES}


def test_threads_are_named_once_torch_is_imported() -> None:
    import torch

    assert provenance(RUN, seconds=0, device="cpu")["hardware"]["threads"] == torch.get_num_threads()


def test_the_commit_is_that_of_the_checkout_that_holds_the_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    (tmp_path / Path(module.__file__).name).write_text("x = 1\n")
    git("add", ".")
    git("commit", "-qm", "first")
    monkeypatch.setattr(module, "PACKAGE_FOLDER", tmp_path)
    commit = git("rev-parse", "HEAD")
    assert provenance(RUN, seconds=0, device="cpu")["git"] == {"commit": commit, "dirty": False}
    (tmp_path / Path(module.__file__).name).write_text("x = 2\n")
    assert provenance(RUN, seconds=0, device="cpu")["git"] == {"commit": commit, "dirty": True}


def test_an_installed_copy_inside_another_checkout_has_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["git", "-C", str(tmp_path), "init", "-q"], check=True)
    monkeypatch.setattr(module, "PACKAGE_FOLDER", tmp_path)
    assert provenance(RUN, seconds=0, device="cpu")["git"] == {"commit": "unknown", "dirty": None}


def test_a_machine_without_git_has_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert provenance(RUN, seconds=0, device="cpu")["git"] == {"commit": "unknown", "dirty": None}


def test_it_does_not_import_torch() -> None:
    code = (
        "import sys\n"
        "from compmod.pretrain.records.provenance import provenance\n"
        "from compmod.pretrain.specs.run import Run\n"
        "provenance(Run(method='simclr', dataset='digits'), seconds=0, device='cpu')\n"
        "print('torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"
