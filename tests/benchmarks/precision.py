"""Is bfloat16 as good as float32? Two one-sided tests on pairs of runs that differ in nothing else.

A pair is two pretrainings of one method on the digits with one seed, in float32 and under bfloat16 autocast. The
measure of a run is the mean of two accuracies in per cent, of a ridge classifier and of five nearest neighbours on the
trunk's features, both of all 7,188 digits by cross-validation: five folds of whole glyphs, the same for every run. So
it scatters less than one probe on one held-out split: all images count, two probes are averaged, and neither draws
random numbers of its own.

Two one-sided t tests (Schuirmann, 1987) reject "the mean difference is MARGIN or more, either way" at the level LEVEL;
that is the same as a 90 % interval inside (-MARGIN, MARGIN). The number of pairs is fixed before the first one runs.
Runs follow one another seed by seed over all methods, so that `--minutes` ends a study at a time, not at a result.

Every finished run is a row of a CSV file, and a study that was stopped goes on from it.

    python tests/benchmarks/precision.py results/precision.csv --seeds 100-107 [--minutes 60]
    python tests/benchmarks/precision.py results/precision.csv --seeds 100-107 --summary
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from compmod.pretrain.data.images import Images
from compmod.pretrain.data.load import read
from compmod.pretrain.evaluate.features import extract
from compmod.pretrain.evaluate.knn import knn_accuracy
from compmod.pretrain.networks.encoder import finished_backbone
from compmod.pretrain.recipes.presets import preset
from compmod.pretrain.runtime.randomness import permutation
from compmod.pretrain.specs.datasets import DATASETS
from compmod.pretrain.specs.run import Run
from compmod.pretrain.trainer import train
from compmod.pretrain.training.session import Session
from scipy import stats
from torch import Tensor

METHODS = ("simclr", "byol", "barlow_twins", "simclr+", "byol+", "barlow_twins+")
PRECISIONS = ("float32", "bfloat16")
MARGIN, LEVEL = 1.0, 0.05  # points of per cent; of each one-sided test
FOLDS, NEIGHBOURS, RIDGE = 5, 5, 1e-2  # of the mean squared features, which are standardised
COLUMNS = (
    "method",
    "precision",
    "seed",
    "epochs",
    "batch_size",
    "digest",
    "linear",
    "knn",
    "mean",
    "seconds",
    "device",
)


def runs_of(methods: Sequence[str], seeds: range, epochs: int, batch_size: int) -> list[Run]:
    """All runs of a study in their order: the two of a pair beside one another, a seed of all methods before the next.

    They are the presets of the digits, but for the epochs and the batch.
    """
    return [
        replace(preset(method, "digits"), epochs=epochs, batch_size=batch_size, seed=seed, precision=precision)
        for seed in seeds
        for method in methods
        for precision in PRECISIONS
    ]


def finished(path: Path) -> dict[str, dict[str, str]]:
    """The rows of the file by the digest of their run."""
    if not path.is_file():
        return {}
    with path.open(newline="") as file:
        return {row["digest"]: row for row in csv.DictReader(file)}


def append(path: Path, columns: Sequence[str], row: Mapping[str, object]) -> None:
    """Add a row to the file, below its head."""
    new = not path.is_file()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)


def measure(run: Run, device: str) -> dict[str, str | int | float]:
    """Train a run, probe it, and forget its files."""
    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        session = Session(device=device, online_every=0, linear_epochs=1, quiet=True)
        train(run, Path(folder), Path(folder), session)
        backbone = finished_backbone(Path(folder), run)
    linear, knn = cross_validated(backbone, device)
    return {
        "method": run.method,
        "precision": run.precision,
        "seed": run.seed,
        "epochs": run.epochs,
        "batch_size": run.batch_size,
        "digest": run.digest,
        "linear": round(linear, 4),
        "knn": round(knn, 4),
        "mean": round((linear + knn) / 2, 4),
        "seconds": round(time.process_time() - started, 1),
        "device": torch.cuda.get_device_name() if device == "cuda" else processor(),
    }


def cross_validated(backbone: torch.nn.Module, device: str) -> tuple[float, float]:
    """Accuracies in per cent of the ridge classifier and of the nearest neighbours, every image held out once."""
    dataset = DATASETS["digits"]
    halves = [read("digits", split, Path()) for split in ("train", "test")]
    features_ND = torch.cat([extract(backbone, half, dataset, device) for half in halves])
    images = [half for half in halves if isinstance(half, Images)]
    labels_N = torch.from_numpy(np.concatenate([half.labels for half in images])).to(features_ND.device)
    glyphs, group_N = np.unique(np.concatenate([half.groups for half in images]), return_inverse=True)
    fold_N = torch.from_numpy((permutation(0, 0, len(glyphs)) % FOLDS).numpy()[group_N]).to(features_ND.device)
    linear = knn = 0.0
    for fold in range(FOLDS):
        test_N = fold_N == fold
        parts = features_ND[~test_N], labels_N[~test_N], features_ND[test_N], labels_N[test_N]
        share = float(test_N.double().mean())
        linear += share * ridge_accuracy(*parts)
        knn += share * knn_accuracy(*parts, NEIGHBOURS, dataset.classes)
    return 100 * linear, 100 * knn


def ridge_accuracy(train_ND: Tensor, train_labels: Tensor, test_MD: Tensor, test_labels: Tensor) -> float:
    """Share of test rows that least squares on one-hot labels, with a penalty on the weights, puts into their class."""
    deviation_D, mean_D = torch.std_mean(train_ND.double(), dim=0)
    train_ND, test_MD = ((rows.double() - mean_D) / (deviation_D + 1e-12) for rows in (train_ND, test_MD))
    targets_NC = torch.nn.functional.one_hot(train_labels).double()
    penalty_DD = RIDGE * len(train_ND) * torch.eye(train_ND.shape[1], dtype=torch.float64, device=train_ND.device)
    weight_DC = torch.linalg.solve(train_ND.T @ train_ND + penalty_DD, train_ND.T @ (targets_NC - targets_NC.mean(0)))
    predicted_M = (test_MD @ weight_DC + targets_NC.mean(0)).argmax(1)
    return float((predicted_M == test_labels).double().mean())


def compare(float32: list[float], bfloat16: list[float], first: int = 0) -> dict[str, float | int | str]:
    """The two one-sided tests of paired measures, and the interval that says the same.

    Where `first` pairs have set how many were run (Stein, 1945), their deviation alone is used, with its degrees of
    freedom, so that the level holds.
    """
    differences = [narrow - wide for wide, narrow in zip(float32, bfloat16, strict=True)]
    pairs, mean = len(differences), statistics.fmean(differences)
    staged = differences[: first or pairs]
    deviation, free = statistics.stdev(staged), len(staged) - 1
    error = deviation / math.sqrt(pairs)
    below = float(stats.t.sf((mean + MARGIN) / error, free))  # of a mean difference of -MARGIN or less
    above = float(stats.t.cdf((mean - MARGIN) / error, free))  # of one of +MARGIN or more
    quantile = float(stats.t.ppf(1 - LEVEL, free))
    return {
        "pairs": pairs,
        "float32": statistics.fmean(float32),
        "bfloat16": statistics.fmean(bfloat16),
        "difference": mean,
        "deviation": deviation,
        "needed": max(len(staged), math.ceil((quantile * deviation / MARGIN) ** 2)),
        "low": mean - quantile * error,
        "high": mean + quantile * error,
        "p": max(below, above),
        "equivalent": "shown" if max(below, above) < LEVEL else "not shown",
    }


def summary(runs: list[Run], rows: dict[str, dict[str, str]]) -> dict[str, dict[str, float | int | str]]:
    """`compare` of every method that has at least two whole pairs among `runs`."""
    found = {}
    for method in METHODS:
        of_method = {
            (run.seed, run.precision): rows[run.digest] for run in runs if run.method == method and run.digest in rows
        }
        measures = {
            seed: [float(of_method[seed, precision]["mean"]) for precision in PRECISIONS]
            for seed in sorted({seed for seed, _ in of_method})
            if all((seed, precision) in of_method for precision in PRECISIONS)
        }
        if len(measures) > 1:
            wide, narrow = (list(column) for column in zip(*measures.values(), strict=True))
            found[method] = compare(wide, narrow)
    return found


def markdown(found: dict[str, dict[str, float | int | str]]) -> str:
    """The table for people."""
    lines = [
        "| method | pairs | float32 | bfloat16 | difference | scatter | pairs asked for | 90 % interval | TOST p"
        " | within one point |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for method, row in found.items():
        lines.append(
            f"| {method} | {row['pairs']} | {row['float32']:.2f} | {row['bfloat16']:.2f} | {row['difference']:+.2f}"
            f" | {row['deviation']:.2f} | {row['needed']} | {row['low']:+.2f} to {row['high']:+.2f} | {row['p']:.2g}"
            f" | {row['equivalent']} |"
        )
    return "\n".join(lines)


def processor() -> str:
    """The name of the processor, as the system tells it."""
    names = [line.partition(":")[2].strip() for line in _cpu_lines() if line.startswith("model name")]
    return names[0] if names else "CPU"


def _cpu_lines() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.is_file() else []


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="CSV of finished runs; rows are added")
    parser.add_argument("--seeds", required=True, help="first and last seed, as 100-115")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--methods", nargs="*", default=METHODS)
    parser.add_argument("--minutes", type=float, default=math.inf, help="no run begins after so many")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--summary", action="store_true", help="run nothing")
    parser.add_argument("--json", type=Path, help="write the table there, too")
    asked = parser.parse_args()
    first, last = (int(seed) for seed in asked.seeds.split("-"))
    runs, rows = runs_of(asked.methods, range(first, last + 1), asked.epochs, asked.batch_size), finished(asked.file)
    torch.set_num_threads(1)
    end = time.monotonic() + 60 * asked.minutes
    for run in runs:
        if asked.summary or time.monotonic() > end:
            break
        if run.digest in rows:
            continue
        row = measure(run, asked.device)
        rows[run.digest] = {name: str(value) for name, value in row.items()}
        append(asked.file, COLUMNS, row)
    found = summary(runs, rows)
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1) + "\n")
    print(markdown(found))


if __name__ == "__main__":
    main()
