"""Bench on a GPU: images a second, phases of a step, peak memory, views and probes; writes docs/performance.{md,json}.

    python3 tests/benchmarks/on_gpu.py [PART ...] [--minutes 9] [--device cpu --tiny] [--dry-run]

Steps are those of the trainer itself, views included, on made images: the loop of a real run. Figures are written after
every part, and a part that would start after the last minute says so. The rates also go to `tables/plan`, where they
take the place of the estimates. Uses `python3` as it is.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import page
import torch
from compmod.pretrain.data.images import Images
from compmod.pretrain.evaluate.knn import nearest
from compmod.pretrain.evaluate.linear import linear_probe
from compmod.pretrain.optim import build_optimizer
from compmod.pretrain.recipes.presets import preset
from compmod.pretrain.records.record import Record
from compmod.pretrain.runtime.settings import numerics
from compmod.pretrain.specs.datasets import DATASETS
from compmod.pretrain.specs.run import PLUS, Run
from compmod.pretrain.trainer import Trainer
from compmod.pretrain.training.interruption import Stop
from compmod.pretrain.training.session import Session
from compmod.pretrain.views.augment import Views, make_views, make_views_of_crops
from compmod.pretrain.views.batch import Batch

MARKER = "benchmarks on a GPU"
RATES = Path(__file__).parents[2] / "tables" / "plan" / "gpu_rates.json"
METHODS = ("simclr", "byol", "barlow_twins")
PRECISIONS = ("float32", "tf32", "bfloat16")
WARM = 4  # steps before the clock starts


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    batch: int = 512  # CIFAR-10
    steps: int = 20
    large_batch: int = 256  # ImageNet
    large_steps: int = 8
    train: int = 50_000  # rows of the probes
    test: int = 10_000
    epochs: int = 100
    width: int = 64  # of the trunk

    @property
    def real(self) -> bool:
        """Whether the figures are those of the published recipes."""
        return self == Sizes()


TINY = Sizes(batch=8, steps=1, large_batch=2, large_steps=1, train=64, test=16, epochs=1, width=4)


class TimedTrainer(Trainer):
    """The trainer, with a clock from its step WARM to its last; it probes nothing."""

    began = ended = 0.0

    def _train_step(self, batch: Batch) -> None:
        if self.step == WARM:
            wait(self.device)
            self.began = time.perf_counter()
        super()._train_step(batch)
        if self.step == self.total:
            wait(self.device)
            self.ended = time.perf_counter()

    def _probe(self, epoch: int) -> None:
        pass


def wait(device: torch.device | str) -> None:
    """Until the device has done all that it was given."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()


def trained(run: Run, device: str, sizes: Sizes, layout: str = "channels-last") -> dict[str, float]:
    """Images a second and peak memory of a run's steps by the trainer, on made images."""
    run = replace(run, epochs=1, backbone=replace(run.backbone, width=sizes.width), batch_size=sizes.batch)
    count = sizes.batch * (WARM + sizes.steps)
    side = DATASETS[run.dataset].view_size
    chance = np.random.default_rng(0)
    pixels = chance.integers(0, 256, (count, 3, side, side), dtype=np.uint8)
    images = Images(pixels, chance.integers(0, 10, count), np.arange(count))
    session = Session(device=device, memory_format=layout, quiet=True, checkpoint_minutes=1e3)  # type: ignore[arg-type]
    forget_peak(device)
    with tempfile.TemporaryDirectory() as folder:
        record = Record(Path(folder), run)
        record.path.mkdir(parents=True)
        trainer = TimedTrainer(record, run, images, Path(folder), session, Stop())
        trainer.fit()
    rate = sizes.batch * sizes.steps / (trainer.ended - trainer.began)
    return {"images_per_second": rate, "peak_gib": peak_gib(device)}


def forget_peak(device: str) -> None:
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_gib(device: str) -> float:
    return torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else float("nan")


def seconds(work: Callable[[], object], device: str, calls: int) -> float:
    """Of one call, after two that warm up."""
    for _ in range(2):
        work()
    wait(device)
    start = time.perf_counter()
    for _ in range(calls):
        work()
    wait(device)
    return (time.perf_counter() - start) / calls


def steps(device: str, sizes: Sizes) -> Iterator[tuple[str, dict[str, float]]]:
    """Images a second: methods, plain and "+", in three precisions; SimCLR also with the other layout."""
    for precision in reversed(PRECISIONS):
        for method in METHODS:
            for name in (method, method + PLUS):
                run = replace(preset(name, "cifar10"), precision=precision)
                yield f"{name}, {precision}, NHWC", trained(run, device, sizes)
        run = replace(preset("simclr", "cifar10"), precision=precision)
        yield f"simclr, {precision}, NCHW", trained(run, device, sizes, "contiguous")


