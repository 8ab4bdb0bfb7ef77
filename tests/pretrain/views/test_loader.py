"""The loader of large images: what torchvision would cut out, whoever cuts it, and what becomes of broken files."""

from __future__ import annotations

import multiprocessing
import multiprocessing.queues
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from compmod.pretrain.data.imagenet import Files, load_files
from compmod.pretrain.runtime import distributed
from compmod.pretrain.runtime.randomness import generator, permutation, uniform
from compmod.pretrain.specs.datasets import DATASETS
from compmod.pretrain.specs.run import Augmentation
from compmod.pretrain.views import crops as cropping
from compmod.pretrain.views.augment import NUMBERS, Views, crop_boxes
from compmod.pretrain.views.crops import PROBE_VIEW, CentreCrop, RandomCrops, Window
from compmod.pretrain.views.loader import Loaded, batches
from compmod.pretrain.views.requests import requests_in_order, training_requests
from paths import SAMPLES
from PIL import Image
from torch import Tensor
from torchvision.datasets.folder import pil_loader
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as vision

SAMPLE = SAMPLES / "imagenet-sample" / "imagenet-sample-1000.zip"
# mean 0 and standard deviation 1, so that views are in 0..1; and small, for speed
IMAGENET = replace(DATASETS["imagenet"], view_size=24, test_resize=28, mean=(0.0,) * 3, std=(1.0,) * 3)
CROP_AND_FLIP = Augmentation(jitter=0.0, grey=0.0)
LEVEL = 1 / 255
ROUNDING = 1.15 * LEVEL  # Pillow rounds after each axis: half a level, which the second axis may enlarge, and half


def picture(seed: int, height: int, width: int) -> Image.Image:
    """A smooth texture in the middle of the range, where bicubic overshoot is not cut off."""
    coarse = torch.rand(1, 3, height // 8 + 1, width // 8 + 1, generator=generator(seed, "picture"))
    fine = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)
    return Image.fromarray((64 + 128 * fine[0]).byte().permute(1, 2, 0).numpy())


def stored(folder: Path, *pictures: Image.Image, ending: str = "png") -> Files:
    names = [f"{number}.{ending}".encode() for number in range(len(pictures))]
    for name, image in zip(names, pictures, strict=True):
        image.save(folder / name.decode(), quality=95)
    return Files(folder, np.array(names), 100 + np.arange(len(names)))


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return stored(tmp_path, *(picture(number, 30 + 3 * number, 50 - number) for number in range(12)))


def crops(views: int = 2, seed: int = 0, **fields: float) -> RandomCrops:
    return RandomCrops(IMAGENET, [replace(CROP_AND_FLIP, **fields)] * views, seed)  # type: ignore[arg-type]


def one(files: Files, cutter: RandomCrops | CentreCrop, *samples: int, epoch: int = 0) -> Loaded:
    (loaded,) = batches(files, [(epoch, torch.tensor(samples))], cutter, 0)
    return loaded


def read(path: Path) -> Tensor:
    """The pixels of a file by torchvision's reader of image folders, which is Pillow."""
    return torch.from_numpy(np.asarray(pil_loader(str(path))).transpose(2, 0, 1).copy())


def whole(path: Path) -> Tensor:
    """The whole image resized to 24 x 24."""
    return vision.resize(read(path), [24, 24], vision.InterpolationMode.BICUBIC, antialias=True)


@pytest.mark.parametrize("size, crop_min", [(64, 0.2), (40, 0.2), (24, 0.5)])
def test_a_cropped_and_flipped_view_is_the_in_memory_one_to_within_rounding(
    size: int, crop_min: float, tmp_path: Path
) -> None:
    pictures = [picture(number, 64, 64) for number in range(10)]
    index, view = torch.arange(10), replace(CROP_AND_FLIP, size=size, crop_min=crop_min)
    loaded = one(stored(tmp_path, *pictures), RandomCrops(IMAGENET, [view, view], 5), *range(10), epoch=3)
    pixels = torch.stack([read(tmp_path / f"{number}.png") for number in range(10)])
    for number, cropped in enumerate(loaded.pixels):
        views = Views(view, IMAGENET, 5, number)
        expected = views(pixels, index, 3)
        assert (expected - Views(view, IMAGENET, 5, 2)(pixels, index, 3)).abs().max() > 10 * LEVEL
        error = (views.after_crop(cropped, index, 3) - expected).abs()
        assert error.max() < ROUNDING
        assert error.mean() < LEVEL / 3


