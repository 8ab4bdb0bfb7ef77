"""The figures in each table's docstring and COSTS are those that the cost model predicts."""

from __future__ import annotations

import importlib
import re
from types import ModuleType

import pytest
from compmod.pretrain.recipes.scales import SCALES, Scale, scaled
from compmod.pretrain.specs.run import Run
from compmod.tables.build import TABLES, build_table, tables_at
from compmod.tables.plan.cost import predict
from compmod.tables.plan.measured_rates import Rates
from compmod.tables.plan.plan import Step, lacking

ROUNDING = 0.1  # of a figure that is stated
CORES = 2  # that a demo is said to take
FIGURE = re.compile(r"(\d[\d,.]*)(?= (?:GPU-hours|minutes|seconds|of them|with (?:its runs|them)))")
DOCUMENTED = re.compile(r"scale `(paper|laptop|demo)` (about .*?)(?=;|, scale|\. ?$|\.\s+Expected| \(a run)", re.DOTALL)


def _module(number: int) -> ModuleType:
    return importlib.import_module(f"compmod.tables.{TABLES[number]}")


def _amount(steps: list[Step], text: str) -> float:
    """In the unit of the text: GPU-hours, or minutes or seconds on the cores of a demo."""
    seconds = sum(step.cpu_hours for step in steps) * 3600 / CORES
    if "GPU-hours" in text:
        return sum(step.gpu_hours for step in steps)
    return seconds / 60 if "minutes" in text else seconds


def _expected(number: int, scale: Scale, text: str) -> list[float]:
    """What the figures of the text mean, in order: of its own, then of what it shares or needs."""
    first, own = build_table(1, scale), build_table(number, scale)
    whole = list(lacking([own], {}, Rates()).steps)
    shared = [step for step in lacking([first, own], {}, Rates()).steps if {1, number} <= set(step.tables)]
    if "after" in text or "are there" in text:
        measured = [step for step in whole if not isinstance(step.spec, Run)]
        return [_amount(measured, text), _amount(whole, text)]
    return [_amount(whole, text), _amount(shared, text)]


def _check(number: int, scale: Scale, text: str) -> None:
    stated = [float(figure.replace(",", "")) for figure in FIGURE.findall(text)]
    assert 1 <= len(stated) <= 2, text
    for figure, expected in zip(stated, _expected(number, scale, text), strict=False):
        assert figure == pytest.approx(expected, rel=ROUNDING), text


@pytest.mark.parametrize("number, scale", [(number, scale) for scale in SCALES for number in tables_at(scale)])
def test_the_stated_cost_of_a_table_is_the_predicted_one(number: int, scale: Scale) -> None:
    _check(number, scale, _module(number).COSTS[scale])


@pytest.mark.parametrize("number", TABLES)
def test_the_docstring_states_the_predicted_cost_too(number: int) -> None:
    text = " ".join((_module(number).__doc__ or "").split())
    found = DOCUMENTED.findall(text)
    assert [scale for scale, _ in found] == [name for name in SCALES if name != "short" and number in tables_at(name)]
    for scale, words in found:
        _check(number, scale, words)


@pytest.mark.parametrize("number", TABLES)
def test_the_short_scale_costs_a_tenth_as_the_docstring_says(number: int) -> None:
    assert "scale `short` a tenth" in " ".join((_module(number).__doc__ or "").split())
    hours = [lacking([build_table(number, scale)], {}, Rates()).gpu_hours for scale in ("paper", "short")]
    assert hours[1] == pytest.approx(hours[0] / 10, rel=ROUNDING)


@pytest.mark.parametrize(
    "number, dataset, hours",
    [
        (1, "cifar10", "4 h on either CIFAR"),
        (1, "cifar100", "4 h on either CIFAR"),
        (1, "tiny_imagenet", "8 h on Tiny ImageNet"),
        (1, "stl10", "17 h on STL-10"),
        (2, "imagenet", "760 h on ImageNet,"),
        (2, "imagenet100", "30 h on ImageNet-100"),
    ],
)
def test_the_docstring_states_the_predicted_hours_of_a_run_of_simclr(number: int, dataset: str, hours: str) -> None:
    assert hours in " ".join((_module(number).__doc__ or "").split())
    found = predict(scaled("simclr", dataset, "paper"), Rates())
    assert float(hours.split()[0]) == pytest.approx(found.hours, rel=ROUNDING)