def phases(device: str, sizes: Sizes) -> Iterator[tuple[str, dict[str, float]]]:
    """Seconds of the parts of a step of SimCLR and SimCLR+, each timed alone."""
    for precision in ("bfloat16", "float32"):
        with numerics(precision):
            parts = _phases(device, sizes, precision)
        yield f"SimCLR, {precision}", {name: 1e3 * value for name, value in parts.items()}


def _phases(device: str, sizes: Sizes, precision: Any) -> dict[str, float]:
    run = replace(preset("simclr", "cifar10"), precision=precision, batch_size=sizes.batch)
    run = replace(run, backbone=replace(run.backbone, width=sizes.width))
    pixels = torch.randint(0, 256, (sizes.batch, 3, 32, 32), dtype=torch.uint8, device=device)
    index = torch.arange(sizes.batch)
    makers = [Views(view, DATASETS[run.dataset], 0, number) for number, view in enumerate(run.views)]
    objective, batch, optimizer = one_step(run, device)
    plus = one_step(replace(run, method="simclr+"), device)[0]

    def forward() -> None:
        with objective.autocast():
            embedded = objective.method.embed(batch.views)
            objective.method.loss(embedded, objective.method.targets(batch))

    made = seconds(lambda: make_views(makers, pixels, index, 0), device, sizes.steps)
    ahead = seconds(forward, device, sizes.steps)
    whole = seconds(lambda: objective.backward(batch, lr=1e-3), device, sizes.steps)
    updated = seconds(optimizer.step, device, sizes.steps)
    both = seconds(lambda: plus.backward(batch, lr=1e-3), device, sizes.steps)
    return {
        "views": made,
        "forward": ahead,
        "backward": whole - ahead,
        "optimiser": updated,
        'more of "+"': both - whole,
    }


def one_step(run: Run, device: str, side: int = 32) -> tuple[Any, Batch, torch.optim.Optimizer]:
    """Objective, batch and optimiser of a run, as the trainer has them."""
    with tempfile.TemporaryDirectory() as folder:
        index = np.arange(run.batch_size)
        made = Images(np.zeros((run.batch_size, 3, side, side), np.uint8), index, index)
        session = Session(device=device, quiet=True)
        trainer = Trainer(Record(Path(folder), run), run, made, Path(folder), session, Stop())
    shape = (run.batch_size, 3, side, side)
    views = [torch.randn(shape, device=device).contiguous(memory_format=trainer.layout) for _ in run.views]
    labels = torch.zeros(run.batch_size, dtype=torch.long, device=device)
    batch = Batch(views=tuple(views), index=torch.from_numpy(index), labels=labels, epoch=20.0, draw=0.5)
    trainer.objective.train()
    return trainer.objective, batch, build_optimizer(trainer.objective.psi, run.optimizer, run.peak_lr)


def large(device: str, sizes: Sizes) -> Iterator[tuple[str, dict[str, float]]]:
    """ImageNet SimCLR with ResNet-50 on made crops, which are augmented on the device."""
    for precision in ("bfloat16", "tf32"):
        forget_peak(device)
        with numerics(precision):
            rate = _large(device, sizes, precision)
        yield f"simclr, ResNet-50, {precision}", {"images_per_second": rate, "peak_gib": peak_gib(device)}


def _large(device: str, sizes: Sizes, precision: Any) -> float:
    side = 224 if sizes.real else 32
    run = replace(preset("simclr", "imagenet"), precision=precision, batch_size=sizes.large_batch)
    run = replace(run, backbone=replace(run.backbone, width=sizes.width))
    objective, batch, optimizer = one_step(run, device, side)
    crops = torch.randint(0, 256, (run.batch_size, 3, side, side), dtype=torch.uint8, device=device)
    last = batch.views[0].is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if last else torch.contiguous_format
    views = [replace(view, size=side) for view in run.views]
    makers = [Views(view, DATASETS["imagenet"], 0, number) for number, view in enumerate(views)]

    def step() -> None:
        made = make_views_of_crops(makers, [crops] * len(makers), batch.index, 0)
        ready = tuple(view.contiguous(memory_format=layout) for view in made)
        objective.backward(replace(batch, views=ready), lr=1e-3)
        optimizer.step()
        objective.after_step(0.5)

    return run.batch_size / seconds(step, device, sizes.large_steps)


def views(device: str, sizes: Sizes) -> Iterator[tuple[str, dict[str, float]]]:
    """Views a second of the CIFAR-10 recipe."""
    pixels = torch.randint(0, 256, (sizes.batch, 3, 32, 32), dtype=torch.uint8, device=device)
    make, index = Views(preset("simclr", "cifar10").views[0], DATASETS["cifar10"], 0, 0), torch.arange(sizes.batch)
    taken = seconds(lambda: make(pixels, index, 0), device, sizes.steps)
    yield "recipe S, 32 px", {"views_per_second": sizes.batch / taken}


