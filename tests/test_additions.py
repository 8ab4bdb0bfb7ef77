"""The promise to a stranger: a method is one file and one entry, a data set one entry, a table one file and one line.

The examples are those of CONTRIBUTING.md, taken from the page and used as they stand there.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import numpy as np
import pytest
import torch
from compmod import tables
from compmod.cli import main
from compmod.pretrain import methods
from compmod.pretrain.commands.methods import all_methods, one_method
from compmod.pretrain.data.inventory import describe
from compmod.pretrain.data.load import load, read
from compmod.pretrain.evaluate.probe import evaluate
from compmod.pretrain.methods.base import declared_options
from compmod.pretrain.methods.build import load_method
from compmod.pretrain.recipes.presets import preset, recipes
from compmod.pretrain.recipes.recipe import UNVERIFIED
from compmod.pretrain.recipes.scales import SCALES, scaled
from compmod.pretrain.records.fingerprint import fingerprint
from compmod.pretrain.records.record import Record
from compmod.pretrain.specs.datasets import DATASETS, Dataset
from compmod.pretrain.specs.measurement import Evaluation
from compmod.pretrain.specs.methods import METHODS, Entry
from compmod.pretrain.specs.run import Backbone, Run
from compmod.pretrain.trainer import train
from compmod.pretrain.training.session import Session
from compmod.tables.build import TABLES, build_table, tables_at
from compmod.tables.paper.table import Format
from compmod.tables.plan.cost import measured_rates
from compmod.tables.plan.default_rates import relative_cost
from compmod.tables.plan.plan import plan
from compmod.tables.render.render import render
from compmod.transfer.commands.export import export
from paths import ROOT, TESTS
from PIL import Image
from small_runs import SAMPLES, small
from tables_of_tiny_runs import tiny_table

PAGE = (ROOT / "CONTRIBUTING.md").read_text()
QUIET = Session(device="cpu", online_every=0, linear_epochs=1, quiet=True, checkpoint_epochs=1)
NNCLR, MINE, SHAPES, TABLE8 = "nnclr", "mine", "shapes", 8


def example(containing: str) -> str:
    """The one block of Python on the page that contains this."""
    (block,) = [block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if containing in block]
    return str(block)


def line(containing: str, **names: Any) -> dict[Any, Any]:
    """What an example line of a dict says, as a dict."""
    given: dict[Any, Any] = eval(f"{{{example(containing)}}}", names)
    return given


@pytest.fixture
def nnclr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """NNCLR, added as the page says, in a folder that stands in for `pretrain/methods/`."""
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / "nnclr.py").write_text(example("class NNCLR(Method)"))
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path / "methods")])
    for name, entry in line('"nnclr": Entry(', Entry=Entry).items():
        monkeypatch.setitem(METHODS, name, entry)
    yield NNCLR
    sys.modules.pop(METHODS[NNCLR].module, None)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """NNCLR in a package of the user's own."""
    (tmp_path / "mine").mkdir()
    text = example("class NNCLR(Method)").replace("from ..", "from compmod.pretrain.")
    (tmp_path / "mine" / "nearest.py").write_text(text.replace("from .base", "from compmod.pretrain.methods.base"))
    monkeypatch.syspath_prepend(tmp_path)
    (entry,) = line('"nnclr": Entry(', Entry=Entry).values()
    monkeypatch.setitem(METHODS, MINE, replace(entry, code="mine.nearest:NNCLR"))
    yield MINE
    for module in ("mine.nearest", "mine"):
        sys.modules.pop(module, None)


@pytest.fixture
def shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder with the images of the page's example, whose entry is added."""
    for name, entry in line('"shapes": Dataset(', Dataset=Dataset).items():
        monkeypatch.setitem(DATASETS, name, entry)
    draw(tmp_path / "data" / SHAPES, train=12, test=4)
    return tmp_path / "data"


@pytest.fixture
def table8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The page's table, added in a folder that stands in for `tables/`."""
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "table8.py").write_text(example("def table8("))
    monkeypatch.setattr(tables, "__path__", [*tables.__path__, str(tmp_path / "tables")])
    for number, name in line('8: "table8"').items():
        monkeypatch.setitem(TABLES, number, name)
    yield TABLE8
    sys.modules.pop(f"{tables.__name__}.table8", None)