def test_a_crop_is_torchvisions_of_the_same_box(files: Files) -> None:
    view = replace(PROBE_VIEW, size=20)
    (cropped,) = one(files, RandomCrops(IMAGENET, [view], 7), 2, 9, epoch=4).pixels
    for row, sample in enumerate((2, 9)):
        image = read(files.path(sample))
        numbers = uniform(7, 4, torch.tensor([sample]), 0, NUMBERS)
        (box,) = crop_boxes(view, numbers, torch.tensor([image.shape[1:]])).tolist()
        expected = vision.resized_crop(image, *box, [20, 20], vision.InterpolationMode.BICUBIC, antialias=True)
        assert torch.equal(cropped[row], expected)


def test_at_test_time_the_centre_is_torchvisions(files: Files) -> None:
    transform = v2.Compose([v2.Resize(28, vision.InterpolationMode.BICUBIC, antialias=True), v2.CenterCrop(24)])
    expected = [transform(read(files.path(index))) for index in range(12)]
    (cropped,) = one(files, CentreCrop(IMAGENET), *range(12)).pixels
    assert torch.equal(cropped, torch.stack(expected))


def test_without_cropping_the_whole_image_is_resized(files: Files) -> None:
    (cropped,) = one(files, crops(1, crop=0.0), 4).pixels
    assert torch.equal(cropped[0], whole(files.path(4)))


def test_views_may_differ_in_size(files: Files) -> None:
    large, small = Augmentation(), Augmentation(size=10, crop_min=0.05, crop_max=0.14)
    loaded = one(files, RandomCrops(IMAGENET, [large, large, small, small, small], 0), 3, 1)
    assert [view.shape[1:] for view in loaded.pixels] == [(3, 24, 24)] * 2 + [(3, 10, 10)] * 3
    assert not torch.equal(loaded.pixels[2], loaded.pixels[3])


def test_samples_and_labels_come_with_the_pixels(files: Files) -> None:
    loaded = one(files, crops(), 3, 1, 8)
    assert (loaded.samples.tolist(), loaded.labels.tolist()) == ([3, 1, 8], [103, 101, 108])


def test_a_crop_is_a_function_of_seed_epoch_sample_and_view_alone(files: Files) -> None:
    whole, alone = one(files, crops(), *range(12), epoch=2), one(files, crops(), 7, epoch=2)
    assert all(torch.equal(ours[7], theirs[0]) for ours, theirs in zip(whole.pixels, alone.pixels, strict=True))
    others = [one(files, crops(seed=1), 7, epoch=2), one(files, crops(), 7, epoch=3)]
    assert all(not torch.equal(alone.pixels[0], other.pixels[0]) for other in others)
    assert not torch.equal(alone.pixels[0], alone.pixels[1])


def equal(ours: list[Loaded], theirs: list[Loaded]) -> bool:
    pairs = [
        (one, other)
        for mine, yours in zip(ours, theirs, strict=True)
        for one, other in zip([*mine.pixels, *mine[1:]], [*yours.pixels, *yours[1:]], strict=True)
    ]
    return all(torch.equal(one, other) for one, other in pairs)


def test_worker_processes_make_the_same_batches_in_the_same_order(files: Files) -> None:
    made = [list(batches(files, training_requests(12, 4, 0, range(2, 9)), crops(), count)) for count in (0, 2)]
    assert len(made[0]) == 7
    assert equal(*made)
    assert multiprocessing.active_children() == []


def test_a_resumed_run_gets_the_batches_it_would_have_got(files: Files) -> None:
    whole, rest = (
        list(batches(files, training_requests(12, 5, 0, steps), crops(), 0)) for steps in (range(6), range(3, 6))
    )
    assert equal(whole[3:], rest)


