"""The encoder of a finished run: whoever reads it notices that it was damaged or is another run's."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from compmod.cli import main
from compmod.pretrain.evaluate.finetune import FineTuner, fine_tune
from compmod.pretrain.evaluate.probe import evaluate
from compmod.pretrain.networks.encoder import ENCODER, read_encoder
from compmod.pretrain.records.record import Record
from compmod.pretrain.specs.measurement import Evaluation
from compmod.pretrain.trainer import train
from compmod.pretrain.training.session import Session
from compmod.transfer.commands.export import export
from compmod.transfer.fine_tune import trunk_weights
from compmod.transfer.spec import Detection
from safetensors.torch import load_file, save_file
from tiny_fine_tunings import LINEAR, QUIET, RUN, finish

SHORT = replace(RUN, epochs=1, train_images=40)
OTHER = replace(SHORT, seed=1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs SHORT and OTHER, really trained."""
    runs = tmp_path_factory.mktemp("trained")
    for run in (SHORT, OTHER):
        train(run, runs, Path(), Session(device="cpu", quiet=True, linear_epochs=1))
    return runs


@pytest.fixture
def runs(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "runs"))


def file_of(runs: Path, run: Any = SHORT) -> Path:
    return runs / run.folder / ENCODER


def flip_a_bit(runs: Path) -> None:
    content = bytearray(file_of(runs).read_bytes())
    content[-1] ^= 1
    file_of(runs).write_bytes(content)


def take_another_runs(runs: Path) -> None:
    shutil.copy(file_of(runs, OTHER), file_of(runs))


def take_another_runs_weights(runs: Path) -> None:
    save_file(load_file(file_of(runs, OTHER)), file_of(runs), metadata={"digest": SHORT.digest})


READERS: dict[str, Callable[[Path], object]] = {
    "evaluate": lambda runs: evaluate(runs, Evaluation(run=SHORT, linear_epochs=1), Path(), QUIET),
    "fine-tune": lambda runs: fine_tune(runs, replace(LINEAR, run=SHORT, epochs=1), Path(), QUIET),
    "export": lambda runs: export(runs / SHORT.folder, "detectron2", runs / "out.pth"),
    "transfer": lambda runs: trunk_weights(runs, Detection(run=SHORT), None),
}


@pytest.mark.parametrize("damage", [flip_a_bit, take_another_runs, take_another_runs_weights], ids=lambda f: f.__name__)
@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_every_reader_refuses_a_file_that_the_run_did_not_write(
    read: Callable[[Path], object], damage: Callable[[Path], None], runs: Path
) -> None:
    read(runs)
    shutil.rmtree(runs / SHORT.folder / f"evaluation-{Evaluation(run=SHORT, linear_epochs=1).digest}", True)
    shutil.rmtree(runs / replace(LINEAR, run=SHORT, epochs=1).folder, ignore_errors=True)
    damage(runs)
    with pytest.raises(
        ValueError, match=r"encoder\.safetensors is not what this run wrote.*put the file back, or delete"
    ):
        read(runs)


def test_the_commands_end_with_status_2_and_one_line(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flip_a_bit(runs)
    folder = str(runs / SHORT.folder)
    for words in (
        ["evaluate", folder, "--device", "cpu"],
        ["export", folder, "--to", "detectron2", "-o", f"{folder}.pth"],
    ):
        with pytest.raises(SystemExit) as leave:
            main(words)
        said = capsys.readouterr()
        assert (leave.value.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert not Path(f"{folder}.pth").exists()


def test_the_checksum_stands_in_the_provenance_of_the_run_and_of_what_is_measured_on_it(runs: Path) -> None:
    found = evaluate(runs, Evaluation(run=SHORT, linear_epochs=1), Path(), QUIET).provenance or {}
    assert found["encoder_sha256"] == (Record(runs, SHORT).provenance or {})["encoder_sha256"] != ""


@pytest.mark.parametrize("metadata, words", [({"digest": OTHER.digest}, OTHER.digest), (None, "the digest none")])
def test_an_older_record_is_known_by_the_digest_in_the_file(
    metadata: dict[str, str] | None, words: str, tmp_path: Path
) -> None:
    record = finish(tmp_path)
    weights = read_encoder(record)
    save_file(weights, record.path / ENCODER, metadata=metadata)
    with pytest.raises(ValueError, match=f"another run's: it holds .*{words}, this run's is {RUN.digest}"):
        read_encoder(record)


def test_a_checksum_that_is_no_text_is_a_damaged_record(runs: Path) -> None:
    file = runs / SHORT.folder / "provenance.json"
    file.write_text(json.dumps({"encoder_sha256": 3}))
    with pytest.raises(ValueError, match=r"damaged record .*provenance\.json: encoder_sha256 is 3, not a text"):
        read_encoder(Record(runs, SHORT))


def test_a_stopped_fine_tuning_does_not_go_on_over_another_encoder(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, save = replace(LINEAR, run=SHORT, epochs=2), FineTuner._save

    def stopping(self: FineTuner) -> None:
        save(self)
        raise RuntimeError("stopped")

    with monkeypatch.context() as patched:
        patched.setattr(FineTuner, "_save", stopping)
        with pytest.raises(RuntimeError, match="stopped"):
            fine_tune(runs, spec, Path(), QUIET)
    provenance = runs / SHORT.folder / "provenance.json"
    take_another_runs_weights(runs)  # as the same run again, on another machine, would leave it
    kept = json.loads(provenance.read_text()) | {"encoder_sha256": sha256(file_of(runs).read_bytes()).hexdigest()}
    provenance.write_text(json.dumps(kept))
    with pytest.raises(ValueError, match=r"fine-tuning-\w+ was begun on another encoder"):
        fine_tune(runs, spec, Path(), QUIET)
