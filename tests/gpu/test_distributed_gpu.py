"""CUDA: two processes on one GPU, with batch norm over both, take the steps of one process, for every method.

NCCL where it lets two processes share a GPU, else gloo, which moves the same CUDA tensors through the host.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from compmod.pretrain.specs.methods import METHODS
from gpu_device import REHEARSAL, distance
from paths import FIXTURES

pytestmark = pytest.mark.gpu
NAMES = [name + plus for name, entry in METHODS.items() for plus in ("", "+") if entry.plus or not plus]
BACKENDS = ("gloo",) if REHEARSAL else ("cpu:gloo,cuda:nccl", "gloo")
SECONDS = 150


def group(world: int, backend: str, out: Path) -> str:
    """Run so many processes; what they have to say where one fails, else ""."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment = {
        **os.environ,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "WORLD_SIZE": str(world),
        "PYTHONPATH": os.pathsep.join([str(FIXTURES), *sys.path]),
    }
    command = [sys.executable, str(FIXTURES / "gpu_worker.py"), backend, str(out), *NAMES]
    children = [
        subprocess.Popen(command, env={**environment, "RANK": str(rank)}, stderr=subprocess.PIPE, text=True)
        for rank in range(world)
    ]
    try:
        errors = [child.communicate(timeout=SECONDS)[1] for child in children]
    except subprocess.TimeoutExpired:
        return f"two processes on one GPU took more than {SECONDS} s with {backend}"
    finally:
        for child in children:
            child.kill()
            child.wait()
    return "\n".join(errors) if any(child.returncode for child in children) else ""


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, Any]]:
    """What one process and two have computed."""
    folder = tmp_path_factory.mktemp("groups")
    assert (failed := group(1, "gloo", folder / "1")) == ""
    for backend in BACKENDS:
        if not (failed := group(2, backend, folder / "2")):
            print(f"two processes share the GPU by {backend}")
            break
        print(f"{backend} does not let two processes share a GPU: {failed[-500:]}")
    assert not failed, failed
    return {world: torch.load(folder / str(world), weights_only=True, map_location="cpu") for world in (1, 2)}


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("name", NAMES)
def test_two_processes_on_a_gpu_take_the_steps_of_one(name: str, layout: str, kept: dict[int, Any]) -> None:
    one, two = (kept[world][f"{name} {layout}"] for world in (1, 2))
    assert not two["differs"]
    for first, second in zip(one["logged"], two["logged"], strict=True):
        assert all(distance(second[key], value) < 1e-9 for key, value in first.items())
    for first, second in zip(one["gradients"], two["gradients"], strict=True):
        for kind in ("psi.", "xi."):
            ours, exact = (
                torch.cat(
                    [g.flatten() for key, g in sorted(gradients.items()) if key.startswith(kind)] or [torch.zeros(0)]
                )
                for gradients in (second, first)
            )
            assert distance(ours, exact) < 1e-9
    ours, exact = (
        torch.cat([value.double().flatten() for _, value in sorted(state["state"].items())]) for state in (two, one)
    )
    assert distance(ours, exact) < 1e-9
