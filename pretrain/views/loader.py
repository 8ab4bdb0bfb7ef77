"""Batches of large images: worker processes decode, crop and resize; the rest of a view is made on the device.

Every crop is a function of (seed, epoch, sample index, view), as for images in memory, so the number of workers and
processes, and the step at which a run was resumed, change no pixel.
"""

from __future__ import annotations

import atexit
import multiprocessing
import signal
import threading
import weakref
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import ForkServerContext
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..data.decode import open_image
from ..data.imagenet import Files
from ..files.bad_data import BadData
from ..runtime.worker_process import end_with_the_parent
from .crops import Cutter, cut
from .requests import Request

ONLY_LARGE_IMAGES = "reads images that stay on disk"

PREFETCH = 2  # batches a worker keeps ready
# The signals that schedulers, Ctrl-C and a closing terminal send to a whole job.
_JOB_SIGNALS = (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT, signal.SIGHUP)

_FEEDER, _FEEDER_S = "QueueFeederThread", 5.0  # multiprocessing's name for the threads that hand requests to workers

_OPEN: weakref.WeakSet[Generator[Any, None, None]] = weakref.WeakSet()

Plain = tuple[int, list[int]]  # as plain numbers: a tensor reaches a worker by a socket that closes with this process
Made = TypeVar("Made")


class Loaded(NamedTuple):
    """A batch off the disk."""

    pixels: list[Tensor]  # uint8, images x 3 x size x size, one a view; the sizes may differ
    samples: Tensor  # int64: which ones they are
    labels: Tensor  # int64


def batches(
    files: Files, requests: Iterable[Request], cutter: Cutter, workers: int, *, pin_memory: bool = False
) -> Generator[Loaded, None, None]:
    """The batches of the requests, in that order, made ahead by `workers` processes; 0 = by this one.

    One call can serve a whole training: the workers live until the requests end, or the iterator is closed or dropped.
    Raises ValueError, in one line that names the file, at the batch with an image that cannot be read; the workers are
    gone then.
    """
    plain = ((epoch, index_N.tolist()) for epoch, index_N in requests)
    return served(_Reader(files, cutter), plain, workers, pin_memory=pin_memory)


def served(
    reader: Dataset[Made | str], requests: Iterable[Plain], workers: int, *, pin_memory: bool = False
) -> Generator[Made, None, None]:
    """The results of `reader` for every request, in that order, made ahead by `workers` processes; 0 = by this one.

    A reader hands back a fault as text, which is raised as ValueError; the workers are gone then.
    """
    if workers < 0:
        raise ValueError(f"workers must be at least 0, not {workers}")
    made = _served(reader, requests, workers, pin_memory)
    _OPEN.add(made)
    return made


def _served(
    reader: Dataset[Made | str], requests: Iterable[Plain], workers: int, pin_memory: bool
) -> Generator[Made, None, None]:
    loader: DataLoader[Made | str] = DataLoader(
        reader,
        batch_size=None,  # a request is a whole batch already
        sampler=requests,
        num_workers=workers,
        collate_fn=_as_it_is,
        pin_memory=pin_memory,
        prefetch_factor=PREFETCH if workers else None,
        multiprocessing_context=_context() if workers else None,
        worker_init_fn=_depend_on_the_parent,
        generator=torch.Generator(),  # otherwise it would draw from the global generator
    )
    others = threading.enumerate()
    iterator = iter(loader)
    feeders = [thread for thread in threading.enumerate() if thread.name == _FEEDER and thread not in others]
    try:
        for loaded in iterator:
            if isinstance(loaded, str):
                raise BadData(loaded)
            yield loaded
    finally:
        del iterator  # ends the workers, which the traceback of an exception would otherwise keep alive
        for (
            thread
        ) in feeders:  # if this process ended in the middle of the server's end, a semaphore would be left behind
            thread.join(_FEEDER_S)


@atexit.register
def _close() -> None:
    """End the workers before Python's own exit waits for them: they ignore its request to terminate."""
    for made in list(_OPEN):
        made.close()


def _as_it_is(loaded: Any) -> Any:
    return loaded


def _context() -> ForkServerContext:
    """Where workers come from: one server that has imported what they need, and that signals to the job do not end.

    Forking this process instead could hang: it may hold a CUDA context and threads of NCCL or Gloo.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    # A process that starts now inherits the blocked signals. The tracker starts first: its start unblocks them.
    for start in (resource_tracker.ensure_running, forkserver.ensure_running):
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _JOB_SIGNALS)
        try:
            start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


def _depend_on_the_parent(worker: int) -> None:
    """A scheduler signals every process of a job; the parent decides when to stop, and workers end with it."""
    for number in _JOB_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    end_with_the_parent()  # torch itself watches the process that forked this one, which is the server


@dataclass(frozen=True)
class _Reader(Dataset["Loaded | str"]):
    """Makes the batch of a request. A fault is returned as text, because an exception would arrive as a traceback."""

    files: Files
    cutter: Cutter

    def __getitem__(self, request: tuple[int, list[int]]) -> Loaded | str:
        epoch, samples = request
        try:
            return self._batch(epoch, torch.tensor(samples))
        except ValueError as error:
            return str(error)

    def _batch(self, epoch: int, index_N: Tensor) -> Loaded:
        paths = [self.files.path(index) for index in index_N.tolist()]
        images = [open_image(path) for path in paths]
        sides_N2 = torch.tensor([(image.height, image.width) for image in images])
        views = self.cutter.windows(sides_N2, index_N, epoch)
        pixels = [torch.empty(len(images), 3, view[0].size, view[0].size, dtype=torch.uint8) for view in views]
        for number, (path, image) in enumerate(zip(paths, images, strict=True)):
            windows = [view[number] for view in views]
            for view, cropped in zip(pixels, cut(path, image, windows), strict=True):
                view[number] = cropped
            image.close()
        return Loaded(pixels, index_N, torch.from_numpy(self.files.labels[index_N.numpy()]))
