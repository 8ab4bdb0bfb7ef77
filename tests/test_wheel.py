"""The wheel: it has every file of the package, and what it installs works from any folder and warns of nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from paths import ROOT

FOLDERS = ("pretrain", "transfer", "tables", "slurm")
READ = (".py", ".csv", ".css", ".jinja", ".json")  # modules, and what they read beside themselves
FILES = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in READ]
NAMES = {path.relative_to(ROOT).as_posix() for path in FILES} | {"__init__.py", "__main__.py", "api.py", "cli.py"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the sources, since setuptools leaves a folder beside them."""
    folder = tmp_path_factory.mktemp("wheel")
    for path in [*FILES, *(path for path in ROOT.iterdir() if path.is_file())]:
        target = folder / "source" / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(folder), str(folder / "source")], check=True, timeout=300)
    (built,) = folder.glob("compmod-*.whl")
    return built


def test_the_wheel_has_every_file_of_the_package(wheel: Path) -> None:
    built = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("compmod/")}
    assert built == {f"compmod/{name}" for name in NAMES}


@pytest.fixture(scope="module")
def command(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`compmod` of an environment that has the wheel, and sees the other packages of this one."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True, with_pip=False)
    (purelib,) = folder.glob("lib/python*/site-packages")
    (purelib / "beside.pth").write_text(
        sysconfig.get_path("purelib")
    )  # not what its own .pth files name: these sources
    install = [sys.executable, "-m", "pip", "--python", str(folder / "bin/python"), "install", "--quiet", "--no-deps"]
    subprocess.run([*install, "--no-index", "--force-reinstall", str(wheel)], check=True, timeout=300)
    return folder / "bin" / "compmod"


@pytest.mark.slow
def test_what_the_wheel_installs_works_from_another_folder_and_warns_of_nothing(command: Path, tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COMPMOD"))}

    def said(line: str, program: Path = command) -> str:
        done = subprocess.run(
            [program, *line.split()],
            cwd=tmp_path,
            env={**kept, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert (done.returncode, "Warning" in done.stderr) == (0, False), done.stderr
        return done.stdout

    assert str(command.parents[1]) in said("-c print(__import__('compmod').__file__)", command.with_name("python"))
    said("pretrain simclr+ --dataset digits --epochs 1 --train-images 64 --device cpu")
    (run,) = (tmp_path / "runs").glob("simclr+-digits-*")
    said(f"evaluate runs/{run.name} --linear-epochs 2 --device cpu")
    said(f"export runs/{run.name} --to detectron2 -o trunk.pth")
    assert "CIFAR-10" in said("table 1 --scale demo")
    said("report --output report --scale demo")
    assert "<html" in (tmp_path / "report" / "index.html").read_text()
