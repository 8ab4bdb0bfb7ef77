"""Install: Detectron2 into this interpreter, from its git repository where that is reached, else from an archive.

`make detectron2` runs `python -m compmod.transfer.detector.install`. Detectron2 is not on the package index under its
own name; the archive there, pb1-detectron2 0.6, holds the Python files of tag v0.6 without the C++ sources, so that it
cannot be built, and needs none: nms and ROIAlign come from torchvision. Imports no torch.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

MOVES_NO_NUMBER = "finds Detectron2, whose version stands beside every number"

MISSING = "no Detectron2 here; `make detectron2` or `python -m compmod.transfer.detector.install` installs it"
REPOSITORY = "https://github.com/facebookresearch/detectron2.git"
COMMIT = "02b5c4e295e990042a714712c21dc79b731e8833"  # its main branch in June 2026
ARCHIVE, VERSION = "pb1-detectron2", "0.6"
SHA256 = "5d2e9e51e523ec72f6a31cca04b0a515492e9514b773a3d134cedc0677170b29"  # compared file by file with tag v0.6
REACH_TIMEOUT_S, BUILD_TIMEOUT_S, DOWNLOAD_TIMEOUT_S = 20, 1800, 600

# Stands in for setuptools while pip fetches the archive: pip would run its set-up for a name and a version, and then
# refuse it for an optional dependency that is a web address.
_BACKEND = f"""
from pathlib import Path
import sys

def prepare_metadata_for_build_wheel(folder, config_settings=None):
    name = "{ARCHIVE.replace("-", "_")}-{VERSION}.dist-info"
    (Path(folder) / name).mkdir()
    (Path(folder) / name / "METADATA").write_text("Metadata-Version: 2.1\\nName: {ARCHIVE}\\nVersion: {VERSION}\\n")
    return name

__legacy__ = sys.modules[__name__]
"""


class Found(NamedTuple):
    """A Detectron2 of this interpreter."""

    kind: str  # "installed", or "archive": unpacked by `install_archive`, without compiled operations
    version: str
    folder: Path  # which holds the folder detectron2


def archive_folder() -> Path:
    """Where this interpreter's archive is unpacked: beside its packages, outside the import path."""
    return Path(sysconfig.get_path("purelib")) / f"{ARCHIVE}-{VERSION}"


def find() -> Found | None:
    """The Detectron2 that `detectron2.py` takes: an installed one before the archive; None without one."""
    archive = archive_folder()
    spec = importlib.util.find_spec("detectron2")
    folder = Path(spec.origin).parents[1] if spec and spec.origin else archive
    if folder != archive:
        return Found("installed", _version(folder), folder)
    return Found("archive", VERSION, archive) if (archive / "detectron2" / "__init__.py").is_file() else None


def install(repository: str = REPOSITORY) -> Found:
    """Install what can be had; says on standard error what it tries. Raises RuntimeError when neither can."""
    if present := find():
        return present
    _say(f"looking for {repository}")
    if not _reached(repository):
        _say(f"cannot reach it; taking {ARCHIVE} {VERSION} from the package index")
    elif _pip("install", "--no-build-isolation", f"git+{repository}@{COMMIT}", timeout_s=BUILD_TIMEOUT_S):
        _say(f"cannot build it; taking {ARCHIVE} {VERSION} from the package index")
    elif installed := find():
        return installed
    return install_archive()


def install_archive() -> Found:
    """Fetch the archive with pip, compare its checksum, unpack its folder `detectron2`."""
    with tempfile.TemporaryDirectory() as name:
        archive = _download(Path(name))
        found = hashlib.sha256(archive.read_bytes()).hexdigest()
        if found != SHA256:
            raise RuntimeError(f"{archive.name} has SHA-256 {found}, not the pinned {SHA256}")
        unpack(archive, archive_folder())
    return Found("archive", VERSION, archive_folder())


def unpack(archive: Path, folder: Path) -> None:
    """Put the folder `detectron2` of an archive into `folder`, whole or not at all."""
    aside = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    with tarfile.open(archive) as packed:
        top = packed.getnames()[0].split("/")[0]
        members = [member for member in packed if member.name.startswith(f"{top}/detectron2/")]
        packed.extraction_filter = getattr(tarfile, "data_filter", None)  # Python 3.11.0 to 3.11.3 lack it
        packed.extractall(aside, members)
    shutil.rmtree(folder, ignore_errors=True)
    (aside / top).rename(folder)
    aside.rmdir()


def _version(folder: Path) -> str:
    """Its number, and the commit where pip built it from the repository: the number has been 0.6 since 2021."""
    try:
        package = importlib.metadata.distribution("detectron2")
    except importlib.metadata.PackageNotFoundError:
        return "of unknown version"
    if Path(str(package.locate_file(""))).resolve() != folder.resolve():  # a checkout before it on the path
        return "of unknown version"
    origin = json.loads(package.read_text("direct_url.json") or "{}")
    commit = origin.get("vcs_info", {}).get("commit_id", "")
    return f"{package.version}+{commit[:8]}" if commit else package.version


def _download(folder: Path) -> Path:
    backend = folder / "backend" / "setuptools"
    backend.mkdir(parents=True)
    (backend / "__init__.py").touch()
    (backend / "build_meta.py").write_text(_BACKEND)
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{ARCHIVE}=={VERSION} --hash=sha256:{SHA256}\n")  # pip compares it before it opens the archive
    options = ("--no-deps", "--no-build-isolation", "--use-pep517", "--no-binary", ":all:", "--dest", str(folder))
    path = {"PYTHONPATH": str(backend.parent)}
    if _pip("download", *options, "--require-hashes", "-r", str(wanted), timeout_s=DOWNLOAD_TIMEOUT_S, extra=path):
        raise RuntimeError(f"pip cannot fetch {ARCHIVE} {VERSION} from the package index; its message is above")
    return next(folder.glob("*.tar.gz"))


def _reached(repository: str) -> bool:
    try:
        asked = ("git", "ls-remote", "--exit-code", repository, "HEAD")
        return not subprocess.run(asked, capture_output=True, timeout=REACH_TIMEOUT_S, check=False).returncode
    except (OSError, subprocess.TimeoutExpired):
        return False


def _pip(*arguments: str, timeout_s: float, extra: dict[str, str] | None = None) -> int:
    """Exit status of pip of this interpreter."""
    command = (sys.executable, "-m", "pip", *arguments, "--quiet", "--disable-pip-version-check")
    return subprocess.run(
        command, stdout=sys.stderr, timeout=timeout_s, env={**os.environ, **(extra or {})}, check=False
    ).returncode


def _say(line: str) -> None:
    print(f"detectron2: {line}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str]) -> None:
    """Install; print which it took."""
    kind, version, folder = install(*arguments)
    print(f"detectron2 {version} ({kind}) in {folder}")


if __name__ == "__main__":
    main(sys.argv[1:])
