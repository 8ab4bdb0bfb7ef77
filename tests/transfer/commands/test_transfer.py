"""`compmod transfer`: the spec it makes of its options, and mistakes in one line."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from compmod.cli import main
from compmod.pretrain.networks.build import build_backbone
from compmod.pretrain.records.record import Record
from compmod.pretrain.specs.measurement import Evaluation
from compmod.pretrain.specs.run import Backbone
from compmod.transfer import fine_tune as engine
from compmod.transfer.commands import transfer as command
from compmod.transfer.commands.transfer import copy_name, foreign_run
from compmod.transfer.spec import Detection, Detector, detector
from tiny_detections import RUN, tiny_coco
from tiny_fine_tunings import finish

RESNET18 = Backbone(name="resnet18", width=4, stem="large")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the engine is asked for, in place of its work."""
    calls: list[dict[str, Any]] = []

    def note(runs: Path, spec: Detection, coco: Path, session: Any, weights: Path | None) -> Record:
        calls.append({"runs": runs, "spec": spec, "coco": coco, "session": session, "weights": weights})
        return Record(runs, spec)

    monkeypatch.setattr(engine, "transfer", note)
    return calls


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return finish(tmp_path / "runs", RUN).path


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    tiny_coco(tmp_path / "coco-tiny")
    return tmp_path / "coco-tiny"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.save(build_backbone(RESNET18, 16).state_dict(), tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    with pytest.raises(SystemExit) as leave:
        main(["transfer", *map(str, arguments)])
    assert leave.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


def test_without_coco_it_is_the_demo_on_digit_scenes(run_dir: Path, asked: list[dict[str, Any]]) -> None:
    main(["transfer", str(run_dir)])
    assert asked[0]["spec"] == Detection(run=RUN, detector=detector("demo", "digit-scenes"), data="digit-scenes")


def test_with_coco_it_is_the_1x_schedule(run_dir: Path, coco: Path, asked: list[dict[str, Any]]) -> None:
    main(["transfer", str(run_dir), "--coco", str(coco)])
    assert asked[0]["spec"] == Detection(run=RUN, copy="coco-tiny")
    assert asked[0]["runs"] == run_dir.parent


def test_a_smaller_batch_lowers_the_rate_and_lengthens_the_schedule(
    run_dir: Path, coco: Path, asked: list[dict[str, Any]]
) -> None:
    main(["transfer", str(run_dir), "--coco", str(coco), "--schedule", "2x", "--batch-size", "8"])
    found = asked[0]["spec"].detector
    assert (found.batch_size, found.lr, found.iterations) == (8, 0.01, 360_000)


def test_a_pyramid_is_an_option(run_dir: Path, coco: Path, asked: list[dict[str, Any]]) -> None:
    main(["transfer", str(run_dir), "--coco", str(coco), "--architecture", "fpn"])
    assert asked[0]["spec"].detector == detector("1x", "coco", "fpn")


def test_a_file_of_weights_is_named_by_its_content(
    weights: Path, coco: Path, tmp_path: Path, asked: list[dict[str, Any]]
) -> None:
    main(["transfer", str(weights), "--coco", str(coco), "--runs", str(tmp_path / "there"), "--seed", "3"])
    spec, digest = asked[0]["spec"], hashlib.sha256(weights.read_bytes()).hexdigest()
    assert spec == Detection(run=foreign_run(RESNET18, 3), copy="coco-tiny", weights=digest)
    assert (asked[0]["runs"], asked[0]["weights"]) == (tmp_path / "there", weights)


def test_weights_from_elsewhere_start_a_detector(weights: Path, tmp_path: Path) -> None:
    spec = Detection(run=foreign_run(RESNET18, 0), weights="0" * 64)
    found = engine.trunk_weights(tmp_path, spec, weights).weights
    assert torch.equal(found["stem.conv1.weight"], torch.load(weights, weights_only=True)["conv1.weight"])


def test_a_detection_of_such_weights_without_their_file_asks_for_it(tmp_path: Path) -> None:
    spec = Detection(run=foreign_run(RESNET18, 0), weights="0" * 64)
    with pytest.raises(ValueError, match=r"starts from a file of weights of SHA-256 0000.*; give that file"):
        engine.trunk_weights(tmp_path, spec, None)


def test_weights_whose_pixels_are_others_are_refused(weights: Path, tmp_path: Path) -> None:
    spec = Detection(run=foreign_run(RESNET18, 0), detector=Detector(pixels="msra"), weights="0" * 64)
    with pytest.raises(ValueError, match="takes pixels 'rgb', not 'msra'"):
        engine.trunk_weights(tmp_path, spec, weights)


def test_a_folder_of_the_official_size_is_no_copy(coco: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    splits = tiny_coco(coco)
    assert copy_name(coco, splits) == "coco-tiny"
    monkeypatch.setattr("compmod.transfer.data.coco.OFFICIAL_IMAGES", {"train2017": 4, "val2017": 2})
    assert copy_name(coco, splits) == ""


def test_several_gpus_start_as_many_processes_of_the_same_command(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[list[str]] = []

    def become(program: str, arguments: list[str]) -> None:
        started.append(arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr("sys.argv", ["compmod", "transfer", str(run_dir), "--gpus", "4"])
    monkeypatch.setattr(command.os, "execv", become)
    with pytest.raises(SystemExit):
        main(["transfer", str(run_dir), "--gpus", "4"])
    assert started[0][1:] == [
        *("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=4"),
        *("-m", "compmod", "transfer", str(run_dir), "--gpus", "4"),
    ]


def test_a_process_of_several_starts_no_more(
    run_dir: Path, asked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("RANK", "1"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    main(["transfer", str(run_dir), "--gpus", "2"])
    assert len(asked) == 1


def test_a_path_without_anything_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no run or weights at" in refused(capsys, tmp_path / "nothing")


def test_a_measurement_is_refused_with_its_run(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluation = Record(run_dir.parent, Evaluation(run=RUN))
    evaluation.start()
    assert f"is a measurement; give the folder of the run, {run_dir}" in refused(capsys, evaluation.path)


def test_a_seed_beside_a_run_is_refused(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "a run has its own" in refused(capsys, run_dir, "--seed", "1")


def test_an_unknown_schedule_is_one_line_with_those_that_can_be_given(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, run_dir, "--schedule", "3x")
    assert "'3x' for argument '--schedule'. Expected one of ('1x', '2x', 'demo')" in said


@pytest.mark.parametrize("option", ["--gpus=0", "--batch-size=-1", "--workers=-2", "--checkpoint-minutes=0"])
def test_a_number_out_of_range_is_one_line(run_dir: Path, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    name = option.partition("=")[0].strip("-").replace("-", "_")
    assert f"error: {name} must be " in refused(capsys, run_dir, option)


def test_processes_without_a_gpu_each_or_an_equal_share_are_refused_before_any_starts(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr(command.os, "execv", lambda *given: pytest.fail("started"))
    assert "gpus must be at most 2" in refused(capsys, run_dir, "--gpus", "4", "--device", "cuda")
    said = refused(capsys, run_dir, "--gpus", "2", "--batch-size", "3", "--device", "cpu")
    assert "batch_size 3 cannot be shared equally by 2 processes" in said


def test_a_fault_of_the_folder_is_one_line(run_dir: Path, coco: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (coco / "annotations" / "instances_val2017.json").write_text("{")
    assert "broken JSON in" in refused(capsys, run_dir, "--coco", coco)


@pytest.mark.parametrize("several", [[], ["--gpus", "4"]], ids=["one process", "several"])
def test_a_fault_of_an_image_is_one_line_and_nothing_is_made(
    several: list[str], run_dir: Path, coco: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.execv", lambda *given: pytest.fail("processes were started"))
    path = coco / "val2017" / "000001.png"
    path.write_bytes(path.read_bytes()[:2000])
    before = sorted(run_dir.parent.rglob("*"))
    said = refused(capsys, run_dir, "--coco", coco, "--device", "cpu", *several)
    assert said.startswith(f"error: {path}: found an image that cannot be decoded (")
    assert said.endswith("lists it as image id 1\n")
    assert sorted(run_dir.parent.rglob("*")) == before


def test_a_long_schedule_on_scenes_is_one_line(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "valid for digit-scenes: demo" in refused(capsys, run_dir, "--schedule", "1x")
