"""Several processes against one: the same losses, gradients and state, to 1e-10 in float64, for every method."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from compmod.pretrain.runtime.launch import Launch, launch_of, meeting_point
from compmod.pretrain.specs.methods import METHODS
from paths import FIXTURES
from process_group import run_group

NAMES = [name + plus for name, entry in METHODS.items() for plus in ("", "+") if entry.plus or not plus]
VARIANTS = [
    "simclr+ unrolled",
    "simclr+ finite-difference",
    "simclr+ next",
    "byol+ joint",
    "byol recomputed",
    "simclr+ recomputed",
]
WORLDS = (2, 4)
TOLERANCE = 1e-10  # relative to the norm of the whole tensor, or of all gradients where one is nearly zero


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, Any]]:
    """What groups of 1, 2 and 4 processes computed, by method."""
    folder = tmp_path_factory.mktemp("distributed")
    return {world: _computed(folder / f"{world}.pt", world) for world in (1, *WORLDS)}


def _computed(out: Path, world: int) -> dict[str, Any]:
    command = [sys.executable, str(FIXTURES / "distributed_worker.py"), str(out), *NAMES]
    run_group(command, world, PYTHONPATH=os.pathsep.join([str(FIXTURES), *sys.path]))
    results: dict[str, Any] = torch.load(out, weights_only=True)
    return results


def relative(ours: torch.Tensor, theirs: torch.Tensor, scale: float) -> float:
    return float((ours - theirs).norm()) / scale if scale else float((ours - theirs).norm())


@pytest.mark.slow
@pytest.mark.xdist_group("distributed")
@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("name", [*NAMES, *VARIANTS])
class TestSeveralProcessesEqualOne:
    def test_in_every_logged_figure(self, found: dict[int, dict[str, Any]], name: str, world: int) -> None:
        tolerance = 1e-6 if "finite" in name else TOLERANCE  # a difference quotient loses digits
        for one, several in zip(found[1][name]["logged"], found[world][name]["logged"], strict=True):
            assert one.keys() == several.keys()
            for key, value in one.items():
                assert relative(several[key], value, float(abs(value))) < tolerance, key

    def test_in_every_gradient(self, found: dict[int, dict[str, Any]], name: str, world: int) -> None:
        tolerance = 1e-6 if "finite" in name else TOLERANCE
        for one, several in zip(found[1][name]["gradients"], found[world][name]["gradients"], strict=True):
            assert one.keys() == several.keys()
            for kind in ("psi.", "xi."):
                mine = {key: value for key, value in one.items() if key.startswith(kind)}
                whole = float(torch.stack([value.norm() for value in mine.values()]).norm()) if mine else 1.0
                for key, value in mine.items():
                    assert relative(several[key], value, max(float(value.norm()), 1e-3 * whole)) < tolerance, key

    def test_in_all_state_after_two_steps(self, found: dict[int, dict[str, Any]], name: str, world: int) -> None:
        one, several = (found[count][name]["state"] for count in (1, world))
        tolerance = 1e-6 if "finite" in name else TOLERANCE
        for key, value in one.items():
            # some running means are zero but for rounding
            scale = max(float(value.double().norm()), 1e-3)
            assert relative(several[key].double(), value.double(), scale) < tolerance, key

    def test_and_every_process_ends_with_the_same_bits(
        self, found: dict[int, dict[str, Any]], name: str, world: int
    ) -> None:
        assert not found[world][name]["differs"]


def test_a_process_without_variables_is_alone() -> None:
    assert launch_of({}) == Launch(0, 1, 0)


def test_torchruns_variables_come_before_slurms() -> None:
    torchrun = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}
    slurm = {"SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "8", "SLURM_LOCALID": "2"}
    assert launch_of(torchrun | slurm) == Launch(3, 4, 1)
    assert launch_of(slurm) == Launch(5, 8, 2)


def test_a_slurm_allocation_without_a_step_is_one_process() -> None:
    assert launch_of({"SLURM_NTASKS": "8", "SLURM_PROCID": "0"}) == Launch(0, 1, 0)


@pytest.mark.parametrize("name, address", [("localhost", "localhost"), ("no-such-host.invalid", "10.1.2.3")])
def test_a_node_whose_name_is_slurms_alone_is_met_at_its_address(
    name: str, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scontrol = tmp_path / "scontrol"
    shown = f"NodeName={name} Arch=x86_64 NodeAddr=10.1.2.3 NodeHostName=other"
    scontrol.write_text(f'#!/bin/sh\ncase "$*" in *hostnames*) echo {name} ;; *) echo {shown} ;; esac\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    found = meeting_point({"SLURM_STEP_NODELIST": name, "SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0"})
    assert found == {"MASTER_ADDR": address, "MASTER_PORT": "10217"}


def test_contradicting_variables_are_named() -> None:
    with pytest.raises(ValueError, match=r"cannot tell this process's rank from .*'LOCAL_RANK': 'unset'"):
        launch_of({"RANK": "0", "WORLD_SIZE": "2"})
    with pytest.raises(ValueError, match="RANK 2 must be below WORLD_SIZE 2"):
        launch_of({"RANK": "2", "WORLD_SIZE": "2", "LOCAL_RANK": "0"})
