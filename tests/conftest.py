"""What every test shares: one thread, since tests are tiny and machines busy; and the only reasons to skip."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from pathlib import Path

import pytest
import torch
from browser import find_browser
from compmod.transfer.detector import install
from paths import FIXTURES, SAMPLES

# sums are split between threads, so their number is one of the things in which machines differ
torch.set_num_threads(int(os.environ.get("COMPMOD_TEST_THREADS", "1")))

# nohup, and a shell that does not wait, start the suite with a signal ignored, and so would be the commands that tests
# send it to
signal.signal(signal.SIGHUP, signal.SIG_DFL)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The allow-list: marker -> (whether its tests are skipped here, why). CI skips only the loggers.
SKIPPED = {
    "real_images": (
        not SAMPLES.is_dir() and not os.environ.get("CI"),
        f"needs the developers' samples of CIFAR, STL-10 and Tiny ImageNet, which are no part of this project: "
        f"{SAMPLES} is absent",
    ),
    "browser": (
        not find_browser() and not os.environ.get("CI"),
        "needs Chromium to open the report in: `make browser` installs it on Debian, as root",
    ),
    "detectron2": (
        not install.find() and not os.environ.get("CI"),
        "trains a detector on a GPU, by Detectron2, which that machine's python3 lacks",
    ),
    "trackio": (not importlib.util.find_spec("trackio"), "needs Trackio: pip install trackio"),
    "wandb": (not importlib.util.find_spec("wandb"), "needs Weights & Biases: pip install wandb"),
    "mlflow": (not importlib.util.find_spec("mlflow"), "needs MLflow: pip install mlflow"),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """A machine with a GPU may lack pytest-timeout: its option is then known all the same, and does nothing."""
    if importlib.util.find_spec("pytest_timeout") is None:
        parser.addini("timeout", "seconds that a test may take, for pytest-timeout")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what the allow-list names, and nothing else."""
    for item in items:
        for marker, (here, reason) in SKIPPED.items():
            if here and item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the fake Trackio stores, which from here on is the installed one."""
    folder = FIXTURES / "fake_loggers"
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *filter(None, sys.path)]))
    monkeypatch.setenv("FAKE_STORE", str(tmp_path / "store"))
    return tmp_path / "store"
