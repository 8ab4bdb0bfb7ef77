"""Worker processes end with the one that started them, also where it was killed and could tell them nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

PARENT = """
import concurrent.futures, multiprocessing, os, signal, time
from compmod.pretrain.runtime.worker_process import end_with_the_parent

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context, initializer=end_with_the_parent) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        pool.submit(time.sleep, 100)
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGKILL)
"""
PATIENCE_S = 30


def is_running(process: int) -> bool:
    try:
        with open(f"/proc/{process}/stat") as handle:
            return handle.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_worker_at_work_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, script], env=environment, stdout=subprocess.PIPE, text=True, timeout=60)
    worker, patience = int(done.stdout), time.monotonic() + PATIENCE_S
    while is_running(worker):
        assert time.monotonic() < patience, f"process {worker} outlived its parent"
        time.sleep(0.05)
