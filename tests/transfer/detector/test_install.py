"""Which Detectron2 is taken, how its archive is fetched and unpacked, and what is refused."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from compmod.transfer.detector import install
from compmod.transfer.detector.install import Found, archive_folder, find, install_archive, unpack


def packed(file: Path, names: dict[str, bytes]) -> Path:
    """An archive of these files."""
    with tarfile.open(file, "w:gz") as archive:
        for name, content in names.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file


def test_a_detectron2_is_here_for_these_tests() -> None:
    found = find()
    assert found is not None
    assert (found.folder / "detectron2" / "__init__.py").is_file()


def test_an_installed_one_is_taken_before_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "detectron2").mkdir()
    (tmp_path / "detectron2" / "__init__.py").touch()
    code = "from compmod.transfer.detector.install import find; print(find())"
    asked = [sys.executable, "-c", code]
    path = f"{tmp_path}:{Path(install.__file__).parents[3]}"
    monkeypatch.setenv("PYTHONPATH", ":".join([path, *sys.path]))
    done = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == str(Found("installed", "of unknown version", tmp_path))


@pytest.mark.parametrize(
    "origin, version",
    [
        (None, "0.6"),
        ('{"url": "https://example.org/d.git", "vcs_info": {"commit_id": "0123456789abcdef"}}', "0.6+01234567"),
    ],
)
def test_a_version_names_the_commit_that_it_was_built_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, origin: str | None, version: str
) -> None:
    folder = tmp_path / "detectron2-0.6.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: detectron2\nVersion: 0.6\n")
    if origin:
        (folder / "direct_url.json").write_text(origin)
    monkeypatch.syspath_prepend(tmp_path)
    assert install._version(tmp_path) == version


def test_without_one_nothing_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "archive_folder", lambda: tmp_path)
    monkeypatch.setattr(install.importlib.util, "find_spec", lambda name: None)
    assert find() is None


def test_without_one_importing_it_says_how_to_get_it() -> None:
    code = (
        "import compmod.transfer.detector.install as install\ninstall.find = lambda: None\n"
        "from compmod.transfer.detector.detectron2 import layers\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "ValueError: no Detectron2 here; `make detectron2`" in done.stderr


def test_unpacking_takes_the_package_and_leaves_the_rest(tmp_path: Path) -> None:
    names = {"d-0.6/setup.py": b"no", "d-0.6/detectron2/__init__.py": b"yes", "d-0.6/detectron2/layers/a.py": b"also"}
    unpack(packed(tmp_path / "d.tar.gz", names), tmp_path / "here")
    files = {path.relative_to(tmp_path / "here").as_posix() for path in (tmp_path / "here").rglob("*.py")}
    assert files == {"detectron2/__init__.py", "detectron2/layers/a.py"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d.tar.gz", "here"]


def test_unpacking_replaces_what_an_older_archive_left(tmp_path: Path) -> None:
    for content in (b"old", b"new"):
        names = {"d/detectron2/__init__.py": content, f"d/detectron2/{content.decode()}.py": b""}
        unpack(packed(tmp_path / "d.tar.gz", names), tmp_path / "here")
    assert sorted(path.name for path in (tmp_path / "here" / "detectron2").iterdir()) == ["__init__.py", "new.py"]


def test_unpacking_writes_nothing_outside_its_folder(tmp_path: Path) -> None:
    archive = packed(tmp_path / "d.tar.gz", {"d/detectron2/../../../../outside.py": b"harm"})
    with pytest.raises(tarfile.OutsideDestinationError):
        unpack(archive, tmp_path / "deep" / "here")
    assert not list(tmp_path.rglob("outside.py"))


def test_an_archive_with_another_checksum_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = packed(tmp_path / "d.tar.gz", {"d/detectron2/__init__.py": b"changed"})
    monkeypatch.setattr(install, "archive_folder", lambda: tmp_path / "here")
    monkeypatch.setattr(install, "_download", lambda folder: archive)
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    with pytest.raises(RuntimeError, match=f"has SHA-256 {found}, not the pinned {install.SHA256}"):
        install_archive()
    assert not (tmp_path / "here").exists()


def test_what_is_here_is_not_installed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "_reached", lambda repository: pytest.fail("looked for the repository"))
    assert install.install() == find()


def test_an_unreachable_repository_leads_to_the_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(install, "find", lambda: None)
    monkeypatch.setattr(install, "install_archive", lambda: Found("archive", "0.6", tmp_path))
    assert install.install(str(tmp_path / "no-repository.git")).kind == "archive"
    assert "cannot reach it; taking pb1-detectron2 0.6" in capsys.readouterr().err


def test_a_repository_that_cannot_be_built_leads_to_the_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(install, "find", lambda: None)
    monkeypatch.setattr(install, "_reached", lambda repository: True)
    monkeypatch.setattr(install, "_pip", lambda *arguments, **options: 1)
    monkeypatch.setattr(install, "install_archive", lambda: Found("archive", "0.6", tmp_path))
    assert install.install().kind == "archive"
    assert "cannot build it; taking pb1-detectron2 0.6" in capsys.readouterr().err


def test_the_archive_lies_where_it_is_on_nobodys_path() -> None:
    code = f"import sys; sys.exit({str(archive_folder())!r} in sys.path)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
