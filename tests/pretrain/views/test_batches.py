"""The feed: the same input at any step for any number of workers, from memory and from disk; large images train."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from compmod.pretrain.data.imagenet import Files
from compmod.pretrain.data.images import Images, subset
from compmod.pretrain.data.load import read
from compmod.pretrain.evaluate.features import extract
from compmod.pretrain.networks.build import build_backbone
from compmod.pretrain.recipes.presets import preset
from compmod.pretrain.records.record import Record
from compmod.pretrain.specs.datasets import DATASETS
from compmod.pretrain.specs.run import Augmentation, Backbone, Projector, Run
from compmod.pretrain.trainer import train
from compmod.pretrain.training.session import Session
from compmod.pretrain.views.batch import Batch
from compmod.pretrain.views.batches import feed, on_side_stream
from PIL import Image
from safetensors.torch import load_file

CPU = torch.device("cpu")
CLASSES = ("n01440764", "n01443537", "n01484850")
PIXELS = (40, 50)  # height and width of a picture


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A copy of ImageNet with three classes of random pictures: eight to train on, two to test on."""
    dice = np.random.default_rng(0)
    for part, count in (("train", 8), ("val", 2)):
        for name in CLASSES:
            folder = tmp_path / "mini" / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = dice.integers(0, 256, (*PIXELS, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{name}_{number}.JPEG", quality=95)
    return tmp_path


def large(method: str = "simclr", **changes: object) -> Run:
    view = Augmentation(size=16, crop_min=0.3)
    run = Run(
        method=method,
        dataset="imagenet",
        copy="mini",
        epochs=2,
        batch_size=6,
        views=(view, view),
        backbone=Backbone(name="resnet10", width=4),
        projector=Projector(layers=2, hidden=8, out=4),
    )
    return replace(run, **changes)  # type: ignore[arg-type]


def session(**changes: object) -> Session:
    return replace(Session(device="cpu", online_every=0, quiet=True, workers=0), **changes)  # type: ignore[arg-type]


def same(one: Record, other: Record) -> bool:
    first, second = (load_file(record.path / "encoder.safetensors") for record in (one, other))
    return all(torch.equal(second[name], value) for name, value in first.items())


@pytest.mark.parametrize("start", [1, 5])
def test_a_feed_from_disk_may_start_at_any_step(start: int, pictures: Path) -> None:
    run, files = large(), read("imagenet", "train", pictures, copy="mini")
    straight = list(feed(files, run, range(8), CPU, 0))
    for mine, theirs in zip(feed(files, run, range(start, 8), CPU, 0), straight[start:], strict=True):
        assert torch.equal(mine.index, theirs.index)
        assert torch.equal(mine.labels, theirs.labels)
        assert all(torch.equal(a, b) for a, b in zip(mine.views, theirs.views, strict=True))


@pytest.mark.parametrize("start", [3, 9])
def test_a_feed_from_memory_may_start_at_any_step(start: int) -> None:
    run = replace(preset("simclr", "digits"), batch_size=16)
    images = read("digits", "pretrain", Path())
    assert isinstance(images, Images)
    few = subset(images, 100, 0)
    straight = list(feed(few, run, range(14), CPU, 0))
    for mine, theirs in zip(feed(few, run, range(start, 14), CPU, 0), straight[start:], strict=True):
        assert torch.equal(mine.index, theirs.index)
        assert all(torch.equal(a, b) for a, b in zip(mine.views, theirs.views, strict=True))


class _Cuda:
    """Stands for torch.cuda: notes which stream makes a batch, and what the computing one does with it."""

    def __init__(self) -> None:
        self.stream_now, self.notes = "computing", list[str]()

    def Stream(self, device: torch.device) -> str:  # as torch names it
        return "side"

    @contextlib.contextmanager
    def stream(self, name: str) -> Iterator[None]:
        self.stream_now = name
        yield
        self.stream_now = "computing"

    def current_stream(self, device: torch.device) -> _Cuda:
        return self

    def wait_stream(self, name: str) -> None:
        self.notes.append(f"{self.stream_now} waits for {name}")


def test_on_cuda_a_side_stream_makes_batches_and_the_computing_one_waits_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cuda = _Cuda()
    kept: list[torch.Tensor] = []

    def made() -> Iterator[Batch]:
        for step in range(2):
            cuda.notes.append(f"{cuda.stream_now} makes {step}")
            views = (torch.zeros(1), torch.ones(1))
            yield Batch(views=views, index=torch.zeros(1), labels=torch.zeros(1), step=step)

    monkeypatch.setattr(torch, "cuda", cuda)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: kept.append(tensor))
    for batch in on_side_stream(made(), CPU):
        cuda.notes.append(f"{cuda.stream_now} takes {batch.step}")
        assert all(any(tensor is other for other in kept) for tensor in (*batch.views, batch.labels))
    expected = [(f"side makes {step}", "computing waits for side", f"computing takes {step}") for step in range(2)]
    assert cuda.notes == [note for notes in expected for note in notes]


def test_views_of_several_sizes_come_from_disk(pictures: Path) -> None:
    big, small = Augmentation(size=16), Augmentation(size=8)
    run = large("swav", views=(big, big, small), options=(("queue", 0),))
    first = next(feed(read("imagenet", "train", pictures, copy="mini"), run, range(1), CPU, 0))
    assert [view.shape[-1] for view in first.views] == [16, 16, 8]


def test_workers_change_nothing_in_a_run_on_large_images(pictures: Path) -> None:
    records = [
        train(large("simclr+"), pictures / str(workers), pictures, session(workers=workers)) for workers in (0, 2)
    ]
    assert all(record.status == "done" for record in records)
    assert same(*records)


def test_the_features_of_large_images_are_those_of_their_test_crops(pictures: Path) -> None:
    dataset = replace(DATASETS["imagenet"], test_resize=20, view_size=16)
    files = read("imagenet", "test", pictures, copy="mini")
    assert isinstance(files, Files)
    torch.manual_seed(0)
    backbone = build_backbone(Backbone(name="resnet10", width=4), 16)
    one, other = (extract(backbone, files, dataset, "cpu", batch_size=4, workers=workers) for workers in (0, 1))
    assert one.shape == (6, 32)
    assert torch.equal(one, other)


def test_a_picture_that_cannot_be_read_stops_the_run_with_its_name(pictures: Path) -> None:
    broken = pictures / "mini" / "train" / CLASSES[1] / f"{CLASSES[1]}_3.JPEG"
    broken.write_bytes(broken.read_bytes()[:40])
    with pytest.raises(ValueError, match=f"{broken.name}: found an image that cannot be decoded"):
        train(large(), pictures / "runs", pictures, session())
    assert Record(pictures / "runs", large()).status == "failed"


def test_a_narrow_network_trains_on_maps_of_56_pixels(pictures: Path) -> None:
    """In channels-last the process would end here by a segmentation fault (oneDNN in torch 2.11)."""
    view = Augmentation(size=224)
    run = large(views=(view, view), backbone=Backbone(name="resnet10", width=8, stem="large"), epochs=1)
    assert train(run, pictures / "runs", pictures, session()).status == "done"
