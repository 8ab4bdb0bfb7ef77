"""The benchmarks run: every contestant that needs no peer, on tiny shapes; a failure is named; the page stays whole."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

HERE = Path(__file__).parent
OWN = {"compmod", "torch", "torchvision", "scikit-learn"}  # distributions that the project needs anyway
PARTS = ("steps", "views", "hypergradient", "knn", "probe", "loader")


@pytest.fixture
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The scripts, which import one another by their bare names, as attributes of one object."""
    monkeypatch.syspath_prepend(str(HERE))
    before = dict(sys.modules)
    names = ("on_cpu", "on_gpu", "page", "rounds", *PARTS)
    modules: dict[str, ModuleType] = {name: __import__(name) for name in names}
    yield SimpleNamespace(**modules)
    for name in names:
        if name not in before:
            del sys.modules[name]


@pytest.mark.filterwarnings("ignore:lbfgs failed to converge")  # after as few steps as the smoke test has
@pytest.mark.filterwarnings("ignore:The image decoding and encoding")  # a contestant's, deprecated in torchvision 0.29
@pytest.mark.parametrize("part", PARTS)
def test_every_contestant_that_needs_no_peer_runs_and_fills_its_row(benchmarks: Any, part: str, tmp_path: Path) -> None:
    subject = benchmarks.on_cpu.load(part)
    sizes = {**subject.tiny, "scratch": str(tmp_path)}
    figures = {}
    for contestant in subject.contestants:
        if contestant.package in OWN:
            figures[contestant.name] = benchmarks.rounds.warm_up(contestant, subject.cases[0], sizes)
            for key, value in benchmarks.rounds.call(figures[contestant.name].pop("work")).items():
                figures[contestant.name][key] = [value]
    rows = benchmarks.on_cpu.table(subject, figures).splitlines()[2:]
    assert len(rows) == len(figures) > 0
    assert all(row.count("|") == len(subject.columns) + 2 for row in rows)


def test_what_is_measured_names_the_sizes_that_it_has(benchmarks: Any) -> None:
    for part in PARTS:
        subject = benchmarks.on_cpu.load(part)
        assert "{" not in subject.text.format(**subject.sizes)
        assert set(subject.tiny) == set(subject.sizes)


def test_the_exact_hypergradients_are_exact_in_float32_and_finite_differences_are_not(
    benchmarks: Any, tmp_path: Path
) -> None:
    subject = benchmarks.hypergradient.SUBJECT
    sizes = {**subject.tiny, "scratch": str(tmp_path)}
    works = {c.name: c.build("", sizes) for c in subject.contestants if c.package == "compmod"}
    errors = {name: work()["error"] for name, work in works.items() if name != "plain SimCLR"}
    assert errors["SimCLR+, exact (jvp)"] < 1e-3 > errors["SimCLR+, unrolled"]
    assert errors["SimCLR+, finite differences"] > 1e-3


def test_the_finite_differences_of_betty_see_the_problem_that_ours_sees(benchmarks: Any, tmp_path: Path) -> None:
    """The part of the comparison that is ours: `Problem` gives the losses and the hypergradient of the objective."""
    import torch

    hypergradient = benchmarks.hypergradient
    sizes = {**hypergradient.SUBJECT.tiny, "scratch": str(tmp_path)}
    problem = hypergradient.Problem(sizes)
    psi = list(problem.parameters())
    views = problem.batch.views

    def gradients() -> Any:
        slopes = torch.autograd.grad(problem.inner(*problem(views)), psi, create_graph=True)
        named = [name for name, _ in problem.named_parameters()]
        moved = {n: p - hypergradient.LR * s for n, p, s in zip(named, psi, slopes, strict=True)}
        return torch.autograd.grad(torch.func.functional_call(problem, moved, (views,))[1], problem.xi)

    assert hypergradient.judged(gradients, sizes)()["error"] < 1e-3


