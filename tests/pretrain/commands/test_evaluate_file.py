"""`compmod evaluate FILE`: encoders that others trained, measured by every protocol and known by their content."""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from compmod.cli import main
from compmod.pretrain.data.load import load
from compmod.pretrain.evaluate.features import network_input
from compmod.pretrain.networks.resnet import ResNet
from compmod.pretrain.records.record import Record
from compmod.pretrain.specs.datasets import DATASETS
from compmod.pretrain.specs.imported import Imported
from compmod.pretrain.specs.measurement import Evaluation
from compmod.pretrain.specs.run import Backbone
from compmod.pretrain.trainer import train
from compmod.pretrain.weights.load import load_encoder
from compmod.tables.reproduce import reproduce
from lightly.models.modules import SimCLRProjectionHead
from lightly.models.resnet import ResNetGenerator
from sklearn.neighbors import KNeighborsClassifier
from tiny_fine_tunings import QUIET

OPTIONS = ["--dataset", "digits", "--stem", "small", "--device", "cpu", "--workers", "0"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of Lightning, as Lightly's examples write it, with settings in it."""
    torch.manual_seed(0)
    resnet = ResNetGenerator("resnet-9", width=0.0625)
    resnet.linear = torch.nn.Identity()
    state = {f"backbone.{name}": tensor for name, tensor in resnet.state_dict().items()}
    state |= {f"projection_head.{name}": part for name, part in SimCLRProjectionHead(32, 8, 4).state_dict().items()}
    file = tmp_path_factory.mktemp("theirs") / "last.ckpt"
    torch.save({"state_dict": state, "hyper_parameters": argparse.Namespace(lr=0.1)}, file)
    return file


def evaluate(file: Path, runs: Path, *more: str) -> None:
    main(["evaluate", str(file), *OPTIONS, "--runs", str(runs), *more])


@pytest.fixture(scope="module")
def runs(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs folder in which that checkpoint was measured by the data set's own statistics."""
    folder = tmp_path_factory.mktemp("runs")
    evaluate(trained, folder, "--linear-epochs", "1", "--normalise", "dataset")
    return folder


def only(folder: Path, pattern: str) -> Record:
    (found,) = folder.glob(pattern)
    return Record.open(found)


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as leave:
        main(words)
    said = capsys.readouterr().err
    assert leave.value.code == 2
    assert said.count("\n") == 1
    return said


def test_five_nn_is_what_scikit_learn_finds_on_the_features_that_lightly_gives(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate(trained, tmp_path, "--linear-epochs", "1")
    said = capsys.readouterr().out
    record = only(tmp_path, "imported-digits-*/evaluation-*")
    assert record.results is not None
    assert record.results["mean"] == [0.485, 0.456, 0.406]
    assert "mean               0.485, 0.456, 0.406\n" in said
    assert "dropped            state_dict.projection_head (head, 12)\n" in said

    theirs = ResNetGenerator("resnet-9", width=0.0625).eval()
    theirs.linear = torch.nn.Identity()
    stored = load_encoder(trained, stem="small").state_dict()
    theirs.load_state_dict({name.replace("downsample", "shortcut"): part for name, part in stored.items()})
    theirs.layer4.register_forward_hook(lambda _, __, out: out.mean(dim=(2, 3), keepdim=True).expand(-1, -1, 4, 4))

    def features(images: Any) -> Any:
        imagenet = DATASETS["imagenet"]
        scaled = torch.from_numpy(images.pixels).float() / 255
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (imagenet.mean, imagenet.std))
        with torch.no_grad():
            return theirs((scaled - mean) / std).double().numpy()

    images = {split: load("digits", split, tmp_path) for split in ("train", "test")}  # type: ignore[arg-type]
    sklearn = KNeighborsClassifier(5).fit(features(images["train"]), images["train"].labels)
    expected = sklearn.score(features(images["test"]), images["test"].labels)
    assert expected > 0.15  # ten classes, and weights that are random
    assert record.results["knn/top1"] == expected


def test_the_content_of_a_file_is_its_identity(trained: Path, tmp_path: Path) -> None:
    runs, moved, other = tmp_path / "runs", tmp_path / "moved.ckpt", tmp_path / "other.ckpt"
    shutil.copy(trained, moved)
    evaluate(trained, runs, "--linear-epochs", "1")
    files = {path: path.stat().st_mtime_ns for path in runs.rglob("*.json")}
    evaluate(moved, runs, "--linear-epochs", "1")
    assert {path: path.stat().st_mtime_ns for path in runs.rglob("*.json")} == files
    stored = torch.load(trained, weights_only=False)
    stored["state_dict"]["backbone.conv1.weight"] += 1
    torch.save(stored, other)
    evaluate(other, runs, "--linear-epochs", "1")
    evaluate(trained, runs, "--linear-epochs", "1", "--normalise", "dataset")
    assert len(list(runs.glob("imported-digits-*/evaluation-*/results.json"))) == 3
    names = {record.spec: (record.provenance or {})["file"] for record in map(Record.open, runs.glob("imported-*"))}
    (spec,) = (spec for spec, name in names.items() if name == "other.ckpt")
    assert isinstance(spec, Imported)
    assert spec.weights == hashlib.sha256(other.read_bytes()).hexdigest()


@pytest.mark.parametrize("protocol", ["linear", "semi-1", "semi-10"])
def test_every_protocol_measures_it(protocol: str, trained: Path, tmp_path: Path) -> None:
    evaluate(
        trained,
        tmp_path,
        "--protocol",
        protocol,
        "--epochs",
        "1",
        "--mean",
        "0.5",
        "0.4",
        "0.3",
        "--std",
        "0.2",
        "0.2",
        "0.2",
    )
    record = only(tmp_path, "imported-digits-*/fine-tuning-*")
    assert record.results is not None
    assert (record.results["mean"], record.results["std"]) == ([0.5, 0.4, 0.3], [0.2, 0.2, 0.2])
    assert record.results["top1"] > 0


def test_what_was_imported_is_a_run_that_is_evaluated_by_its_folder_and_trained_by_nothing(
    runs: Path, tmp_path: Path
) -> None:
    run = only(runs, "imported-*").spec
    main(["evaluate", str(runs / run.folder), "--linear-epochs", "2", "--device", "cpu"])
    assert Record(runs, Evaluation(run=run, linear_epochs=2)).status == "done"  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="of weights that others trained, and is not to be trained again"):
        train(run, tmp_path / "new", tmp_path, QUIET)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="give the file of SHA-256"):
        reproduce(run, tmp_path / "new", tmp_path, "cpu")
    assert not (tmp_path / "new" / run.folder / "results.json").exists()


