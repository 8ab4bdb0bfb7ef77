"""A number knows its data: other images under an old name are one error, whatever is asked of what was made before."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compmod.cli import main
from compmod.pretrain.data.identity import Present, pretraining_digests
from compmod.pretrain.data.imagenet import load_files
from compmod.pretrain.data.images import Images
from compmod.pretrain.records.record import Record
from compmod.pretrain.specs.measurement import Evaluation, FineTuning
from compmod.pretrain.specs.run import Backbone, Projector, Run
from compmod.pretrain.trainer import Trainer, train
from compmod.pretrain.training import checkpoint
from compmod.pretrain.training.session import Session
from compmod.tables.reproduce import reproduce
from PIL import Image

RUN = Run(
    method="simclr",
    dataset="cifar10",
    copy="mine",
    epochs=1,
    batch_size=10,
    backbone=Backbone(name="resnet10", width=2),
    projector=Projector(layers=2, hidden=8, out=4),
)
SPEC = Evaluation(run=RUN, linear_epochs=1)
TUNING = FineTuning(run=RUN, epochs=1, batch_size=20)
QUIET = Session(device="cpu", quiet=True, linear_epochs=1)
CLASSES = ("airplane", "automobile")


def copy(root: Path, shade: int = 0, each: int = 10, part: str = "train", name: str = "mine") -> Path:
    """A copy of CIFAR-10 of two classes; the images of `part` are of another shade, and their number is another."""
    shutil.rmtree(root / name, ignore_errors=True)
    for split in ("train", "test"):
        for label, kind in enumerate(CLASSES):
            folder = root / name / split / kind
            folder.mkdir(parents=True)
            for number in range(each if split == part else 10):
                grey = 90 * label + number + (shade if split == part else 0)
                Image.new("RGB", (32, 32), (grey,) * 3).save(folder / f"{number}.png")
    return root


def options(tmp_path: Path, data: Path) -> list[str]:
    return ["--data", str(data), "--device", "cpu", "--runs", str(tmp_path / "runs")]


def pretrain(tmp_path: Path, data: Path) -> Record:
    return train(RUN, tmp_path / "runs", data, QUIET)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of a command that ends with status 2."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as leave:
        main(list(arguments))
    said = capsys.readouterr()
    assert leave.value.code == 2
    assert said.out == ""
    assert said.err.count("\n") == 1
    return said.err


def is_of_other_data(line: str, *digests: str) -> None:
    for words in ("is of other data", "put the old images back", "--copy OTHER", "another --runs folder", "or delete"):
        assert words in line
    for digest in digests:
        assert digest[:12] in line


def pretrain_words(tmp_path: Path, data: Path) -> list[str]:
    words = "--copy mine --epochs 1 --batch-size 10 --backbone.name resnet10 --backbone.width 2 --projector.layers 2"
    words += " --projector.hidden 8 --projector.out 4 --linear-epochs 1"
    return ["pretrain", "simclr", "--dataset", "cifar10", *words.split(), *options(tmp_path, data)]


def test_the_commands_refuse_other_data_under_the_same_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, other = copy(tmp_path / "a"), copy(tmp_path / "b", shade=50)
    main(pretrain_words(tmp_path, first))
    (folder,) = (tmp_path / "runs").iterdir()
    evaluate = ["evaluate", str(folder), "--linear-epochs", "1", "--device", "cpu", "--data"]
    main([*evaluate, str(first)])
    digests = [Present(root).digest("cifar10", "mine", "train") for root in (first, other)]
    is_of_other_data(refused(capsys, *pretrain_words(tmp_path, other)), *digests)
    is_of_other_data(refused(capsys, *evaluate, str(other)), *digests)
    is_of_other_data(refused(capsys, *evaluate, str(other), "--linear-epochs", "2"), *digests)
    is_of_other_data(refused(capsys, *evaluate, str(other), "--protocol", "linear", "--epochs", "1"), *digests)
    main(pretrain_words(tmp_path, first))
    main([*evaluate, str(first)])


def test_a_finished_result_is_read_where_the_data_are_absent(tmp_path: Path) -> None:
    root = copy(tmp_path / "a")
    pretrain(tmp_path, root)
    found = reproduce(SPEC, tmp_path / "runs", root, "cpu", quiet=True).results
    assert reproduce(SPEC, tmp_path / "runs", tmp_path / "nowhere", "cpu").results == found
    assert pretrain(tmp_path, tmp_path / "nowhere").status == "done"


@pytest.mark.parametrize("change", [{"each": 20}, {"shade": 50}], ids=["more", "others"])
def test_a_stopped_pretraining_does_not_go_on_with_other_images(
    change: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Trainer._train_step

    def stopping(self: Trainer, given: Any) -> None:
        original(self, given)
        self.stop.signal_name = "SIGTERM"

    root = copy(tmp_path / "a")
    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "_train_step", stopping)
        with pytest.raises(SystemExit):
            pretrain(tmp_path, root)
    copy(root, **change)
    with pytest.raises(ValueError, match=r"is of other data: the \w+ images of CIFAR-10 \(copy: mine\) had the digest"):
        pretrain(tmp_path, root)
    copy(root)
    assert pretrain(tmp_path, root).status == "done"


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("spec", [SPEC, TUNING], ids=["probe", "fine-tuning"])
def test_every_measurement_of_a_run_is_made_on_the_same_images(
    spec: Evaluation | FineTuning, part: str, tmp_path: Path
) -> None:
    root = copy(tmp_path / "a")
    pretrain(tmp_path, root)
    copy(root, shade=50, part=part)
    with pytest.raises(ValueError, match=rf"is of other data: the {part} images of CIFAR-10 \(copy: mine\)"):
        reproduce(spec, tmp_path / "runs", root, "cpu", quiet=True)
    assert Record(tmp_path / "runs", spec).status == "absent"


@pytest.mark.parametrize("spec", [SPEC, TUNING, RUN], ids=["probe", "fine-tuning", "run"])
def test_a_finished_result_of_other_images_is_refused(spec: Any, tmp_path: Path) -> None:
    root = copy(tmp_path / "a")
    pretrain(tmp_path, root)
    reproduce(spec, tmp_path / "runs", root, "cpu", quiet=True)
    copy(root, shade=50, part="test")
    with pytest.raises(ValueError, match="is of other data: the test images"):
        reproduce(spec, tmp_path / "runs", root, "cpu", quiet=True)


def test_a_stopped_fine_tuning_does_not_go_on_with_other_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from compmod.pretrain.evaluate.classifier import Classifier
    from compmod.pretrain.evaluate.finetune import FineTuner

    root = copy(tmp_path / "a")
    record = pretrain(tmp_path, root)
    (record.path / "provenance.json").write_text("{}")  # as an older record, so that the checkpoint alone can tell
    save = FineTuner._save

    def stopping(self: FineTuner) -> None:
        save(self)
        raise RuntimeError("stopped")

    with monkeypatch.context() as patched:
        patched.setattr(FineTuner, "_save", stopping)
        with pytest.raises(RuntimeError, match="stopped"):
            reproduce(TUNING, tmp_path / "runs", root, "cpu", quiet=True)
    copy(root, shade=50)
    monkeypatch.setattr(Classifier, "update", None)
    with pytest.raises(ValueError, match="is of other data: the train images"):
        reproduce(TUNING, tmp_path / "runs", root, "cpu", quiet=True)


def test_an_older_record_without_digests_is_not_contradicted(tmp_path: Path) -> None:
    root = copy(tmp_path / "a")
    record = pretrain(tmp_path, root)
    (record.path / "provenance.json").write_text("{}")
    copy(root, shade=50)
    assert pretrain(tmp_path, root).status == "done"


def test_an_older_record_with_the_digest_of_its_images_is_compared(tmp_path: Path) -> None:
    root = copy(tmp_path / "a")
    record = pretrain(tmp_path, root)
    kept = json.loads((record.path / "provenance.json").read_text())
    (record.path / "provenance.json").write_text(json.dumps({"data_digest": kept["data_digest"]}))
    assert pretrain(tmp_path, root).status == "done"
    copy(root, shade=50)
    with pytest.raises(ValueError, match="is of other data"):
        pretrain(tmp_path, root)


def test_the_digest_of_the_labelled_images_is_that_of_the_training_split() -> None:
    pixels = np.arange(4 * 3 * 2 * 2, dtype=np.uint8).reshape(4, 3, 2, 2)
    labels = np.array([1, 0, -1, -1])
    images = Images(pixels, labels, np.arange(4))
    found = pretraining_digests(images)
    assert found == {"pretrain": images.digest, "train": images.take(np.array([0, 1])).digest}
    assert found["pretrain"] != found["train"]


def test_images_that_stay_on_disk_are_known_by_their_content(tmp_path: Path) -> None:
    for part in ("train", "val"):
        folder = tmp_path / "copy" / part / "n01440764"
        folder.mkdir(parents=True)
        (folder / "0.JPEG").write_bytes(b"one")
    before = load_files("imagenet", "train", tmp_path, copy="copy").digest
    (tmp_path / "copy" / "train" / "n01440764" / "0.JPEG").write_bytes(b"two")
    assert load_files("imagenet", "train", tmp_path, copy="copy").digest != before


def test_a_process_that_read_the_old_images_reads_the_new_ones(tmp_path: Path) -> None:
    root = copy(tmp_path / "a")
    pretrain(tmp_path, root)
    copy(root, shade=50)
    run = replace(RUN, batch_size=5)  # it has its own record, and the same images to probe on
    assert train(run, tmp_path / "runs", root, QUIET).status == "done"


def test_a_subset_and_a_validation_split_know_the_whole_that_they_are_drawn_from(tmp_path: Path) -> None:
    run = replace(RUN, train_images=15)
    spec = Evaluation(run=run, linear_epochs=1, split="validation")
    root = copy(tmp_path / "a")
    record = reproduce(spec, tmp_path / "runs", root, "cpu", quiet=True)
    assert (record.provenance or {})["splits"] == {"train": Present(root).digest("cifar10", "mine", "train")}
    trained = Record(tmp_path / "runs", run).provenance or {}
    assert trained["splits"]["train"] == trained["splits"]["pretrain"] != trained["data_digest"]


Damage = Callable[[dict[str, Any]], None]
DAMAGES: dict[str, Damage] = {
    "another run's": lambda state: state.update(digest="0" * 16),
    "without a digest": lambda state: state.pop("digest"),
    "without a step": lambda state: state.pop("step"),
    "step of text": lambda state: state.update(step="three"),
    "step past the end": lambda state: state.update(step=10**6),
    "other weights": lambda state: state.update(objective={}, learner={}, model={}),
    "no optimizers": lambda state: state.update(optimizers=[], optimizer={}),
    "sums of text": lambda state: state.update(sums="much", loss="much"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_sound_checkpoint_that_does_not_fit_is_one_error_with_the_file(
    damage: Damage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, original = copy(tmp_path / "a"), Trainer._train_step

    def stopping(self: Trainer, given: Any) -> None:
        original(self, given)
        self.stop.signal_name = "SIGTERM"

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "_train_step", stopping)
        with pytest.raises(SystemExit):
            pretrain(tmp_path, root)
    folder = Record(tmp_path / "runs", RUN).path / "checkpoints"
    state = checkpoint.load_newest(folder) or {}
    damage(state)
    checkpoint.save(folder, 1, state)
    with pytest.raises(ValueError, match=r"checkpoint .*step-000000001\.pt .*; move it away to go on"):
        pretrain(tmp_path, root)
