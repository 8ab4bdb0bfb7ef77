"""Fixtures that tests of SLURM share: commands that only print, and one private cluster, started when first used."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from printing_slurm import PrintingSlurm
from private_cluster import PrivateCluster


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PrintingSlurm:
    """A printed cluster that takes every job, under the number 41, and whose queue is empty."""
    slurm = PrintingSlurm(tmp_path / "bin", monkeypatch)
    slurm.accepts_jobs()
    return slurm


@pytest.fixture(scope="session")
def orderly_end() -> None:
    """Whoever ends the tests by SIGTERM ends what fixtures started, too: clusters would outlive them."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.fixture(scope="session")
def started_cluster(orderly_end: None) -> Iterator[PrivateCluster]:
    """Up until the last test ends."""
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    cluster = PrivateCluster(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder)


@pytest.fixture
def short_folder(orderly_end: None) -> Iterator[Path]:
    """A folder for a cluster of a test's own: the path of a socket may have 107 characters, `tmp_path` has more."""
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def cluster(started_cluster: PrivateCluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[PrivateCluster]:
    """The cluster with both nodes up and no job on it, before the test and after; this process speaks to it, too."""
    for name in [name for name in started_cluster.environment if name.startswith("SLURM")]:
        monkeypatch.setenv(name, started_cluster.environment[name])
    started_cluster.start()
    yield started_cluster
    started_cluster.clear()


@pytest.fixture
def accounting(short_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PrivateCluster]:
    """A cluster of its own that remembers."""
    cluster = PrivateCluster(short_folder)
    monkeypatch.setenv("SLURM_CONF", cluster.environment["SLURM_CONF"])
    try:
        cluster.start("--accounting")
        yield cluster
    finally:
        cluster.stop()
