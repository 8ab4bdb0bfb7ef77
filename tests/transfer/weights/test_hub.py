"""The folder for the Hugging Face hub: it loads, its card is one, and an upload asks for what it must."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from compmod.cli import main
from compmod.pretrain.networks.encoder import finished_backbone
from compmod.pretrain.records.record import Record
from compmod.pretrain.specs.measurement import Evaluation
from compmod.pretrain.weights.load import load_encoder
from compmod.transfer.weights.hub import push
from huggingface_hub import HfApi, ModelCard
from tiny_fine_tunings import RUN, finish


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A finished run of two seeds, both evaluated, and one of another setting."""
    runs = tmp_path / "runs"
    for seed, accuracy in ((0, 0.5), (1, 0.7)):
        run = dataclasses.replace(RUN, seed=seed)
        finish(runs, run)
        record = Record(runs, Evaluation(run=run))
        record.start()
        record.finish({"linear/top1": accuracy, "knn/top1": 0.4, "linear/best_epoch": 3}, {})
    other = dataclasses.replace(RUN, epochs=1)
    finish(runs, other)
    record = Record(runs, Evaluation(run=other))
    record.start()
    record.finish({"linear/top1": 0.1}, {})
    return runs / RUN.folder


def export(run_dir: Path, folder: Path, *more: str) -> None:
    main(["export", str(run_dir), "--to", "hub", "-o", str(folder), *more])


def test_the_lines_of_the_card_load_the_encoder_without_a_pickle(run_dir: Path, tmp_path: Path) -> None:
    export(run_dir, tmp_path / "hub")
    assert sorted(path.name for path in (tmp_path / "hub").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    encoder = load_encoder(tmp_path / "hub")
    images = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    card = (tmp_path / "hub" / "README.md").read_text()
    lines = card.partition("```python\n")[2].partition("```")[0].replace("'DIR'", repr(str(tmp_path / "hub")))
    names: dict[str, Any] = {"image": images[0].permute(1, 2, 0).numpy()}
    exec(lines, names)
    expected = finished_backbone(run_dir.parent, RUN).eval()
    with torch.no_grad():
        assert torch.equal(names["features"], expected(names["encoder"].preprocess(images[:1])))
    assert not encoder.training


def test_the_card_is_one_that_the_hub_reads_with_results_over_seeds(run_dir: Path, tmp_path: Path) -> None:
    export(run_dir, tmp_path / "hub")
    card = ModelCard.load(tmp_path / "hub" / "README.md")
    assert card.data.library_name == "compmod"
    assert [(result.metric_name, result.metric_value) for result in card.data.eval_results] == [
        ("linear top-1", 60.0),
        ("5-nn top-1", 40.0),
    ]
    assert "| probes | Digits, 90 images, test | linear top-1 | 60.00 ± 14.14 (n=2 seeds) |" in card.text
    assert f"- spec digest: {RUN.digest}" in card.text
    assert '"train_images": 90' in card.text


def test_the_card_tells_two_probes_of_one_run_apart(run_dir: Path, tmp_path: Path) -> None:
    record = Record(run_dir.parent, Evaluation(run=RUN, linear_epochs=20))
    record.start()
    record.finish({"linear/top1": 0.4}, {})
    export(run_dir, tmp_path / "hub")
    named = {line.split(" | ")[0] for line in ModelCard.load(tmp_path / "hub" / "README.md").text.splitlines()}
    assert {"| probes", "| probes, 20 epochs"} <= named


class Api:
    """Notes what it is asked for; the arguments are those of the real one."""

    def __init__(self, error: Exception | None = None) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.error = error

    def create_repo(self, repo_id: str, *, exist_ok: bool) -> None:
        if self.error:
            raise self.error
        self.asked.append((repo_id, {"exist_ok": exist_ok}))

    def upload_folder(self, **given: Any) -> None:
        import inspect

        assert set(given) <= set(inspect.signature(HfApi.upload_folder).parameters)
        self.asked.append((given["repo_id"], given))


def test_a_push_uploads_the_three_files(tmp_path: Path) -> None:
    api = Api()
    assert push(tmp_path, "me/encoder", api) == "https://huggingface.co/me/encoder"
    (_, created), (name, uploaded) = api.asked
    assert created == {"exist_ok": True}
    assert name == "me/encoder"
    assert sorted(uploaded["allow_patterns"]) == ["README.md", "config.json", "model.safetensors"]


def test_a_push_that_the_hub_refuses_says_that_the_folder_is_there(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"me/encoder is not uploaded, .* is there \(OSError: no\s*login\)"):
        push(tmp_path, "me/encoder", Api(OSError("no\nlogin")))


def test_a_push_without_the_package_says_what_to_install(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(SystemExit):
        export(run_dir, tmp_path / "hub", "--push", "me/encoder")
    assert capsys.readouterr().err == "error: --push needs huggingface_hub; install it: pip install 'compmod[hub]'\n"
    assert (tmp_path / "hub" / "config.json").is_file()


@pytest.mark.parametrize("damage", ["other files", "config", "weights", "push"])
def test_a_folder_that_is_none_is_named(
    damage: str, run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "hub"
    if damage == "other files":
        folder.mkdir()
        (folder / "mine.txt").touch()
        with pytest.raises(SystemExit):
            export(run_dir, folder)
        assert "holds other files" in capsys.readouterr().err
    elif damage == "push":
        with pytest.raises(SystemExit):
            main(["export", str(run_dir), "--to", "timm", "-o", str(tmp_path / "a.pth"), "--push", "me/a"])
        assert "push is of --to hub, not of timm" in capsys.readouterr().err
    else:
        export(run_dir, folder)
        file = folder / {"config": "config.json", "weights": "model.safetensors"}[damage]
        file.write_bytes(b"{}" if damage == "config" else b"none")
        with pytest.raises(ValueError, match=file.name):
            load_encoder(folder)
