"""Memory: the peak of a GPU's memory in a training step, counted without one.

The trainer's own step runs on fake tensors, which have a shape and no numbers (torch's FakeTensorMode), as one of so
many processes; whatever storage is alive is summed up in the units of PyTorch's allocator. Kernels' own workspaces,
what CUDA itself takes and gaps between allocations do not show here: `tables/plan/memory.py` adds an allowance.

    python -m compmod.pretrain.memory < REQUESTS    # a JSON list; one line of JSON an answer
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from .data.images import Images
from .files.stored_json import parse_json
from .records.record import Record
from .runtime.settings import numerics, own_settings
from .specs.run import Run
from .specs.spec import Spec
from .trainer import Trainer
from .training.interruption import Stop
from .training.session import Session
from .views import augment
from .views.augment import Views
from .views.batch import Batch

MOVES_NO_NUMBER = "predicts memory; trains nothing"

BLOCK = 512  # bytes: PyTorch's caching allocator rounds every request up to a multiple (kMinBlockSize)
SAMPLED = 8  # images whose views are made, on real tensors, to see what an image's views take


class LiveMemory(TorchDispatchMode):
    """As a context: sums up the storage that operations make and that is still alive."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = 0  # bytes
        self._known: set[int] = set()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._see(tensor.untyped_storage())
        return out

    def _see(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key not in self._known:
            size = -(-storage.nbytes() // BLOCK) * BLOCK
            self._known.add(key)
            weakref.finalize(storage, self._forget, key, size).atexit = False
            self.live += size
            self.peak = max(self.peak, self.live)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size


def peak_bytes(run: Run, processes: int = 1, *, recompute: bool = False) -> int:
    """Bytes that a step of `run` has in use at once on the GPU of one of `processes`, images and optimiser included.

    Raises ValueError where so many processes cannot share a batch.
    """
    if run.batch_size % processes:
        raise ValueError(f"batch_size {run.batch_size} cannot be shared equally by {processes} processes")
    count = run.batch_size // processes
    step, _ = _step(run, processes, count, recompute=recompute)
    return _images_bytes(run) + step + _views_bytes(run, count)  # of the next step, made while this one computes


def _step(run: Run, processes: int, count: int, *, recompute: bool) -> tuple[int, int]:
    """The peak of a step's bytes, and what is alive between steps."""
    session = Session(device="cpu", recompute=recompute, quiet=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        _group(processes),
        own_settings(),
        numerics(run.precision),
        FakeTensorMode(),
        LiveMemory() as memory,
    ):
        images = cast("Images", _Count(_images(run)))
        with patch.object(nn.Module, "_apply", _as_it_is), patch.object(FakeTensor, "__deepcopy__", _copied):
            trainer = Trainer(Record(Path(folder), run), run, images, Path(folder), session, Stop())
        batch, before = _batch(run, count), memory.live
        trainer._update(batch)
        lasting = memory.live
        return memory.peak + lasting - before, lasting  # later steps have moments and old gradients beside the rest


def _as_it_is(module: nn.Module, function: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
    """In place of a conversion: it would only give fake parameters the type they have, and swaps them, which fails."""
    return module


def _copied(tensor: Tensor, memo: dict[int, Any]) -> Tensor:
    """In place of a deep copy, which reaches for the numbers that a fake tensor has not."""
    copy = tensor.detach().clone()
    memo[id(tensor)] = nn.Parameter(copy, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else copy
    return cast("Tensor", memo[id(tensor)])


class _Count:
    """Images of which only the number matters."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count


def _images(run: Run) -> int:
    entry = run.data
    return run.train_images or entry.train_images + entry.unlabelled_images


def _sides(run: Run) -> list[int]:
    """Sides of a sample's views in pixels."""
    return [view.size or run.data.view_size for view in run.views]


def _batch(run: Run, count: int) -> Batch:
    """A batch of the last epoch, when every queue is in use."""
    return Batch(
        views=tuple(torch.empty(count, 3, side, side) for side in _sides(run)),
        index=torch.empty(count, dtype=torch.int64),
        labels=torch.empty(count, dtype=torch.int64),
        step=1,
        epoch=float(run.epochs),
        draw=0.5,
    )


def _images_bytes(run: Run) -> int:
    """Images that lie on the device from start to end, and their labels."""
    size = run.data.size  # 0 = they stay on disk
    return _images(run) * (3 * size**2 + torch.int64.itemsize) if size else 0


def _views_bytes(run: Run, count: int) -> int:
    """The most that making the views of `count` images takes: the views, and the work on those of one size."""
    entry, alike = run.data, Counter(_sides(run))
    made = working = 0
    for number, (view, side) in enumerate(zip(run.views, _sides(run), strict=True)):
        source = entry.size or side
        values = 3 * max(source, side) ** 2  # of an image
        maker, index = Views(view, entry, run.seed, number), torch.arange(SAMPLED)
        pixels = torch.zeros(SAMPLED, 3, source, source, dtype=torch.uint8)
        with LiveMemory() as memory:
            (maker if entry.size else maker.after_crop)(pixels, index, 0)
        floats = 3 * side**2 * torch.float32.itemsize
        piece_here = min(SAMPLED, max(1, augment._CHUNK["cpu"] // values))
        piece = min(alike[side] * count, max(1, augment._CHUNK_ELSEWHERE // values))
        joined = alike[side] * count * 3 * source**2 if alike[side] > 1 else 0
        made += count * (floats + (3 * source**2 if not entry.size else 0))
        working = max(working, joined + (memory.peak - SAMPLED * floats) * piece // piece_here)
    return made + working + (count * 3 * entry.size**2)


@contextlib.contextmanager
def _group(processes: int) -> Iterator[None]:
    """This process as the first of so many, which hear nothing of each other: torch's own group for tests."""
    if processes == 1:
        yield
        return
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group("fake", rank=0, world_size=processes, store=FakeStore())
    try:
        yield
    finally:
        dist.destroy_process_group()


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """The peak that a request asks for, by its fields `run`, `processes` and `recompute`; or why there is none."""
    run = Spec.from_dict(request["run"])
    assert isinstance(run, Run)
    try:
        return {"bytes": peak_bytes(run, request["processes"], recompute=request["recompute"])}
    except Exception as error:  # of a method of the user's own, whose step may need what fake tensors do not have
        return {"bytes": None, "error": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}


def main() -> None:
    """Answer every request on standard input, in order."""
    torch.set_num_threads(1)
    for request in parse_json(sys.stdin.buffer.read(), "standard input"):
        print(json.dumps(answer(request)), flush=True)


if __name__ == "__main__":
    main()
