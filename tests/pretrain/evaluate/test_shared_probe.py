"""A probe that processes share: the bits that one process gives, and an error of one is an error of all."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from paths import FIXTURES

WORLDS = (2, 3)


def group(out: Path, world: int, *words: str) -> list[subprocess.Popen[str]]:
    """So many processes, started with torchrun's variables."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(world)}
    path = os.pathsep.join([str(FIXTURES), *sys.path])
    environment = {**os.environ, **meeting, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    return [
        subprocess.Popen(
            [sys.executable, str(FIXTURES / "probe_worker.py"), str(out), *words],
            env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[dict[str, Any]]]:
    """What every process of groups of 1, 2 and 3 has, by the size of the group."""
    folder, kept = tmp_path_factory.mktemp("probes"), {}
    for world in (1, *WORLDS):
        children = group(folder / f"of-{world}", world)
        errors = [child.communicate(timeout=300)[1] for child in children]
        assert not any(child.returncode for child in children), "\n".join(errors)
        kept[world] = [torch.load(folder / f"of-{world}.{rank}", weights_only=True) for rank in range(world)]
    return kept


@pytest.mark.slow
@pytest.mark.xdist_group("shared probe")
@pytest.mark.parametrize("world", WORLDS)
class TestSeveralProcesses:
    def test_have_the_features_of_the_first_one_s_trunk(self, kept: dict[int, Any], world: int) -> None:
        names = [name for name in kept[1][0] if name.startswith("features")]
        assert len(names) == 4
        for mine in kept[world]:
            assert all(torch.equal(mine[name], kept[1][0][name]) for name in names)

    def test_keep_their_own_statistics(self, kept: dict[int, Any], world: int) -> None:
        assert all(mine["buffers"] for mine in kept[world])

    def test_have_the_accuracies_of_one(self, kept: dict[int, Any], world: int) -> None:
        assert all(mine["accuracies"] == kept[1][0]["accuracies"] for mine in kept[world])

    def test_store_the_evaluation_of_one(self, kept: dict[int, Any], world: int) -> None:
        assert all(mine["stored"] == kept[1][0]["accuracies"] for mine in kept[world])

    def test_all_stop_where_one_cannot_read_the_images(self, kept: dict[int, Any], world: int) -> None:
        *others, last = (mine["unreadable"] for mine in kept[world])
        assert last == "ValueError: this machine has no images"
        assert set(others) == {f"ValueError: process {world - 1} of {world} failed: {last}"}

    def test_all_stop_where_one_has_other_images(self, kept: dict[int, Any], world: int) -> None:
        *others, last = (mine["other"] for mine in kept[world])
        assert last.endswith("are not those of process 0")
        assert set(others) == {f"ValueError: process {world - 1} of {world} failed: {last}"}


@pytest.mark.slow
def test_a_process_that_is_killed_leaves_no_other_waiting(tmp_path: Path) -> None:
    children = group(tmp_path / "out", 2, "dies")
    children[1].communicate(timeout=200)
    ended = time.monotonic()
    error = children[0].communicate(timeout=100)[1]
    assert children[1].returncode == 9
    assert children[0].returncode != 0, error
    assert time.monotonic() - ended < 60
