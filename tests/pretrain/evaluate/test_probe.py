"""Probes of a backbone, and the record of an evaluation: what is read, stored, refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from compmod.pretrain.data.images import Images
from compmod.pretrain.data.load import load
from compmod.pretrain.evaluate import probe as probes
from compmod.pretrain.evaluate import splits as labelled_splits
from compmod.pretrain.evaluate.linear import LinearResult
from compmod.pretrain.evaluate.probe import evaluate, probe
from compmod.pretrain.evaluate.splits import splits
from compmod.pretrain.networks.build import build_backbone
from compmod.pretrain.records.record import Record
from compmod.pretrain.specs.measurement import Evaluation
from compmod.pretrain.specs.run import Backbone, Run
from compmod.pretrain.training.session import Session
from safetensors.torch import save_file
from torch import Tensor

RUN = Run(method="simclr", dataset="digits", backbone=Backbone(width=2), batch_size=100, train_images=300)
SPEC = Evaluation(run=RUN, linear_epochs=2)
CPU = Session(device="cpu")
KEYS = {"linear/top1", "linear/top5", "linear/best_top1", "linear/best_epoch", "knn/top1"}


@pytest.fixture(autouse=True)
def _digits_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few test images, and what one test has loaded is not another's."""

    def few(dataset: str, split: Any, root: Path, *, copy: str = "") -> Images:
        found = load(dataset, split, root, copy=copy)
        return found.take(np.arange(200)) if split == "test" else found

    monkeypatch.setattr(labelled_splits, "read", few)
    labelled_splits._read.cache_clear()


def finish(runs: Path, run: Run = RUN) -> dict[str, Tensor]:
    """A finished pretraining, without the training."""
    torch.manual_seed(0)
    weights = build_backbone(run.backbone, 16).state_dict()
    record = Record(runs, run)
    record.start()
    save_file(weights, record.path / "encoder.safetensors", metadata={"digest": run.digest})
    record.finish({}, {})
    return weights


def test_a_probe_gives_every_accuracy_as_a_share() -> None:
    found = probe(build_backbone(RUN.backbone, 16), SPEC, Path(), "cpu")
    assert set(found) == KEYS
    assert found["linear/best_epoch"] in (1, 2)
    assert all(0 <= value <= 1 for key, value in found.items() if key != "linear/best_epoch")


def test_both_probes_read_one_pair_of_feature_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def counted(backbone: Any, images: Images, *others: Any, **options: Any) -> Tensor:
        sizes.append(len(images))
        return torch.zeros(len(images), 3)

    monkeypatch.setattr(probes, "extract", counted)
    probe(build_backbone(RUN.backbone, 16), SPEC, Path(), "cpu")
    assert sizes == [300, 200]