@pytest.mark.parametrize("world", [2, 4])
def test_the_processes_shares_make_up_the_batch(world: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [index for _, index in training_requests(50, 8, 3, range(9))]
    monkeypatch.setattr(distributed, "world", lambda: world)
    shares = []
    for rank in range(world):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        shares.append([index for _, index in training_requests(50, 8, 3, range(9))])
    for step, index in enumerate(whole):
        assert torch.equal(torch.cat([share[step] for share in shares]), index)


def test_an_epoch_visits_its_permutation_and_drops_the_ragged_batch() -> None:
    asked = list(training_requests(14, 4, 9, range(6)))
    assert [epoch for epoch, _ in asked] == [0, 0, 0, 1, 1, 1]
    for epoch in (0, 1):
        visited = torch.cat([index for number, index in asked if number == epoch])
        assert torch.equal(visited, permutation(9, epoch, 14)[:12])


def test_a_batch_larger_than_the_data_is_refused() -> None:
    with pytest.raises(ValueError, match="batch_size 15 is more than the 14 images; valid: 1 to 14"):
        next(training_requests(14, 15, 0, range(1)))


def test_requests_in_order_ask_for_every_image_once() -> None:
    asked = [index.tolist() for _, index in requests_in_order(7, 3)]
    assert asked == [[0, 1, 2], [3, 4, 5], [6]]


@pytest.mark.parametrize("mode", ["CMYK", "L", "P", "RGBA", "1"])
def test_other_colours_become_rgb_as_torchvision_reads_them(mode: str, tmp_path: Path) -> None:
    image = picture(0, 30, 30).convert(mode)
    files = stored(tmp_path, image, ending="jpg" if mode == "CMYK" else "png")
    assert torch.equal(one(files, crops(1, crop=0.0), 0).pixels[0][0], whole(files.path(0)))


def test_16_bit_grey_is_scaled_to_8(tmp_path: Path) -> None:
    grey = picture(0, 30, 30).convert("L")
    deep, plain = tmp_path / "deep", tmp_path / "plain"
    deep.mkdir()
    plain.mkdir()
    both = (stored(deep, Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)), stored(plain, grey))
    found, expected = (one(files, crops(1, crop=0.0), 0).pixels[0] for files in both)
    assert torch.equal(found, expected)


def test_orientation_in_exif_is_ignored_as_torchvision_does(tmp_path: Path) -> None:
    image = picture(0, 30, 44)
    exif = image.getexif()
    exif[0x0112] = 6  # turn it by a quarter
    image.save(tmp_path / "0.jpg", exif=exif)
    files = Files(tmp_path, np.array([b"0.jpg"]), np.array([0]))
    assert torch.equal(one(files, crops(1, crop=0.0), 0).pixels[0][0], whole(files.path(0)))


@pytest.mark.parametrize("crop_min", [0.99, 0.3, 0.05])
def test_a_large_jpeg_is_decoded_whole(crop_min: float, tmp_path: Path) -> None:
    cutter = crops(2, crop_min=crop_min, crop_max=crop_min + 0.01)
    files = stored(tmp_path, picture(0, 403, 401), ending="jpg")
    lossless = stored(tmp_path, pil_loader(str(files.path(0))))  # the same pixels as PNG
    for cropped, expected in zip(one(files, cutter, 0).pixels, one(lossless, cutter, 0).pixels, strict=True):
        assert torch.equal(cropped, expected)


def test_a_crop_of_its_final_size_is_the_images_own_pixels() -> None:
    pixels = torch.randint(0, 256, (3, 40, 50), dtype=torch.uint8, generator=generator(0, "noise"))
    assert torch.equal(cropping._resized(pixels, Window((7, 5, 31, 29), (24, 24), 24)), pixels[:, 5:29, 7:31])


@pytest.mark.parametrize("box", [(0, 0, 1, 1), (3, 0, 4, 300), (0, 0, 400, 2), (10, 20, 390, 290), (50, 60, 80, 70)])
def test_a_crop_of_any_shape_is_near_exact_bicubic_interpolation(box: tuple[int, int, int, int]) -> None:
    pixels = torch.from_numpy(np.asarray(picture(1, 300, 400)).transpose(2, 0, 1).copy())
    left, top, right, bottom = box
    part = pixels[None, :, top:bottom, left:right].double()
    exact = torch.nn.functional.interpolate(part, (24, 24), mode="bicubic", antialias=True)[0]
    error = cropping._resized(pixels, Window(box, (24, 24), 24)).double() - exact
    assert error.abs().max() < 1.5


