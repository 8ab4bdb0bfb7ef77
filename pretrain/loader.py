"""Batches of large images: worker processes decode, crop and resize; the rest of a view is made on the device.

Every crop is a function of (seed, epoch, sample index, view), as for images in memory, so neither the workers, nor the
processes, nor where a run was resumed change a pixel. Decoding follows torchvision's reader (Pillow, converted to RGB;
EXIF orientation is ignored); a JPEG much larger than asked for is decoded at a half, a quarter or an eighth.
"""

from __future__ import annotations

import io
import math
import multiprocessing
import signal
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from . import data
from .distributed import share
from .large_images import Files
from .randomness import permutation, uniform
from .run import Augmentation
from .views import NUMBERS, crop_boxes

REDUCING_GAP = 2.0  # a reduced image stays this much larger than what is made of it; Pillow, for `Image.thumbnail`
REDUCTIONS = (8, 4, 2)  # what the JPEG decoder can divide sides by
PREFETCH = 2  # batches a worker keeps ready
PROBE_VIEW = Augmentation(jitter=0.0, grey=0.0, crop_min=0.08)  # crop and flip; Zbontar et al., ICML 2021, code
_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)  # SyntaxError: Pillow, on a broken PNG
_JOB_SIGNALS = (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT)  # what schedulers and Ctrl-C send to a whole job

Request = tuple[int, Tensor]  # epoch, and which samples: int64, on the CPU


class Loaded(NamedTuple):
    """A batch off the disk."""

    pixels: list[Tensor]  # uint8, images x 3 x size x size, one a view; the sizes may differ
    samples: Tensor  # int64: which ones they are
    labels: Tensor  # int64


class Window(NamedTuple):
    """What is made of an image: a box is cut out and resized, and the centre of that is kept."""

    box: tuple[int, int, int, int]  # left, top, right, bottom, pixels
    resized: tuple[int, int]  # width, height
    size: int  # side of the centre


class Cutter(Protocol):
    """Says what to cut out of images."""

    def windows(self, sides_N2: Tensor, index_N: Tensor, epoch: int) -> list[list[Window]]:
        """For each view, the window of every image; a row of `sides_N2` is an image's height and width."""


@dataclass(frozen=True)
class RandomCrops:
    """The crops that training views begin with; `Views.after_crop` does the rest."""

    dataset: data.Dataset
    views: Sequence[Augmentation]
    seed: int

    def windows(self, sides_N2: Tensor, index_N: Tensor, epoch: int) -> list[list[Window]]:
        """A random resized crop an image and view."""
        cut = []
        for number, view in enumerate(self.views):
            size = view.size or self.dataset.view_size
            boxes_N4 = crop_boxes(view, uniform(self.seed, epoch, index_N, number, NUMBERS), sides_N2)
            boxes = boxes_N4.tolist()
            cut.append([Window((x, y, x + wide, y + tall), (size, size), size) for y, x, tall, wide in boxes])
        return cut


@dataclass(frozen=True)
class CentreCrop:
    """What a network sees at test time: the shorter side resized, then the centre."""

    dataset: data.Dataset

    def windows(self, sides_N2: Tensor, index_N: Tensor, epoch: int) -> list[list[Window]]:
        """One view: the centre of the whole image."""
        short, size = self.dataset.test_resize, self.dataset.view_size
        cut = []
        for height, width in sides_N2.tolist():
            least = min(height, width)
            resized = (int(short * width / least), int(short * height / least))  # cut off, as torchvision's Resize does
            cut.append(Window((0, 0, width, height), resized, size))
        return [cut]


def training_requests(images: int, batch_size: int, seed: int, steps: range) -> Iterator[Request]:
    """This process's share of the batch of every step, counted from the first of the run; `steps` may start anywhere.

    Each epoch visits the images in an order of its own; its ragged last batch is dropped.
    """
    in_epoch = images // batch_size
    if not in_epoch:
        raise ValueError(f"batch_size {batch_size} is more than the {images:,} images; valid: 1 to {images:,}")
    drawn, order = -1, torch.empty(0)
    for step in steps:
        epoch, position = divmod(step, in_epoch)
        if epoch != drawn:
            drawn, order = epoch, permutation(seed, epoch, images)
        yield epoch, share(order[position * batch_size : (position + 1) * batch_size])


def requests_in_order(images: int, batch_size: int) -> Iterator[Request]:
    """All images once, in their order, with a smaller last batch: for features."""
    for index in torch.arange(images).split(batch_size):
        yield 0, index


