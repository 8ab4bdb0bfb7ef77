"""Is an independent implementation as good? Four methods by lightly at scale `laptop`, beside ours.

lightly gives transforms, projection and prediction heads, losses, the moving average and its schedule; the loop is that
of its examples. Network, sizes, optimiser, schedule, batch and seeds are those of our recipe, and our probes measure
both. Ours are the finished records below a runs folder; theirs are trained here, one after another, and every finished
one is a row of a CSV file, so that a study that was stopped goes on from it.

Two one-sided t-tests (Schuirmann, 1987), with Welch's standard error because seeds of two packages are no pairs, reject
"the means differ by MARGIN points or more" at 5 % each where the 90 % interval of their difference lies inside it.

    python tests/benchmarks/equivalence.py results/equivalence.csv --runs results/laptop --data data [--minutes 60]
    python tests/benchmarks/equivalence.py results/equivalence.csv --runs results/laptop --summary
"""

from __future__ import annotations

import argparse
import copy
import csv
import importlib.metadata
import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from compmod.pretrain.data.images import Images
from compmod.pretrain.data.load import read
from compmod.pretrain.evaluate.probe import probe
from compmod.pretrain.networks.build import build_backbone
from compmod.pretrain.optim import build_optimizer, learning_rate, set_rate
from compmod.pretrain.recipes.scales import scaled
from compmod.pretrain.records.record import Record
from compmod.pretrain.specs.measurement import Evaluation
from compmod.pretrain.specs.run import Augmentation, Run
from compmod.tables.claims.comparison import welch
from compmod.tables.paper.scales import probes
from precision import append, processor
from torch import Tensor, nn

PLANNED = ("simclr", "byol", "barlow_twins")
METRICS = {"linear": "linear/top1", "5-nn": "knn/top1"}
SEEDS = 5
MARGIN, LEVEL = 1.0, 0.90  # points of per cent; of the interval that two one-sided tests at 5 % each amount to
COLUMNS = ("method", "seed", "linear", "5-nn", "seconds", "lightly", "torch", "device")

Step = Callable[[Sequence[Tensor], float], Tensor]  # from two views and the share of training done to the loss


def evaluation(method: str, seed: int, dataset_copy: str) -> Evaluation:
    """Our measurement of one run."""
    run = replace(scaled(method, "cifar10", "laptop"), copy=dataset_copy, seed=seed)
    return probes(run, "laptop")


def transform(view: Augmentation, run: Run) -> Callable[[Any], Tensor]:
    """lightly's transform with the strengths of one of our views."""
    from lightly.transforms.simclr_transform import SimCLRViewTransform

    made: Callable[[Any], Tensor] = SimCLRViewTransform(
        input_size=view.size,
        cj_prob=view.jitter,
        cj_strength=1.0,
        cj_bright=view.brightness,
        cj_contrast=view.contrast,
        cj_sat=view.saturation,
        cj_hue=view.hue,
        min_scale=view.crop_min,
        random_gray_scale=view.grey,
        gaussian_blur=view.blur,
        hf_prob=view.flip,
        normalize={"mean": list(run.data.mean), "std": list(run.data.std)},
    )
    return made


def batches(run: Run, images: Images) -> Iterator[tuple[int, list[Tensor]]]:
    """The step and two views of every batch, images shuffled anew in each epoch, the ragged last batch left out."""
    from PIL import Image

    pair = [transform(view, run) for view in run.views]
    steps = len(images) // run.batch_size
    for epoch in range(run.epochs):
        order = torch.randperm(len(images))[: steps * run.batch_size].view(steps, -1)
        for position, chosen in enumerate(order):
            pictures = [Image.fromarray(np.moveaxis(images.pixels[index], 0, -1)) for index in chosen.tolist()]
            yield epoch * steps + position, [torch.stack([view(picture) for picture in pictures]) for view in pair]


