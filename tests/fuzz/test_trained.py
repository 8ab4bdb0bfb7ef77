"""Damaged encoders, checkpoints and pixel caches of a trained run: named and refused, or the same numbers."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_server import Server
from compmod.pretrain.data.class_names import CLASS_NAMES
from file_mutations import Mutation, of_bytes, of_place
from fuzz_cases import chance_of, chosen, fault, no_faults
from odd_images import picture
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

LEAVE_S = 120.0  # that training a tiny network may take on a busy machine
OPTIONS = {
    "--train_images": "64",
    "--batch_size": "32",
    "--epochs": "2",
    "--backbone.name": "resnet10",
    "--backbone.width": "2",
    "--projector.hidden": "8",
    "--projector.out": "4",
    "--linear-epochs": "1",
    "--checkpoint-epochs": "1",
}
PRETRAIN = ("pretrain", "simclr", "--dataset", "digits", "--device", "cpu", *sum(OPTIONS.items(), ()))


@pytest.fixture(scope="module")
def trained(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the run, two epochs long, with a checkpoint of each."""
    runs = tmp_path_factory.mktemp("trained") / "runs"
    said = server.run(*PRETRAIN, "--runs", str(runs), seconds=LEAVE_S)
    assert said.status == 0, said
    (folder,) = runs.glob("simclr-*")
    return folder


def _changes(path: Path, name: str, count: int) -> list[tuple[Path, Mutation]]:
    """Flipped bits first, which nothing but a digest tells."""
    chance = chance_of(name)
    mutations = [each for each in of_bytes(chance) if each.name != "twice"]
    flipped = [each for each in mutations if "flipped" in each.name][:1]
    others = [each for each in [*mutations, *of_place()] if each not in flipped]
    return [(path, each) for each in [*flipped, *chosen(others, count - 1, chance)]]


def _exchanged(path: Path) -> None:
    """Other weights in a file that is sound and says that it is of the same run."""
    with safe_open(path, "np") as file:
        remarks = file.metadata()
    save_file({name: np.array(-weights) for name, weights in load_file(path).items()}, path, remarks)


EXCHANGED = Mutation("other weights", _exchanged)


def test_a_damaged_encoder_is_not_exported(trained: Path, server: Server, tmp_path: Path) -> None:
    words = ("export", str(trained), "--to", "detectron2", "-o")
    assert server.run(*words, str(tmp_path / "sound.pth")).status == 0
    right = (tmp_path / "sound.pth").read_bytes()

    def judge(damaged: Path) -> str:
        output = tmp_path / "out.pth"
        output.unlink(missing_ok=True)
        said = server.run(*words, str(output))
        if wrong := fault(said, (damaged.name,)):
            return wrong
        return "" if said.status or output.read_bytes() == right else "another encoder is exported with status 0"

    path = trained / "encoder.safetensors"
    no_faults([(path, EXCHANGED), *_changes(path, "export", 12)], judge)


def test_a_damaged_encoder_is_not_evaluated(trained: Path, server: Server) -> None:
    words = ("evaluate", str(trained), "--linear-epochs", "1", "--device", "cpu")

    def evaluated() -> tuple[str, str]:
        for folder in trained.glob("evaluation-*"):
            shutil.rmtree(folder)
        said = server.run(*words, seconds=LEAVE_S)
        if said.status and "linear" in said.err:  # what it says of its progress is no fault
            return "", "fails in the middle"
        return said.out, fault(said, ("encoder.safetensors",))

    right, wrong = evaluated()
    assert not wrong

    def judge(damaged: Path) -> str:
        found, wrong = evaluated()
        return wrong or ("other numbers with status 0" if found not in ("", right) else "")

    path = trained / "encoder.safetensors"
    no_faults([(path, EXCHANGED), *_changes(path, "evaluate", 2)], judge)


@pytest.mark.parametrize("last", [True, False], ids=["the last of two", "the only one"])
def test_a_run_goes_on_exactly_or_names_the_checkpoint(
    last: bool, trained: Path, server: Server, tmp_path: Path
) -> None:
    right = load_file(trained / "encoder.safetensors")
    runs = tmp_path / "runs"
    names = sorted(path.name for path in (trained / "checkpoints").iterdir())

    def judge_in(change: Callable[[Path], None]) -> str:
        shutil.rmtree(runs, ignore_errors=True)
        shutil.copytree(trained, runs / trained.name, ignore=shutil.ignore_patterns("evaluation-*", "tensorboard"))
        for name in ("results.json", "provenance.json", "encoder.safetensors"):
            (runs / trained.name / name).unlink()
        if not last:
            (runs / trained.name / "checkpoints" / names[-1]).unlink()
        path = runs / trained.name / "checkpoints" / names[-1 if last else 0]
        change(path)
        said = server.run(*PRETRAIN, "--runs", str(runs), seconds=LEAVE_S)
        if said.status == 2 and path.name in said.err.splitlines()[-1]:
            return "" if "Traceback" not in said.err else "a traceback"
        if wrong := fault(said, (path.name,)):
            return wrong
        with safe_open(runs / trained.name / "encoder.safetensors", "np") as file:
            same = all(np.array_equal(right[name], file.get_tensor(name)) for name in right)
        return "" if same else "another encoder than that of an undisturbed run"

    chance = chance_of(f"resume {last}")
    mutations = chosen([*of_bytes(chance), *of_place()], 3, chance)
    found = [f"{each.name}: {said}" for each in mutations if (said := judge_in(each.apply))]
    assert not found, "\n".join(found)


def test_a_damaged_pixel_cache_changes_no_pixel(server: Server, tmp_path: Path) -> None:
    for part in ("train", "test"):
        for name in CLASS_NAMES["cifar10"]:
            (tmp_path / "mine" / part / name).mkdir(parents=True)
            Image.fromarray(picture(32, 32)).save(tmp_path / "mine" / part / name / "0.png")
    words = ("cifar10", str(tmp_path), "mine", str(tmp_path / "read.npz"))

    def read() -> bytes:
        said = server.run(*words, function="images_as_read:small")
        assert said.status in (0, 2), said
        return np.load(tmp_path / "read.npz")["pixels"].tobytes() if said.status == 0 else said.err.encode()

    right = read()
    files = [path for path in (tmp_path / ".compmod-cache").rglob("*") if path.is_file()]
    assert files
    cases = [case for path in files for case in _changes(path, f"cache {path.suffix}", max(2, 10 // len(files)))]

    def judge(damaged: Path) -> str:
        said = server.run(*words, function="images_as_read:small")
        if wrong := fault(said, (damaged.name,)):
            return wrong
        same = said.status or np.load(tmp_path / "read.npz")["pixels"].tobytes() == right
        return "" if same else "other pixels with status 0"

    no_faults(cases, judge)
