"""Two processes that share every batch of a detector: one set of weights, one record with every image scored."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from compmod.pretrain.records.record import Record
from paths import FIXTURES
from tiny_detections import RUN, SPEC, tiny_coco
from tiny_fine_tunings import finish


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def run_pair(runs: Path, coco: Path) -> None:
    """Two processes of the worker, each of which must succeed."""
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    path = os.pathsep.join([str(FIXTURES), *sys.path])
    children = [
        subprocess.Popen(
            [sys.executable, str(FIXTURES / "detection_worker.py"), str(runs), str(coco)],
            env={**os.environ, **meeting, "PYTHONPATH": path, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    errors = [child.communicate(timeout=500)[1] for child in children]
    assert all(child.returncode == 0 for child in children), "\n".join(errors)


@pytest.mark.slow
def test_a_pair_trains_one_detector_and_scores_every_image_once(tmp_path: Path) -> None:
    tiny_coco(tmp_path / "tiny", val=3)
    finish(tmp_path / "runs", RUN)
    run_pair(tmp_path / "runs", tmp_path / "tiny")
    record = Record(tmp_path / "runs", SPEC)
    assert record.status == "done"
    found = json.loads((record.path / "detections.json").read_text())["detections"]
    assert [each["image_id"] for each in found] == sorted(each["image_id"] for each in found)
    assert {each["image_id"] for each in found} == {1, 2, 3}
    assert (record.provenance or {})["processes"] == 2