def head(widths: Sequence[int], *, last_norm: bool) -> nn.Module:
    """lightly's projection head with our layers: batch norm and ReLU between them, a last batch norm where asked."""
    from lightly.models.modules.heads import ProjectionHead

    *hidden, (before, out) = itertools.pairwise(widths)
    blocks: list[Any] = [(first, second, nn.BatchNorm1d(second), nn.ReLU(), True) for first, second in hidden]
    return ProjectionHead([*blocks, (before, out, nn.BatchNorm1d(out) if last_norm else None, None, True)])


def of_two_views(trunk: nn.Module, projection: nn.Module, criterion: nn.Module) -> tuple[nn.ModuleList, Step]:
    """A method whose loss compares the embeddings of two views."""

    def step(views: Sequence[Tensor], progress: float) -> Tensor:
        loss: Tensor = criterion(*(projection(trunk(view)) for view in views))
        return loss

    return nn.ModuleList([trunk, projection]), step


def simclr(trunk: nn.Module, widths: Sequence[int], run: Run) -> tuple[nn.ModuleList, Step]:
    """lightly's SimCLR; our recipe has a batch norm after the head."""
    from lightly.loss import NTXentLoss

    return of_two_views(trunk, head(widths, last_norm=True), NTXentLoss(temperature=0.5))


def byol(trunk: nn.Module, widths: Sequence[int], run: Run) -> tuple[nn.ModuleList, Step]:
    """lightly's BYOL; the momentum rises once an epoch, as in our recipe."""
    from lightly.loss import NegativeCosineSimilarity
    from lightly.models.modules.heads import BYOLPredictionHead
    from lightly.models.utils import deactivate_requires_grad, update_momentum
    from lightly.utils.scheduler import cosine_schedule

    projection, criterion = head(widths, last_norm=False), NegativeCosineSimilarity()
    prediction = BYOLPredictionHead(widths[-1], dict(run.options)["predictor_hidden"], widths[-1])
    slow_trunk, slow_projection = copy.deepcopy(trunk), copy.deepcopy(projection)
    deactivate_requires_grad(slow_trunk)
    deactivate_requires_grad(slow_projection)

    def step(views: Sequence[Tensor], progress: float) -> Tensor:
        momentum = cosine_schedule(int(progress * run.epochs), run.epochs + 1, 0.99, 1.0)
        update_momentum(trunk, slow_trunk, momentum)
        update_momentum(projection, slow_projection, momentum)
        first, second = (prediction(projection(trunk(view))) for view in views)
        with torch.no_grad():
            slow_first, slow_second = (slow_projection(slow_trunk(view)) for view in views)
        loss: Tensor = 0.5 * (criterion(first, slow_second) + criterion(second, slow_first))
        return loss

    return nn.ModuleList([trunk, projection, prediction]), step


def barlow_twins(trunk: nn.Module, widths: Sequence[int], run: Run) -> tuple[nn.ModuleList, Step]:
    """lightly's Barlow Twins."""
    from lightly.loss import BarlowTwinsLoss

    return of_two_views(trunk, head(widths, last_norm=False), BarlowTwinsLoss(lambda_param=0.0051))


def w_mse(trunk: nn.Module, widths: Sequence[int], run: Run) -> tuple[nn.ModuleList, Step]:
    """lightly's W-MSE; the head sees all views at once, as in our recipe."""
    from lightly.loss.wmse_loss import WMSELoss

    projection = head(widths, last_norm=False)
    rows = dict(run.options)["whitening"]
    criterion = WMSELoss(embedding_dim=widths[-1], w_size=rows, num_samples=len(run.views))

    def step(views: Sequence[Tensor], progress: float) -> Tensor:
        loss: Tensor = criterion(projection(torch.cat([trunk(view) for view in views])))
        return loss

    return nn.ModuleList([trunk, projection]), step


BUILDERS = {"simclr": simclr, "byol": byol, "barlow_twins": barlow_twins, "w_mse": w_mse}


