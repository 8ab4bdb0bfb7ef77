"""Neighbours: the 5 nearest of many rows by Euclidean distance, ours beside exact searches of other packages.

Ours settles by float64 what float32 cannot tell, so rows where another search differs are that one's rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from page import best, median, times
from rounds import Contestant, Figures, Sizes, Subject, Work

K = 5
Search = Callable[[torch.Tensor, torch.Tensor], np.ndarray]


def searching(make: Callable[[Sizes], Search]) -> Callable[[str, Sizes], Work]:
    def build(_: str, sizes: Sizes) -> Work:
        source = torch.Generator().manual_seed(0)
        train, test = (
            torch.randn(sizes[part], sizes["features"], generator=source).abs() for part in ("train", "test")
        )
        search, file = make(sizes), Path(sizes["scratch"]) / "neighbours.npy"

        def work() -> dict[str, float]:
            found = search(train, test)
            if not file.exists():  # ours comes first
                np.save(file, found)
            return {"rows that differ": float((found != np.load(file)).any(1).sum())}

        return work

    return build


def ours(_: Sizes) -> Search:
    from compmod.pretrain.evaluate.knn import nearest

    return lambda train, test: nearest(train, test, K).numpy()


def faiss(_: Sizes) -> Search:
    import faiss as library

    library.omp_set_num_threads(torch.get_num_threads())

    def search(train: torch.Tensor, test: torch.Tensor) -> np.ndarray:
        index = library.IndexFlatL2(train.shape[1])
        index.add(train.numpy())
        found: np.ndarray = index.search(test.numpy(), K)[1]
        return found

    return search


def scikit_learn(_: Sizes) -> Search:
    from sklearn.neighbors import NearestNeighbors

    def search(train: torch.Tensor, test: torch.Tensor) -> np.ndarray:
        neighbours = NearestNeighbors(n_neighbors=K, algorithm="brute").fit(train.numpy())
        found: np.ndarray = neighbours.kneighbors(test.numpy(), return_distance=False)
        return found

    return search


def torch_loop(sizes: Sizes) -> Search:
    def search(train: torch.Tensor, test: torch.Tensor) -> np.ndarray:
        parts = [torch.cdist(chunk, train).topk(K, largest=False).indices for chunk in test.split(sizes["chunk"])]
        return torch.cat(parts).numpy()

    return search


def memory(figures: Figures, _: Figures) -> str:
    return f"{figures['memory_mib']:,.0f}"


SUBJECT = Subject(
    title="Neighbours",
    text="The 5 nearest of {train:,} rows to each of {test:,} rows of {features} features, exact search.",
    cases=["5-nn"],
    contestants=[
        Contestant("compmod, nearest", "compmod", searching(ours)),
        Contestant("faiss, IndexFlatL2", "faiss-cpu", searching(faiss)),
        Contestant("scikit-learn, brute", "scikit-learn", searching(scikit_learn)),
        Contestant("torch, cdist and topk", "torch", searching(torch_loop)),
    ],
    sizes={"train": 50_000, "test": 10_000, "features": 512, "chunk": 1_000},
    tiny={"train": 64, "test": 16, "features": 8, "chunk": 8},
    columns={
        "median s": lambda f, _: f"{median(f):.2f}",
        "core-seconds": lambda f, _: f"{best(f, 'core_seconds'):.1f}",
        "time of ours": times,
        "core time of ours": lambda f, ours: times(f, ours, "core_seconds"),
        "memory, MiB": memory,
        "rows that differ": lambda f, _: f"{median(f, 'rows that differ'):,.0f}",
    },
)