def test_a_run_and_a_file_preprocess_as_the_probes_do(trained: Path, runs: Path, tmp_path: Path) -> None:
    encoder = load_encoder(runs / only(runs, "imported-*").spec.folder)
    pixels = torch.from_numpy(load("digits", "test", tmp_path).pixels[:4])
    expected = network_input(pixels, DATASETS["digits"])
    preprocess: Any = encoder.preprocess
    assert torch.equal(preprocess(pixels), expected)
    picture = pixels[0].permute(1, 2, 0).numpy()
    assert torch.equal(preprocess(picture), expected[0])
    stl = DATASETS["stl10"]
    images = torch.randint(0, 256, (2, 3, 96, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(type(preprocess).of(stl)(images), network_input(images, stl))
    assert not encoder.training
    with torch.no_grad():
        assert torch.equal(encoder(expected), load_encoder(trained, stem="small")(expected))
    with pytest.raises(ValueError, match="expected uint8 of three channels"):
        preprocess(expected)


@pytest.mark.parametrize(
    "options, words",
    [
        ([], "a file of weights needs --dataset NAME; known: digits"),
        (["--dataset", "mnist"], "unknown data set 'mnist'; known: digits"),
        (["--dataset", "digits"], "name the stem: small"),
        (["--dataset", "digits", "--stem", "large"], "stem 'large' is not that of weights with a first kernel of 3"),
        (["--dataset", "digits", "--mean", "0", "0", "0"], "mean and std go together"),
        (
            ["--dataset", "digits", "--stem", "small", "--mean", "0", "0", "0", "--std", "0", "1", "1"],
            "Imported.std must be above 0",
        ),
        (["--dataset", "digits", "--seed", "-1"], "seed must be from 0"),
    ],
)
def test_a_mistake_is_one_line(
    options: list[str], words: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert words in refused(["evaluate", str(trained), "--runs", str(tmp_path / "runs"), *options], capsys)
    assert not (tmp_path / "runs").exists()


def test_options_of_a_file_are_refused_with_a_run(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = runs / only(runs, "imported-*").spec.folder
    assert "only for a file of weights: stem; a run has its own" in refused(
        ["evaluate", str(folder), "--stem", "small"], capsys
    )


@pytest.mark.parametrize("damage", ["truncated", "hostile", "leftover", "absent"])
def test_a_file_that_is_none_is_one_line(
    damage: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "odd.ckpt"
    if damage == "truncated":
        file.write_bytes(trained.read_bytes()[:-200])
    elif damage != "absent":
        stored = torch.load(trained, weights_only=False)
        stored["state_dict"]["backbone.extra" if damage == "leftover" else "x"] = torch.ones(1)
        if damage == "hostile":
            stored = {"state_dict": argparse.Namespace(run="rm")}
        torch.save(stored, file)
    said = refused(["evaluate", str(file), *OPTIONS, "--runs", str(tmp_path / "runs")], capsys)
    expected = {
        "truncated": "is no file of plain tensors, or a damaged one",
        "hostile": "no tensors but objects of argparse.Namespace, and one that needs code to be read is refused",
        "leftover": "have besides extra of a resnet10",
        "absent": "no run or weights at",
    }
    assert expected[damage] in said
    assert str(file) in said


def test_a_spec_of_weights_is_checked_and_survives_its_text() -> None:
    spec = Imported(dataset="cifar10", weights="a" * 64, backbone=Backbone(stem="small-padded"), std=(0.25, 0.25, 0.25))
    assert Imported.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    assert spec.folder.startswith("imported-cifar10-")
    for changes in ({"weights": "a"}, {"epochs": 1}, {"method": "simclr"}, {"std": (0.0, 1.0, 1.0)}):
        with pytest.raises(ValueError, match="Imported"):
            Imported(**({"dataset": "cifar10", "weights": "a" * 64} | changes))  # type: ignore[arg-type]


def test_a_bottleneck_of_its_own_width_is_torchvisions() -> None:
    import torchvision

    with torch.device("meta"):
        theirs = torchvision.models.wide_resnet50_2().state_dict()
        ours = ResNet(Backbone(name="resnet50", stem="large", inner=2), 64).state_dict()
    assert {name: part.shape for name, part in theirs.items() if not name.startswith("fc.")} == {
        name: part.shape for name, part in ours.items()
    }