def probes(device: str, sizes: Sizes) -> Iterator[tuple[str, dict[str, float]]]:
    """Seconds of 5 nearest neighbours and of the linear probe."""
    train, test = (torch.randn(count, 512, device=device).abs() for count in (sizes.train, sizes.test))
    labels, test_labels = (torch.randint(10, (count,), device=device) for count in (sizes.train, sizes.test))
    yield f"5-nn, {sizes.train:,} x {sizes.test:,}", {"seconds": seconds(lambda: nearest(train, test, 5), device, 2)}
    epochs = sizes.epochs
    work = lambda: linear_probe(train, labels, test, test_labels, 10, epochs=epochs)  # noqa: E731
    yield f"linear probe, {epochs} epochs", {"seconds": seconds(work, device, 1)}


PARTS: dict[str, Callable[[str, Sizes], Iterator[tuple[str, dict[str, float]]]]] = {
    "steps": steps,
    "views": views,
    "phases": phases,
    "probes": probes,
    "large": large,
}
TITLES = {"steps": f"Steps, CIFAR-10, ResNet-18, batch {Sizes.batch}", "views": "Views", "probes": "Probes"}
TITLES |= {"phases": f"Parts of a step in ms, CIFAR-10, ResNet-18, batch {Sizes.batch}"}
TITLES |= {"large": f"Steps, ImageNet, 224 px, batch {Sizes.large_batch}"}


def main() -> None:
    """Measure, write after every figure, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", default=list(PARTS))
    parser.add_argument("--minutes", type=float, default=9.0, help="no figure is begun after so many")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--tiny", action="store_true", help="small shapes, to see that all of it runs")
    parser.add_argument("--dry-run", action="store_true", help="print the tables and write nothing")
    asked = parser.parse_args()
    if unknown := [part for part in asked.parts if part not in PARTS]:
        sys.exit(f"error: unknown part {unknown[0]!r}; known: {', '.join(PARTS)}")
    if asked.device == "cuda" and not torch.cuda.is_available():
        sys.exit("error: this machine has no usable CUDA device; --device cpu --tiny shows that the benchmark runs")
    sizes = TINY if asked.tiny else Sizes()
    write = asked.device == "cuda" and sizes.real and not asked.dry_run
    deadline = time.monotonic() + 60 * asked.minutes
    for part in asked.parts:
        for name, figures in measured(PARTS[part](asked.device, sizes), deadline):
            stored = page.read_figures(page.FIGURES) if write else {}
            gpu = {"machine": machine(asked.device), "date": page.today(), "torch": torch.__version__}
            stored.setdefault("gpu", {}).setdefault(part, {})[name] = {**gpu, "figures": figures}
            print(part, name, *(f"{key} {shown(value)}" for key, value in figures.items()), sep=", ", flush=True)
            if write:
                page.write_figures(page.FIGURES, stored)
                page.replace_between(page.PAGE, MARKER, table(stored["gpu"]))
                if part in ("steps", "large"):
                    write_rates(RATES, machine(asked.device), stored["gpu"])


def measured(cases: Iterator[tuple[str, dict[str, float]]], deadline: float) -> Iterator[tuple[str, dict[str, Any]]]:
    """The figures of a part; the reason where one fails or the time is up, and then no more of that part."""
    while True:
        if time.monotonic() > deadline:
            print("the time is up: the rest of this part is not run", flush=True)
            return
        try:
            yield next(cases)
        except StopIteration:
            return
        except (RuntimeError, ValueError) as error:  # such as out of memory; the other parts may still run
            yield "not run", {"reason": f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"}
            return


def machine(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else page.machine()


def table(gpu: Mapping[str, Any]) -> str:
    """All figures as markdown."""
    text = []
    for part in (part for part in PARTS if part in gpu):
        cases = gpu[part]
        titles = list(dict.fromkeys(key for case in cases.values() for key in case["figures"]))
        rows = [[name, *(shown(case["figures"].get(key)) for key in titles)] for name, case in cases.items()]
        where = dict.fromkeys(f"{case['machine']}, torch {case['torch']}, {case['date']}" for case in cases.values())
        text.append(f"### {TITLES[part]}\n\nMeasured on {'; '.join(where)}.\n")
        text.append(page.markdown(["", *(title.replace("_", " ") for title in titles)], rows) + "\n")
    return "\n".join(text)


def shown(value: float | str | None) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def write_rates(path: Path, gpu: str, parts: Mapping[str, Any]) -> None:
    """What `compmod plan` predicts from: images a second by data set, method and precision, as recipes run them."""
    rates: dict[str, dict[str, dict[str, float]]] = {}
    for part, dataset in (("steps", "cifar10"), ("large", "imagenet")):
        for name, case in parts.get(part, {}).items():
            if "images_per_second" in case["figures"] and case["machine"] == gpu and "NCHW" not in name:
                method, *_, precision = [word for word in name.split(", ") if word != "NHWC"]
                rates.setdefault(dataset, {}).setdefault(method, {})[precision] = case["figures"]["images_per_second"]
    path.write_text(json.dumps({"gpu": gpu, "images_per_second": rates}, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