def batches(
    files: Files, requests: Iterable[Request], cutter: Cutter, workers: int, *, pin_memory: bool = False
) -> Iterator[Loaded]:
    """The batches asked for, in that order, made ahead by so many worker processes; 0 = by this one.

    One call can serve a whole training: the workers live until the requests end. Raises ValueError, in one line that
    names the file, at the batch with an image that cannot be read; the workers are gone then.
    """
    if workers < 0:
        raise ValueError(f"workers must be at least 0, not {workers}")
    loader: DataLoader[Loaded | str] = DataLoader(
        _Reader(files, cutter),
        batch_size=None,  # a request is a whole batch already
        sampler=requests,
        num_workers=workers,
        collate_fn=_as_it_is,
        pin_memory=pin_memory,
        prefetch_factor=PREFETCH if workers else None,
        multiprocessing_context=_context() if workers else None,
        worker_init_fn=_leave_signals_to_the_parent,
        generator=torch.Generator(),  # or it would draw from the global one
    )
    iterator = iter(loader)
    try:
        for loaded in iterator:
            if isinstance(loaded, str):
                raise ValueError(loaded)
            yield loaded
    finally:
        del iterator  # ends the workers, which an exception's traceback would otherwise keep


def _as_it_is(loaded: Any) -> Any:
    return loaded


def _context() -> ForkServerContext:
    """Where workers come from: one server that has imported torch, and that signals to the whole job do not end.

    Forking this process instead could hang: it may hold a CUDA context and threads of NCCL or Gloo.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    # Blocked signals stay so in what is started meanwhile. The tracker first, for its start unblocks them here.
    for start in (resource_tracker.ensure_running, forkserver.ensure_running):
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _JOB_SIGNALS)
        try:
            start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


def _leave_signals_to_the_parent(worker: int) -> None:
    """A scheduler signals every process of a job; the parent decides when to stop, and workers end with it."""
    for number in _JOB_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@dataclass(frozen=True)
class _Reader(Dataset["Loaded | str"]):
    """Makes the batch of a request. A fault is handed back as text, for an exception would arrive as a traceback."""

    files: Files
    cutter: Cutter

    def __getitem__(self, request: Request) -> Loaded | str:
        epoch, index_N = request
        try:
            return self._batch(epoch, index_N)
        except ValueError as error:
            return str(error)

    def _batch(self, epoch: int, index_N: Tensor) -> Loaded:
        paths = [self.files.path(index) for index in index_N.tolist()]
        images = [_opened(path) for path in paths]
        sides_N2 = torch.tensor([(image.height, image.width) for image in images])
        views = self.cutter.windows(sides_N2, index_N, epoch)
        pixels = [torch.empty(len(images), 3, view[0].size, view[0].size, dtype=torch.uint8) for view in views]
        for number, (path, image) in enumerate(zip(paths, images, strict=True)):
            windows = [view[number] for view in views]
            for view, cropped in zip(pixels, _cut(path, image, windows), strict=True):
                view[number].numpy()[:] = np.asarray(cropped).transpose(2, 0, 1)
            image.close()
        return Loaded(pixels, index_N, torch.from_numpy(self.files.labels[index_N.numpy()]))


def _opened(path: Path) -> Image.Image:
    """An image whose header has been read, and whose file has been read whole: one visit to a slow disk."""
    try:
        return Image.open(io.BytesIO(path.read_bytes()))
    except _UNREADABLE as error:
        raise _fault(path, error) from error


def _cut(path: Path, image: Image.Image, windows: Sequence[Window]) -> list[Image.Image]:
    """Every view's square out of one image, which is decoded once."""
    width = image.width
    reduction = min(_reduction(window) for window in windows)
    try:
        if reduction > 1:
            image.draft(None, (image.width // reduction, image.height // reduction))
        scale = round(width / image.width)  # 1 for anything but a JPEG
        whole = image.convert("RGB")
    except _UNREADABLE as error:
        raise _fault(path, error) from error
    return [_resized(whole, window, scale) for window in windows]


def _reduction(window: Window) -> int:
    """By how much the image may be reduced beforehand so that this window hardly shows it."""
    left, top, right, bottom = window.box
    width, height = window.resized
    spare = min((right - left) / width, (bottom - top) / height) / REDUCING_GAP
    return next((reduction for reduction in REDUCTIONS if reduction <= spare), 1)


def _resized(image: Image.Image, window: Window, scale: int) -> Image.Image:
    left, top, right, bottom = (side / scale for side in window.box)
    # Cut first: Pillow's resize would otherwise look beyond the box.
    cut = math.floor(left), math.floor(top), math.ceil(right), math.ceil(bottom)
    box = left - cut[0], top - cut[1], right - cut[0], bottom - cut[1]
    resized = image.crop(cut).resize(window.resized, Image.Resampling.BICUBIC, box=box)
    x, y = (round((side - window.size) / 2) for side in window.resized)
    return resized.crop((x, y, x + window.size, y + window.size))


def _fault(path: Path, error: Exception) -> ValueError:
    reason = " ".join(str(error).split())
    return ValueError(f"{path}: found an image that cannot be decoded ({reason}); expected a PNG or JPEG")
