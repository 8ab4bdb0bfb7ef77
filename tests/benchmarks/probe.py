"""Probe: a linear classifier on fixed features, ours beside the loop that a user of torch writes and scikit-learn's.

The features are made: classes that overlap, so that the accuracy says whether each one learnt.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from page import best, median, times
from rounds import Contestant, Sizes, Subject, Work
from torch import Tensor, nn

CLASSES = 10
SPREAD = 14.0  # of a class, in distances between the means of two: some errors are left


def data(sizes: Sizes) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    source = torch.Generator().manual_seed(0)
    means = torch.randn(CLASSES, sizes["features"], generator=source)

    def part(count: int) -> tuple[Tensor, Tensor]:
        labels = torch.randint(CLASSES, (count,), generator=source)
        noise = torch.randn(count, sizes["features"], generator=source)
        return (means[labels] + SPREAD * noise).relu(), labels

    return *part(sizes["train"]), *part(sizes["test"])


def probing(make: Callable[[Sizes], Callable[..., float]]) -> Callable[[str, Sizes], Work]:
    def build(_: str, sizes: Sizes) -> Work:
        splits, fit = data(sizes), make(sizes)
        return lambda: {"accuracy": fit(*splits)}

    return build


def ours(sizes: Sizes) -> Callable[..., float]:
    from compmod.pretrain.evaluate.linear import linear_probe

    return lambda *splits: linear_probe(*splits, CLASSES, epochs=sizes["epochs"], batch_size=sizes["batch"]).top1


def torch_loop(sizes: Sizes) -> Callable[..., float]:
    """Adam, a falling rate and shuffled batches, as the W-MSE code does it."""

    def fit(train: Tensor, labels: Tensor, test: Tensor, test_labels: Tensor) -> float:
        layer = nn.Linear(train.shape[1], CLASSES)
        optimizer = torch.optim.Adam(layer.parameters(), lr=1e-2, weight_decay=5e-6)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, (1e-6 / 1e-2) ** (1 / sizes["epochs"]))
        criterion = nn.CrossEntropyLoss()
        for _ in range(sizes["epochs"]):
            for chosen in torch.randperm(len(train)).split(sizes["batch"]):
                optimizer.zero_grad()
                criterion(layer(train[chosen]), labels[chosen]).backward()
                optimizer.step()
            schedule.step()
            with torch.no_grad():
                accuracy = float((layer(test).argmax(1) == test_labels).float().mean())
        return accuracy

    return fit


def scikit_learn(make: Callable[[Sizes], Any]) -> Callable[[Sizes], Callable[..., float]]:
    def build(sizes: Sizes) -> Callable[..., float]:
        def fit(train: Tensor, labels: Tensor, test: Tensor, test_labels: Tensor) -> float:
            fitted = make(sizes).fit(train.numpy(), labels.numpy())
            return float(fitted.score(test.numpy(), test_labels.numpy()))

        return fit

    return build


def logistic(sizes: Sizes) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=sizes["epochs"])


def descent(sizes: Sizes) -> Any:
    from sklearn.linear_model import SGDClassifier

    return SGDClassifier(loss="log_loss", max_iter=sizes["epochs"], tol=None, random_state=0)


SUBJECT = Subject(
    title="Linear probe",
    text="{epochs} epochs of a linear layer on {train:,} rows of {features} features, 10 classes, scored on {test:,}.",
    cases=["linear"],
    contestants=[
        Contestant("compmod, linear_probe", "compmod", probing(ours)),
        Contestant("torch, a plain loop", "torch", probing(torch_loop)),
        Contestant("scikit-learn, SGDClassifier", "scikit-learn", probing(scikit_learn(descent))),
        Contestant("scikit-learn, LogisticRegression", "scikit-learn", probing(scikit_learn(logistic))),
    ],
    sizes={"train": 50_000, "test": 10_000, "features": 512, "epochs": 20, "batch": 1_000},
    tiny={"train": 64, "test": 16, "features": 8, "epochs": 2, "batch": 16},
    columns={
        "median s": lambda f, _: f"{median(f):.2f}",
        "core-seconds": lambda f, _: f"{best(f, 'core_seconds'):.1f}",
        "time of ours": times,
        "core time of ours": lambda f, ours: times(f, ours, "core_seconds"),
        "accuracy": lambda f, _: f"{100 * median(f, 'accuracy'):.1f} %",
    },
)