# Of noise, which shows a change of any weight; also with the channels last in memory, as decoders give them.
LEVELS = """
import hashlib, sys
import torch
from compmod.pretrain.views.crops import Window, _resized

noise = torch.randint(0, 256, (3, 375, 500), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
digest = hashlib.sha256()
for box in ((0, 0, 500, 375), (17, 31, 380, 290), (100, 200, 131, 229), (3, 4, 227, 228), (8, 9, 12, 370)):
    for pixels in (noise, noise.permute(1, 2, 0).contiguous().permute(2, 0, 1)):
        for resized, size in (((224, 224), 224), ((341, 256), 224), ((96, 96), 96)):
            digest.update(_resized(pixels, Window(box, resized, size)).contiguous().numpy().tobytes())
said = torch.backends.cpu.get_cpu_capability(), digest.hexdigest()
print(*said)
"""


def test_crops_do_not_depend_on_the_processors_instructions_or_on_threads() -> None:
    plain = subprocess.run(
        [sys.executable, "-c", LEVELS],
        env=os.environ | {"ATEN_CPU_CAPABILITY": "default"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    kind, expected = plain.stdout.split()
    assert kind not in ("AVX2", "AVX512")
    before = torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        here: dict[str, Any] = {}
        exec(LEVELS, here)
        assert here["said"][1] == expected
    torch.set_num_threads(before)


def broken(files: Files) -> Path:
    path = files.path(5)
    path.write_bytes(path.read_bytes()[:700])
    return path


@pytest.mark.parametrize("workers", [0, 1])
def test_a_truncated_image_is_one_line_that_names_it_and_ends_the_workers(workers: int, files: Files) -> None:
    path = broken(files)
    with pytest.raises(ValueError, match=rf"^{path}: found an image that cannot be decoded \(.*\)") as caught:
        list(batches(files, requests_in_order(12, 4), crops(), workers))
    assert "\n" not in str(caught.value)
    assert multiprocessing.active_children() == []


def test_batches_before_a_truncated_image_are_delivered(files: Files) -> None:
    broken(files)
    made = batches(files, requests_in_order(12, 4), crops(), 0)
    assert next(made).samples.tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="cannot be decoded"):
        next(made)


@pytest.mark.parametrize("content", [None, b"", b"not an image", b"\xff\xd8\xff\xe0"])
def test_a_missing_or_foreign_file_is_named(content: bytes | None, files: Files) -> None:
    path = files.path(5)
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"^{path}: found an image that cannot be decoded"):
        one(files, crops(), 5)


def test_a_truncated_jpeg_is_named(tmp_path: Path) -> None:
    files = stored(tmp_path, *(picture(number, 100, 100) for number in range(6)), ending="jpg")
    with pytest.raises(ValueError, match=rf"^{broken(files)}: .*truncated"):
        one(files, crops(), 5)


JOB = """
import multiprocessing, os, signal, sys
from pathlib import Path
import numpy as np
from compmod.pretrain.views.crops import CentreCrop
from compmod.pretrain.specs.datasets import DATASETS
from compmod.pretrain.data.imagenet import Files
from compmod.pretrain.views.loader import batches
from compmod.pretrain.views.requests import training_requests

files = Files(Path(sys.argv[1]), np.array([b"0.png"] * 8), np.arange(8))
made = batches(files, training_requests(8, 4, 0, range(30)), CentreCrop(DATASETS["imagenet"]), 1)
next(made)
(worker,) = multiprocessing.active_children()
print(worker.pid, flush=True)
"""
SIGNALLED = """
for number in (signal.SIGTERM, signal.SIGUSR2):
    signal.signal(number, lambda *_: None)
    os.killpg(0, number)
print(sum(1 for _ in made))
"""