def draw(folder: Path, **counts: int) -> None:
    """Images of two classes in folders train/ and test/ (or val/), so many a class."""
    generator = np.random.default_rng(0)
    for split, count in counts.items():
        for name in ("circle", "square"):
            (folder / split / name).mkdir(parents=True)
            for index in range(count):
                pixels = generator.integers(0, 256, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{index}.png")


def stop_after_the_first_epoch(record: Record) -> None:
    """Make the folder of a finished run of two epochs what it was when the first had ended."""
    newest = max((record.path / "checkpoints").glob("step-*.pt"))
    for file in (record.path / "encoder.safetensors", record.path / "results.json", newest):
        file.unlink()


class TestAMethod:
    def test_is_listed_with_its_paper_and_marked_as_without_a_recipe(
        self, nnclr: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        main(["methods", "--format", "md"])
        listed = capsys.readouterr().out
        assert listed.strip() == all_methods("md")
        (row,) = [row for row in listed.splitlines() if row.startswith(f"| {nnclr} ")]
        assert [cell.strip() for cell in row.strip("|").split("|")] == [
            nnclr,
            "NNCLR",
            f"Dwibedi et al., ICCV 2021; recipes: {UNVERIFIED}",
            "",
            "not measured",
            "not measured",
        ]

    def test_has_a_marked_default_on_every_data_set(self, nnclr: str) -> None:
        text = one_method(nnclr, "md")
        assert text.count(UNVERIFIED) == len(DATASETS) + 1
        for dataset in DATASETS:
            assert list(recipes(nnclr, dataset)) == ["", "laptop"][: 2 if dataset == "cifar10" else 1]
            assert preset(f"{nnclr}+", dataset).base_method == nnclr

    @pytest.mark.parametrize("family, optimizer", [("S", "adam"), ("L", "lars")])
    def test_takes_the_small_recipe_of_the_family_that_its_entry_names(
        self, nnclr: str, family: Any, optimizer: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(METHODS, nnclr, replace(METHODS[nnclr], recipe=family))
        assert preset(nnclr, "cifar10").optimizer.name == optimizer
        assert recipes(nnclr, "stl10")[""].remark == f"{UNVERIFIED}: recipe {family}"

    def test_of_one_view_takes_defaults_of_one_view(self, nnclr: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(METHODS, nnclr, replace(METHODS[nnclr], views=1, plus=False))
        assert {len(preset(nnclr, dataset).views) for dataset in DATASETS} == {1}

    def test_has_every_option_of_pretraining_on_the_command_line(
        self, nnclr: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as leave:
            main(["pretrain", nnclr, "--dataset", "imagenet", "--help"])
        assert leave.value.code == 0
        assert "resnet50" in capsys.readouterr().out

    def test_keeps_the_contract_of_all_methods(self, nnclr: str) -> None:
        assert contract(nnclr) >= contract_of_simclr()

    @pytest.mark.parametrize("plus", ["", "+"])
    def test_trains_resumes_with_the_same_bits_and_is_evaluated(self, nnclr: str, plus: str, tmp_path: Path) -> None:
        run = small(nnclr + plus, epochs=2, train_images=2 * SAMPLES)
        straight = train(run, tmp_path / "straight", tmp_path, QUIET)
        shutil.copytree(straight.path, tmp_path / "stopped" / run.folder)
        stop_after_the_first_epoch(Record(tmp_path / "stopped", run))
        resumed = train(run, tmp_path / "stopped", tmp_path, QUIET)
        encoders = [(record.path / "encoder.safetensors").read_bytes() for record in (straight, resumed)]
        assert encoders[0] == encoders[1]
        results = evaluate(tmp_path / "straight", Evaluation(run=run, linear_epochs=1), tmp_path, QUIET).results
        assert results is not None
        assert 0 <= results["linear/top1"] <= 1

    @pytest.mark.parametrize("plus", ["", "+"])
    def test_is_planned_at_simclrs_cost_until_its_own_is_measured(self, nnclr: str, plus: str, tmp_path: Path) -> None:
        for dataset in DATASETS:
            run = scaled(nnclr + plus, dataset, "paper")
            assert relative_cost(run) == relative_cost(replace(run, method=f"simclr{plus}")) > 0
            planned = plan([tiny_table([run])], tmp_path, measured_rates(tmp_path))
            assert planned.gpu_hours + planned.cpu_hours > 0

    def test_is_tabulated_with_its_mark_and_no_other_method_has_one(self, nnclr: str, tmp_path: Path) -> None:
        table = tiny_table([small(nnclr), small("simclr"), small(f"{nnclr}+")])
        assert f"Recipe {UNVERIFIED}: NNCLR on Digits." in render(table, tmp_path)

    def test_is_exported(self, nnclr: str, tmp_path: Path) -> None:
        trunk = Backbone(name="resnet18", stem="large")
        run = replace(small(nnclr, epochs=1, train_images=SAMPLES), backbone=trunk)
        record = train(run, tmp_path / "runs", tmp_path, QUIET)
        for target in ("torchvision", "timm"):
            names: dict[str, Any] = {}
            exec(export(record.path, target, tmp_path / f"{target}.pth"), names)
            assert names["model"].eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 512)

    def test_may_stand_in_a_package_of_the_users_own(self, elsewhere: str, tmp_path: Path) -> None:
        assert METHODS[elsewhere].module == load_method(elsewhere).__module__ == "mine.nearest"
        assert UNVERIFIED in one_method(elsewhere, "text")
        run = small(elsewhere, epochs=1, train_images=SAMPLES)
        assert train(run, tmp_path, tmp_path, QUIET).status == "done"
        assert {"NNCLR", "nnclr_loss", "nearest"} <= fingerprint(run).keys()

    def test_whose_class_is_not_there_is_named_with_its_module(
        self, nnclr: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(METHODS, nnclr, replace(METHODS[nnclr], code="nnclr.NNCRL"))
        with pytest.raises(ValueError, match=r"^METHODS\['nnclr'\].code is 'nnclr.NNCRL'; .*nnclr has no Method of"):
            load_method(nnclr)


def contract(name: str) -> int:
    """Call every contract test that SimCLR takes with another method instead; gives the number of tests."""
    module = contract_tests()
    calls: list[tuple[Any, tuple[str, ...]]] = []
    for test, names, values in module_parameters(module):
        if names == "name":
            calls += [(test, (given.replace("simclr", name),)) for given in values if given.strip("+") == "simclr"]
        elif ("simclr", "temperature") in values:
            calls += [(test, (name, option)) for option in declared_options(load_method(name))]
    for test, arguments in calls:
        test(*arguments)
    return len({test for test, _ in calls})


def contract_of_simclr() -> int:
    """The number of contract tests that SimCLR takes."""
    return len({test for test, _, values in module_parameters(contract_tests()) if "simclr" in str(values)})


def contract_tests() -> ModuleType:
    path = TESTS / "pretrain" / "methods" / "test_contract.py"
    spec = importlib.util.spec_from_file_location("contract_of_an_addition", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def module_parameters(module: ModuleType) -> Iterator[tuple[Any, str, Sequence[Any]]]:
    """Every parametrised test of a module with the names and values of its parameters."""
    for test in (value for key, value in vars(module).items() if key.startswith("test_")):
        for mark in getattr(test, "pytestmark", []):
            yield test, *mark.args


class TestADataSet:
    def test_is_read_with_labels_by_the_sorted_class_folders(self, shapes: Path) -> None:
        images = load(SHAPES, "train", shapes)
        assert images.labels.tolist() == [0] * 12 + [1] * 12
        assert images.pixels.shape == (24, 3, 16, 16)
        first = np.asarray(Image.open(shapes / SHAPES / "train" / "circle" / "0.png"))
        assert (images.pixels[0] == first.transpose(2, 0, 1)).all()
        assert len(load(SHAPES, "test", shapes)) == 8
        assert load(SHAPES, "pretrain", shapes).digest == images.digest

    def test_is_described(self, shapes: Path, capsys: pytest.CaptureFixture[str]) -> None:
        main(["data", SHAPES, "--data", str(shapes)])
        assert capsys.readouterr().out.count("ok ") == len(describe(SHAPES, shapes)) == 2

    def test_that_is_absent_is_named_with_its_layout(self, shapes: Path, capsys: pytest.CaptureFixture[str]) -> None:
        shutil.rmtree(shapes / SHAPES)
        with pytest.raises(ValueError, match=r"expected train/CLASS/\*\.png and test/CLASS/\*\.png in it"):
            load(SHAPES, "train", shapes)
        with pytest.raises(SystemExit) as leave:
            main(["data", SHAPES, "--data", str(shapes)])
        assert leave.value.code == 2
        assert "no archive of Shapes is known: get its images and lay them out as train/" in capsys.readouterr().err

    def test_with_an_image_too_few_is_refused(self, shapes: Path) -> None:
        (shapes / SHAPES / "train" / "circle" / "0.png").unlink()
        with pytest.raises(ValueError, match="found 23 train images; expected 24"):
            load(SHAPES, "train", shapes)

    @pytest.mark.parametrize("size, like", [(16, "CIFAR-10"), (32, "CIFAR-10"), (48, "Tiny ImageNet")])
    def test_takes_the_marked_recipes_of_one_with_images_of_its_size(
        self, size: int, like: str, shapes: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(DATASETS, SHAPES, replace(DATASETS[SHAPES], size=size, view_size=size))
        other = next(name for name, entry in DATASETS.items() if entry.label == like)
        for method in METHODS:
            assert recipes(method, SHAPES)[""].remark.startswith(f"{UNVERIFIED}: as on {like}, ")
            assert replace(preset(method, SHAPES), dataset=other) == preset(method, other)
        assert f"as on {like}" in one_method("simclr", "md")

    def test_is_trained_on_and_evaluated(self, shapes: Path, tmp_path: Path) -> None:
        run = replace(small("simclr", epochs=1), dataset=SHAPES)
        record = train(run, tmp_path / "runs", shapes, QUIET)
        assert record.status == "done"
        results = evaluate(tmp_path / "runs", Evaluation(run=run, linear_epochs=1), shapes, QUIET).results
        assert results is not None
        assert 0 <= results["knn/top1"] <= 1

    def test_is_planned_and_tabulated(self, shapes: Path, tmp_path: Path) -> None:
        table = tiny_table([scaled("simclr+", SHAPES, "short")])
        assert plan([table], tmp_path, measured_rates(tmp_path)).gpu_hours > 0
        assert f"Recipe {UNVERIFIED}: SimCLR on Shapes." in render(table, tmp_path)

    def test_of_large_images_needs_no_wordnet_numbers(
        self, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(DATASETS, SHAPES, replace(DATASETS[SHAPES], size=0, view_size=224, reader="imagenet"))
        (shapes / SHAPES / "test").rename(shapes / SHAPES / "val")
        assert read(SHAPES, "train", shapes).labels.tolist() == [0] * 12 + [1] * 12
        assert all(holding.ok for holding in describe(SHAPES, shapes))
        for method in METHODS:
            assert recipes(method, SHAPES)[""].remark.startswith(f"{UNVERIFIED}: as on ImageNet, ")
        assert plan([tiny_table([preset("byol", SHAPES)])], tmp_path, measured_rates(tmp_path)).gpu_hours > 0

    @pytest.mark.parametrize("changes", [{"size": 0}, {"reader": "imagenet"}, {"folder": ""}])
    def test_whose_fields_contradict_each_other_is_refused_at_once(self, changes: Any, shapes: Path) -> None:
        with pytest.raises(ValueError, match=r"^shapes: "):
            replace(DATASETS[SHAPES], **changes)


class TestATable:
    @pytest.mark.parametrize("form", get_args(Format))
    def test_is_rendered_in_every_format(self, form: Format, table8: int, tmp_path: Path) -> None:
        scales = [scale for scale in SCALES if table8 in tables_at(scale)]
        assert scales == ["paper", "short", "demo"]  # as its COSTS say
        for scale in scales:
            assert "SimCLR+" in render(build_table(table8, scale, seeds=2), tmp_path, form)

    def test_is_printed_by_the_command(self, table8: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        main(["table", str(table8), "--runs", str(tmp_path)])
        assert "Top-1 accuracy (%) of a linear classifier on CIFAR-100" in capsys.readouterr().out

    def test_is_planned_with_all_others(self, table8: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        main(["plan", "--runs", str(tmp_path), "--json"])
        steps = json.loads(capsys.readouterr().out)["steps"]
        assert {table8} < {number for step in steps for number in step["tables"]} == set(TABLES)
        main(["plan", str(table8), "--runs", str(tmp_path)])
        assert "Missing from table 8 at scale paper" in capsys.readouterr().out

    def test_takes_a_copy_of_its_data(self, table8: int) -> None:
        table = build_table(table8, copies={"cifar100": "cifar100-jpeg"})
        assert {spec.run.copy for spec in table.specs if not isinstance(spec, Run)} == {"cifar100-jpeg"}