def measure(spec: Evaluation, data: Path) -> dict[str, Any]:
    """Train one run with lightly and probe its trunk."""
    started, run = time.process_time(), spec.run
    torch.manual_seed(run.seed)
    images = read(run.dataset, "pretrain", data, copy=run.copy)
    assert isinstance(images, Images)
    trunk = build_backbone(run.backbone, run.views[0].size)
    hidden = (run.projector.hidden,) * (run.projector.layers - 1)
    modules, loss_of = BUILDERS[run.method](trunk, (trunk.features, *hidden, run.projector.out), run)
    optimizer = build_optimizer(modules.parameters(), run.optimizer, run.peak_lr)
    steps = len(images) // run.batch_size
    modules.train()
    for step, views in batches(run, images):
        set_rate(optimizer, learning_rate(run, step, steps), run.peak_lr)
        loss = loss_of(views, step / (run.epochs * steps))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    accuracies = probe(trunk, spec, data, "cpu")
    return {
        "method": run.method,
        "seed": run.seed,
        **{name: round(100 * accuracies[key], 4) for name, key in METRICS.items()},
        "seconds": round(time.process_time() - started, 1),
        "lightly": importlib.metadata.version("lightly"),
        "torch": torch.__version__.partition("+")[0],
        "device": processor(),
    }


def finished(path: Path) -> list[dict[str, str]]:
    """The rows of the file."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def ours(runs: Path, method: str, metric: str, dataset_copy: str) -> list[float]:
    """Our finished seeds, in per cent."""
    results = (Record(runs, evaluation(method, seed, dataset_copy)).results for seed in range(SEEDS))
    return [100 * found[METRICS[metric]] for found in results if found]


def summary(rows: list[dict[str, str]], runs: Path, dataset_copy: str) -> str:
    """The table for people: a line a method and metric that both sides have; two seeds of each give an interval."""
    lines = [
        "| method | measured | ours | lightly | ours less lightly | 90 % interval | within one point |",
        "|---|---|---|---|---|---|---|",
    ]
    for method in BUILDERS:
        for metric in METRICS:
            own = ours(runs, method, metric, dataset_copy)
            theirs = [float(row[metric]) for row in rows if row["method"] == method]
            if not own or not theirs:
                continue
            difference, interval, shown = statistics.fmean(own) - statistics.fmean(theirs), "", "not shown"
            if min(len(own), len(theirs)) > 1 and (spread := welch([(1, tuple(own)), (-1, tuple(theirs))])):
                low, high = difference - spread.half_width(LEVEL), difference + spread.half_width(LEVEL)
                interval = f"{low:+.2f} to {high:+.2f}"
                shown = "shown" if low > -MARGIN and high < MARGIN else "not shown"
            texts = method, metric, _text(own), _text(theirs), f"{difference:+.2f}", interval, shown
            lines.append(f"| {' | '.join(texts)} |")
    return "\n".join(lines)


def _text(values: Sequence[float]) -> str:
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.2f}{spread} (n={len(values)})"


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="CSV of finished runs of lightly; rows are added")
    parser.add_argument("--runs", type=Path, required=True, help="folder of our records")
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--copy", default="cifar10-jpeg", help="of CIFAR-10, a folder below data")
    parser.add_argument("--methods", nargs="+", choices=BUILDERS, default=PLANNED)
    parser.add_argument("--seeds", type=int, nargs="*", default=range(SEEDS), help="so that processes share the work")
    parser.add_argument("--minutes", type=float, default=math.inf, help="no run begins after so many")
    parser.add_argument("--summary", action="store_true", help="run nothing")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rows, end = finished(asked.file), time.monotonic() + 60 * asked.minutes
    for seed in asked.seeds:
        for method in asked.methods:
            known = any((row["method"], int(row["seed"])) == (method, seed) for row in rows)
            if known or asked.summary or time.monotonic() > end:
                continue
            row = measure(evaluation(method, seed, asked.copy), asked.data)
            append(asked.file, COLUMNS, row)
            rows.append({name: str(value) for name, value in row.items()})
    print(summary(rows, asked.runs, asked.copy))


if __name__ == "__main__":
    main()