def job(files: Files, ending: str) -> tuple[int, list[str], str]:
    """Exit status, lines of output and errors of a process that loads by a worker and then does `ending`."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", JOB + ending, str(files.folder)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(part for part in sys.path if part)},
        capture_output=True,
        text=True,
        timeout=60,
        start_new_session=True,
    )
    return done.returncode, done.stdout.split(), done.stderr


def test_signals_to_a_whole_job_leave_the_loading_to_go_on(files: Files) -> None:
    status, said, errors = job(files, SIGNALLED)
    assert (status, said[1:], errors) == (0, ["29"], "")


def test_a_process_may_end_in_the_middle_of_loading(files: Files) -> None:
    status, said, errors = job(files, "raise SystemExit(75)")
    assert (status, len(said), errors) == (75, 1, "")


def test_the_threads_that_feed_workers_end_with_the_iterator(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    feed = multiprocessing.queues.Queue._feed  # type: ignore[attr-defined]

    def late(*arguments: Any) -> None:
        feed(*arguments)
        time.sleep(0.3)

    monkeypatch.setattr(multiprocessing.queues.Queue, "_feed", staticmethod(late))
    before = threading.enumerate()
    made = batches(files, training_requests(8, 4, 0, range(30)), CentreCrop(DATASETS["imagenet"]), 1)
    next(made)
    assert [thread.name for thread in threading.enumerate() if thread not in before] == ["QueueFeederThread"]
    made.close()
    assert [thread.name for thread in threading.enumerate() if thread not in before] == []


def test_workers_end_with_a_process_that_was_killed(files: Files) -> None:
    status, said, _ = job(files, "os.kill(os.getpid(), signal.SIGKILL)")
    assert status == -signal.SIGKILL
    until = time.monotonic() + 20
    while alive(int(said[0])) and time.monotonic() < until:
        time.sleep(0.05)
    assert not alive(int(said[0]))


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_leaving_early_ends_the_workers(files: Files) -> None:
    made = batches(files, training_requests(12, 4, 0, range(10**9)), crops(), 1)
    next(made)
    assert len(multiprocessing.active_children()) == 1
    started = time.monotonic()
    made.close()
    assert multiprocessing.active_children() == []
    assert time.monotonic() - started < 5


def test_loading_neither_reads_nor_moves_the_global_random_state(files: Files) -> None:
    before = torch.random.get_rng_state()
    one(files, crops(), 1, 2)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_negative_number_of_workers_is_refused(files: Files) -> None:
    with pytest.raises(ValueError, match="workers must be at least 0, not -1"):
        next(batches(files, requests_in_order(2, 1), crops(), -1))


@pytest.mark.real_images
def test_crops_of_real_images_are_torchvisions_and_near_pillows(tmp_path: Path) -> None:
    with zipfile.ZipFile(SAMPLE) as archive:
        archive.extractall(tmp_path, [name for name in archive.namelist() if name.endswith(".JPEG")][::25])
    paths = sorted(tmp_path.rglob("*.JPEG"))
    files = Files(tmp_path, np.array([str(path.relative_to(tmp_path)).encode() for path in paths]), np.zeros(40, int))
    view = replace(PROBE_VIEW, size=64)
    (cropped,) = one(files, RandomCrops(IMAGENET, [view], 7), *range(40)).pixels
    numbers, off = uniform(7, 0, torch.arange(40), 0, NUMBERS), []
    for row, path in enumerate(paths):
        image = pil_loader(str(path))
        (box,) = crop_boxes(view, numbers[row : row + 1], torch.tensor([[image.height, image.width]])).tolist()
        bicubic = vision.InterpolationMode.BICUBIC
        assert torch.equal(cropped[row], vision.resized_crop(read(path), *box, [64, 64], bicubic, antialias=True))
        by_pillow = vision.pil_to_tensor(vision.resized_crop(image, *box, [64, 64], bicubic))
        off.append((cropped[row].int() - by_pillow.int()).abs())
    assert torch.stack(off).max() <= 5
    assert (torch.stack(off) > 0).float().mean() < 0.05


@pytest.mark.real_images
def test_the_real_sample_is_read_whole_and_looks_like_imagenet(tmp_path: Path) -> None:
    with zipfile.ZipFile(SAMPLE) as archive:
        archive.extractall(tmp_path)
    files = load_files("imagenet", "train", tmp_path, copy="imagenet-sample")
    pixels = torch.cat([loaded.pixels[0] for loaded in batches(files, requests_in_order(1000, 250), crops(1), 0)])
    assert len(pixels) == 1000
    mean, std = pixels.float().mean((0, 2, 3)) / 255, pixels.float().std((0, 2, 3)) / 255
    assert mean.tolist() == pytest.approx(DATASETS["imagenet"].mean, abs=0.02)
    assert std.tolist() == pytest.approx(DATASETS["imagenet"].std, abs=0.06)
