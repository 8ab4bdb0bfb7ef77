"""Provenance: where a stored number is from, as plain JSON values: code, packages, machine, time.

Torch is asked only when it is already imported, so that this module stays cheap to import.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..runtime.launch import usable_cores
from ..specs.spec import Spec
from .fingerprint import fingerprint

PACKAGES = ("compmod", "torch", "torchvision", "numpy", "scikit-learn", "safetensors")  # those that can move a number
PACKAGE_FOLDER = Path(__file__).resolve().parent
GIT_TIMEOUT_S = 10


def provenance(
    spec: Spec, *, seconds: float, device: str, data_digest: str = "", extra: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Where the results of `spec` come from, for work that ends now and took `seconds` on `device`.

    `data_digest` is the checksum of the images used; `extra` adds entries, and replaces those of the same name.
    """
    ended = datetime.datetime.now(datetime.UTC)
    started = ended - datetime.timedelta(seconds=seconds)
    return {
        "spec": type(spec).__qualname__,
        "digest": spec.digest,
        "seed": _seed(spec),
        "data_digest": data_digest,
        "git": git_state(PACKAGE_FOLDER),
        "source": fingerprint(spec),
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES},
        "hardware": _hardware(device),
        "seconds": round(seconds, 3),
        "started": started.isoformat(timespec="seconds"),
        "ended": ended.isoformat(timespec="seconds"),
        "command": _command(sys.orig_argv, sys.argv[0]),
    } | (extra or {})


def _command(words: Sequence[str], program: str) -> str:
    """The command line, its interpreter and program by name: where they lie tells of a person, not of a number."""
    return shlex.join([Path(word).name if word in {*words[:1], program} else word for word in words])


def _seed(spec: Spec) -> int | None:
    """The seed of the spec, or of the run it evaluates."""
    seed = getattr(spec, "seed", None)
    return seed if seed is not None else getattr(getattr(spec, "run", None), "seed", None)


def git_state(folder: Path = PACKAGE_FOLDER) -> dict[str, Any]:
    """Commit and cleanness of the checkout that holds this source; "unknown" where git tracks no such file.

    An installed copy may lie inside an unrelated checkout (a `.venv` in one), so git is asked whether it tracks it.
    """
    try:
        _ask_git(folder, "ls-files", "--error-unmatch", Path(__file__).name)
        return {
            "commit": _ask_git(folder, "rev-parse", "HEAD"),
            "dirty": bool(_ask_git(folder, "status", "--porcelain")),
        }
    except (OSError, subprocess.SubprocessError):
        return {"commit": "unknown", "dirty": None}


def _ask_git(folder: Path, *arguments: str) -> str:
    # Without optional locks, so that a commit at the same time is not blocked. A container often runs as another user
    # than the owner of the checkout; git calls that unsafe, but this code itself is from there.
    command = ["git", "--no-optional-locks", "-c", "safe.directory=*", "-C", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=GIT_TIMEOUT_S)
    return done.stdout.strip()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _hardware(device: str) -> dict[str, Any]:
    hardware: dict[str, Any] = {
        "device": device,
        "cpu": _cpu_model(),
        "cores": usable_cores(),
        "platform": platform.platform(),
    }
    torch = sys.modules.get("torch")
    if torch is not None:
        hardware["threads"] = torch.get_num_threads()
        if device.startswith("cuda") and torch.cuda.is_available():
            hardware["gpu"] = torch.cuda.get_device_name(device)
            hardware["cuda"] = torch.version.cuda
    return hardware


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()