def test_contestants_take_turns_and_one_that_fails_is_named_with_the_reason(benchmarks: Any) -> None:
    def build(case: str, sizes: Any) -> Any:
        return lambda: {"answer": float(len(case))}

    def fails(case: str, sizes: Any) -> Any:
        raise ImportError("no module\nof that name")

    rounds = benchmarks.rounds
    subject = rounds.Subject(
        title="",
        text="",
        cases=["one", "three"],
        contestants=[rounds.Contestant("ours", "torch", build), rounds.Contestant("theirs", "absent", fails)],
        sizes={},
        tiny={},
        columns={"answer": lambda f, _: f"{f['answer'][0]:.0f}"},
    )
    first, second = rounds.measure(subject, subject.cases, {}, 2, 1)
    assert (first["ours"]["answer"], second["ours"]["answer"]) == ([3.0, 3.0], [5.0, 5.0])
    assert len(first["ours"]["seconds"]) == 2
    assert first["theirs"] == {"not_run": "ImportError: no module of that name"}
    text = benchmarks.on_cpu.table(subject, first)
    assert "theirs: not run (ImportError: no module of that name)" in text


def test_the_memory_of_a_call_counts_though_building_used_and_freed_as_much(benchmarks: Any) -> None:
    def pieces(mib: int) -> list[bytearray]:
        return [bytearray(2**16) for _ in range(16 * mib)]  # small, so that freed ones stay with the process

    def build(case: str, sizes: Any) -> Any:
        kept = [pieces(64) for _ in range(2)]
        last = bytearray(2**16)  # above them, so that their memory is not the heap's end
        kept.clear()
        return lambda: {"bytes": float(len(last) + len(pieces(64)))}

    figures = benchmarks.rounds.warm_up(benchmarks.rounds.Contestant("one", "compmod", build), "case", {})
    assert figures["memory_mib"] > 60


def test_an_unknown_part_or_case_is_named_in_one_line(benchmarks: Any) -> None:
    with pytest.raises(SystemExit, match="unknown part 'speed'; known: steps, views"):
        benchmarks.on_cpu.chosen(["speed"])
    with pytest.raises(SystemExit, match="steps has no case 'moco'; known: simclr, float32"):
        benchmarks.on_cpu.chosen(["steps/moco"])
    assert benchmarks.on_cpu.chosen(["steps/byol", "knn"]) == {
        "steps": ["byol, float32", "byol, bfloat16"],
        "knn": ["5-nn"],
    }


def test_only_what_stands_between_the_markers_changes(benchmarks: Any, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- x: start -->\nold\n<!-- x: end -->\nafter\n")
    benchmarks.page.replace_between(page, "x", "new\n")
    assert page.read_text() == "before\n<!-- x: start -->\nnew\n<!-- x: end -->\nafter\n"
    with pytest.raises(ValueError, match="expected the lines '<!-- y: start -->'"):
        benchmarks.page.replace_between(page, "y", "new")


def test_the_page_has_the_markers_and_shows_the_figures_that_are_stored(benchmarks: Any) -> None:
    page = benchmarks.page
    text = page.PAGE.read_text(encoding="utf-8")
    stored = page.read_figures(page.FIGURES)
    shown = {
        benchmarks.on_cpu.MARKER: benchmarks.on_cpu.tables(stored["cpu"]) if "cpu" in stored else None,
        benchmarks.on_gpu.MARKER: benchmarks.on_gpu.table(stored["gpu"]) if "gpu" in stored else None,
    }
    for marker, table in shown.items():
        part = text.split(f"<!-- {marker}: start -->")[1].split(f"<!-- {marker}: end -->")[0]
        assert table is None or part.strip() == table.strip()


@pytest.mark.parametrize("part", ["steps", "views", "phases", "probes", "large"])
def test_a_part_of_the_gpus_benchmark_runs_on_tiny_shapes(benchmarks: Any, part: str) -> None:
    gpu = benchmarks.on_gpu
    name, figures = next(gpu.PARTS[part]("cpu", gpu.TINY))
    assert figures
    cases = {name: {"machine": "a GPU", "torch": "2", "date": "2026", "figures": figures}}
    assert name in gpu.table({part: cases})


def test_a_part_that_fails_or_comes_too_late_does_not_end_the_others(benchmarks: Any) -> None:
    def cases() -> Any:
        yield "one", {"seconds": 1.0}
        raise RuntimeError("out of memory")

    found = list(benchmarks.on_gpu.measured(cases(), float("inf")))
    assert found == [("one", {"seconds": 1.0}), ("not run", {"reason": "RuntimeError: out of memory"})]
    assert list(benchmarks.on_gpu.measured(cases(), 0.0)) == []