def test_the_probes_are_set_by_the_evaluation_and_seeded_by_its_run(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    real_linear, real_knn = probes.linear_probe, probes.knn_hits

    def linear(*arguments: Any, **options: Any) -> LinearResult:
        asked.update(options)
        return real_linear(*arguments, **options)

    def neighbours(*arguments: Any) -> int:
        asked["k"] = arguments[4]
        return real_knn(*arguments)

    monkeypatch.setattr(probes, "linear_probe", linear)
    monkeypatch.setattr(probes, "knn_hits", neighbours)
    spec = Evaluation(run=dataclasses.replace(RUN, seed=7), linear_epochs=3, neighbours=9)
    probe(build_backbone(RUN.backbone, 16), spec, Path(), "cpu")
    assert asked == {"epochs": 3, "seed": 7, "k": 9}


def test_a_validation_probe_never_reads_the_test_images(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(
        labelled_splits, "read", lambda dataset, split, root, copy: asked.append(split) or load(dataset, split, root)
    )
    train, held_out = splits(dataclasses.replace(SPEC, split="validation"), Path())
    assert asked == ["train"]
    assert len(train) + len(held_out) == 300


def test_a_validation_probe_holds_out_a_fifth_of_the_glyphs_whole() -> None:
    train, held_out = splits(dataclasses.replace(SPEC, split="validation"), Path())
    assert not set(train.groups) & set(held_out.groups)
    glyphs = len(set(train.groups)) + len(set(held_out.groups))
    assert len(set(held_out.groups)) == round(glyphs / 5)


def test_a_subset_larger_than_the_labelled_images_takes_them_all() -> None:
    all_of_them = len(load("digits", "train", Path()))
    run = dataclasses.replace(RUN, train_images=all_of_them + 1)
    assert len(splits(Evaluation(run=run), Path())[0]) == all_of_them


def test_images_are_read_once_for_many_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(
        labelled_splits, "read", lambda dataset, split, root, copy: asked.append(split) or load(dataset, split, root)
    )
    splits(SPEC, Path())
    splits(SPEC, Path())
    assert asked == ["train", "test"]


def test_an_evaluation_probes_the_stored_encoder(tmp_path: Path) -> None:
    weights = finish(tmp_path)
    backbone = build_backbone(RUN.backbone, 16)
    backbone.load_state_dict(weights)
    record = evaluate(tmp_path, SPEC, Path(), CPU)
    assert record.results == probe(backbone, SPEC, Path(), "cpu")
    assert record.path.parent == Record(tmp_path, RUN).path


def test_an_evaluation_says_where_its_numbers_come_from(tmp_path: Path) -> None:
    finish(tmp_path)
    origin = evaluate(tmp_path, SPEC, Path(), CPU).provenance
    train, test = splits(SPEC, Path())
    assert origin is not None
    assert (origin["digest"], origin["seed"]) == (SPEC.digest, RUN.seed)
    assert (origin["data_digest"], origin["train_digest"]) == (test.digest, train.digest)
    assert (origin["train_images"], origin["test_images"]) == (300, 200)


def test_raw_pixels_need_no_weights(tmp_path: Path) -> None:
    floor = dataclasses.replace(RUN, backbone=Backbone(name="pixels"), epochs=0)
    finish(tmp_path, floor)
    assert set(evaluate(tmp_path, Evaluation(run=floor, linear_epochs=1), Path(), CPU).results or {}) == KEYS


def test_a_finished_evaluation_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finish(tmp_path)
    first = evaluate(tmp_path, SPEC, Path(), CPU).results
    monkeypatch.setattr(probes, "probe", None)
    assert evaluate(tmp_path, SPEC, Path(), CPU).results == first


def test_an_unfinished_run_is_refused_with_the_command_that_finishes_it(tmp_path: Path) -> None:
    Record(tmp_path, RUN).start()
    with pytest.raises(ValueError, match=r"is unfinished, not done.*compmod pretrain simclr --dataset digits --seed 0"):
        evaluate(tmp_path, SPEC, Path(), CPU)
    assert Record(tmp_path, SPEC).status == "absent"


def test_a_truncated_encoder_is_refused_by_its_name(tmp_path: Path) -> None:
    finish(tmp_path)
    file = Record(tmp_path, RUN).path / "encoder.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"cannot read .*encoder\.safetensors"):
        evaluate(tmp_path, SPEC, Path(), CPU)


def test_another_network_s_encoder_is_refused_in_one_line(tmp_path: Path) -> None:
    finish(tmp_path)
    file = Record(tmp_path, RUN).path / "encoder.safetensors"
    save_file({"conv1.weight": torch.zeros(1)}, file, metadata={"digest": RUN.digest})
    with pytest.raises(ValueError, match="expected the weights of a resnet18") as caught:
        evaluate(tmp_path, SPEC, Path(), CPU)
    assert "\n" not in str(caught.value)


def test_a_failure_is_noted_and_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finish(tmp_path)

    def out_of_order(*arguments: Any) -> dict[str, float]:
        raise RuntimeError("out of order")

    monkeypatch.setattr(probes, "probe", out_of_order)
    with pytest.raises(RuntimeError, match="out of order"):
        evaluate(tmp_path, SPEC, Path(), CPU)
    assert Record(tmp_path, SPEC).status == "failed"


def test_two_processes_do_not_evaluate_the_same_run(tmp_path: Path) -> None:
    finish(tmp_path)
    with Record(tmp_path, SPEC).lock(), pytest.raises(ValueError, match="in use by another process"):
        evaluate(tmp_path, SPEC, Path(), CPU)
