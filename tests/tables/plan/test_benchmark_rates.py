"""Rates of the GPU's benchmark: they replace the default ones, finished runs go before them, damage is one line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from compmod.pretrain.recipes.presets import preset
from compmod.pretrain.specs.run import Run
from compmod.tables.plan import benchmark_rates as module
from compmod.tables.plan.benchmark_rates import benchmark_rates
from compmod.tables.plan.cost import images_per_second, measured_rates

GPU = "NVIDIA H200"
RATES = {"cifar10": {"simclr": {"bfloat16": 20_000.0, "tf32": 12_000.0}, "simclr+": {"bfloat16": 7_000.0}}}


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "gpu_rates.json"
    path.write_text(json.dumps({"gpu": GPU, "images_per_second": RATES}))
    monkeypatch.setattr(module, "SHIPPED", path)
    return path


def _run(method: str, precision: str = "bfloat16") -> Run:
    return replace(preset(method, "cifar10"), precision=precision)  # type: ignore[arg-type]


def test_without_a_file_nothing_was_measured(tmp_path: Path) -> None:
    assert benchmark_rates(tmp_path / "none.json") == module.BenchmarkRates()


def test_a_plan_takes_the_rates_of_the_benchmark_and_names_its_gpu(file: Path, tmp_path: Path) -> None:
    rates = measured_rates(tmp_path / "runs")
    assert rates.gpu == GPU
    assert images_per_second(_run("simclr"), rates) == (20_000.0, "measured")
    assert images_per_second(_run("simclr", "tf32"), rates) == (12_000.0, "measured")
    assert images_per_second(_run("simclr+"), rates) == (7_000.0, "measured")
    assert images_per_second(_run("byol"), rates)[1] == "scaled"
    assert images_per_second(_run("simclr", "float32"), rates)[1] == "default"


def test_the_benchmarks_gpu_may_be_asked_for_and_another_one_not(file: Path, tmp_path: Path) -> None:
    assert measured_rates(tmp_path / "runs", GPU).gpu == GPU
    with pytest.raises(ValueError, match=f"no finished run on 'a GPU'; measured: {GPU}"):
        measured_rates(tmp_path / "runs", "a GPU")


@pytest.mark.parametrize(
    "stored, message",
    [
        ({"gpu": 3, "images_per_second": {}}, "'gpu' is 3, not text"),
        ({"gpu": GPU}, "expected an object by name in 'images_per_second'"),
        ({"gpu": GPU, "images_per_second": {"cifar10": {"simclr": 5}}}, "expected an object by name in 'simclr'"),
        ({"gpu": GPU, "images_per_second": {"cifar10": {"simclr": {"tf32": -1}}}}, "'tf32' is -1, not a number"),
        ({"gpu": GPU, "images_per_second": {"cifar10": {"simclr": {"fp8": 1}}}}, "fp8"),
        ({"gpu": GPU, "images_per_second": {"cifar": {"simclr": {"tf32": 1}}}}, "unknown data set 'cifar'"),
    ],
)
def test_a_damaged_file_is_one_line_that_begins_with_it(file: Path, stored: object, message: str) -> None:
    file.write_text(json.dumps(stored))
    with pytest.raises(ValueError, match=message) as raised:
        benchmark_rates()
    assert str(raised.value).startswith(str(file))
    assert "\n" not in str(raised.value)
