"""`compmod pretrain --spec FILE`: the run of a file, as any run leaves it, in JSON or TOML."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from compmod.cli import main
from compmod.pretrain.commands.pretrain import parse
from compmod.pretrain.recipes.presets import preset
from compmod.pretrain.records.record import Record
from small_runs import small

RUN = preset("byol+", "cifar10")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(RUN.to_dict()))
    return path


def run_of(*words: str) -> object:
    return parse(words).args[0].run  # type: ignore[attr-defined]


def test_a_file_gives_its_run_and_options_change_it(file: Path) -> None:
    assert run_of("--spec", str(file)) == RUN
    changed = run_of("--spec", str(file), "--seed", "3", "--optimizer.lr", "0.5")
    assert changed == replace(RUN, seed=3, optimizer=replace(RUN.optimizer, lr=0.5))


def test_toml_says_what_differs_from_the_defaults_of_a_run(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[Run]\nmethod = "simclr"\ndataset = "cifar10"\nepochs = 7\n[Run.backbone.Backbone]\nwidth = 16\n')
    found = run_of("--spec", str(path))
    assert (found.method, found.epochs, found.backbone.width) == ("simclr", 7, 16)  # type: ignore[attr-defined]


def test_the_file_that_a_run_leaves_trains_the_same_run(tmp_path: Path) -> None:
    run = replace(small("simclr"), dataset="digits", epochs=1, train_images=32)
    first, again = tmp_path / "first", tmp_path / "again"
    spec = tmp_path / "given.json"
    spec.write_text(json.dumps(run.to_dict()))
    words = ["--online-every", "0", "--linear-epochs", "1", "--device", "cpu"]
    main(["pretrain", "--spec", str(spec), "--runs", str(first), *words])
    left = Record(first, run).path / "spec.json"
    main(["pretrain", "--spec", str(left), "--runs", str(again), *words])
    assert Record(again, run).status == "done"
    encoders = [(Record(folder, run).path / "encoder.safetensors").read_bytes() for folder in (first, again)]
    assert encoders[0] == encoders[1]


@pytest.mark.parametrize(
    "content, said",
    [
        ("{", "spec.json: Expecting"),
        ("{}", "spec.json"),
        ('{"Evaluation": {}}', "spec.json"),
        ('{"Run": {"method": "simclr", "dataset": "cifar10", "colour": 1}}', "colour"),
        ('{"Run": {"method": "nope", "dataset": "cifar10"}}', "unknown method"),
    ],
)
def test_a_file_that_holds_no_run_is_refused_in_one_line(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "spec.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=said) as refused:
        parse(["--spec", str(path)])
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "words", [("simclr",), ("--dataset", "cifar10"), ("--scale", "short"), ("--preset=brief",), ("--size", "32")]
)
def test_what_a_recipe_says_is_not_said_beside_a_file(file: Path, words: tuple[str, ...]) -> None:
    order = (*words, "--spec", str(file))
    with pytest.raises(ValueError, match="says all that a recipe says; leave out"):
        parse(order)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.json: no such file; expected a spec\.json"):
        parse(["--spec", str(tmp_path / "none.json")])
