"""Views: functions of seed, epoch, sample and view alone, and distributed as torchvision's transforms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from compmod.pretrain.runtime.randomness import generator, uniform
from compmod.pretrain.specs.datasets import DATASETS, Dataset
from compmod.pretrain.specs.run import Augmentation
from compmod.pretrain.views.augment import (
    NUMBERS,
    Operation,
    Views,
    _together,
    augment,
    augment_crops,
    crop_boxes,
    draw,
    make_views,
)
from PIL import Image
from scipy.stats import chisquare, ks_2samp, kstest  # type: ignore[import-untyped]
from tolerance import rounding
from torch import Tensor
from torchvision.transforms import v2

CIFAR = DATASETS["cifar10"]
PLAIN = Augmentation(jitter=0, grey=0, crop=0, flip=0)
EVERYTHING = Augmentation(rotation=0.5, blur=0.5, solarize=0.3, grey=0.2)
# Of normalised values in float32. A value up to 1 passes two bicubic sums of 4 terms, two of a blur of 3, three blends
# of 4 and a turned hue (ten operations on a circle of 6 sextants); dividing by the deviation enlarges what it is off.
TOLERANCE = rounding(torch.float32, 2 * 4 + 2 * 3 + 3 * 4 + 10 * 6) / min(CIFAR.std)
SAMPLE = 2000  # views compared in distribution
WRONG = {"jitter": 0.6, "brightness": 0.2, "contrast": 0.8, "saturation": 0.8, "hue": 0.05}
WRONG |= {"grey": 0.3, "crop_min": 0.05, "flip": 0.35, "blur": 0.1, "solarize": 0.3}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def random_uint8(images: int, side: int = 32) -> Tensor:
    shape = (images, 3, side, side)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator(0, "pixels"))


def test_a_view_is_a_function_of_seed_epoch_sample_and_view_alone() -> None:
    pixels, index = random_uint8(70), torch.arange(100, 170)
    whole = Views(EVERYTHING, CIFAR, 3, 1)(pixels, index, 5)
    order = torch.randperm(70, generator=generator(0, "order"))
    shuffled = Views(EVERYTHING, CIFAR, 3, 1)(pixels[order], index[order], 5)
    torch.testing.assert_close(shuffled, whole[order], rtol=0, atol=TOLERANCE)
    alone = Views(EVERYTHING, CIFAR, 3, 1)(pixels[7:8], index[7:8], 5)
    torch.testing.assert_close(alone, whole[7:8], rtol=0, atol=TOLERANCE)


def test_the_same_call_gives_the_same_bits() -> None:
    pixels, index = random_uint8(70), torch.arange(70)
    assert torch.equal(
        Views(EVERYTHING, CIFAR, 3, 1)(pixels, index, 5), Views(EVERYTHING, CIFAR, 3, 1)(pixels, index, 5)
    )


@pytest.mark.parametrize("seed, view, epoch", [(1, 0, 0), (0, 1, 0), (0, 0, 1)])
def test_another_seed_view_or_epoch_gives_another_view(seed: int, view: int, epoch: int) -> None:
    pixels, index = random_uint8(8), torch.arange(8)
    first = Views(Augmentation(), CIFAR, 0, 0)(pixels, index, 0)
    second = Views(Augmentation(), CIFAR, seed, view)(pixels, index, epoch)
    assert ((first - second).abs().amax((1, 2, 3)) > 0.01).sum() >= 6


def test_the_pixels_are_left_as_they_were() -> None:
    pixels = random_uint8(8)
    kept = pixels.clone()
    Views(EVERYTHING, CIFAR, 0, 0)(pixels, torch.arange(8), 0)
    assert torch.equal(pixels, kept)


def test_without_augmentation_a_view_is_the_normalised_image() -> None:
    pixels = random_uint8(8)
    expected = (pixels / 255 - torch.tensor(CIFAR.mean)[:, None, None]) / torch.tensor(CIFAR.std)[:, None, None]
    torch.testing.assert_close(Views(PLAIN, CIFAR, 0, 0)(pixels, torch.arange(8), 0), expected, rtol=0, atol=TOLERANCE)


def test_a_view_has_the_data_sets_size_unless_the_augmentation_says_otherwise() -> None:
    pixels, index = random_uint8(2, 96), torch.arange(2)
    stl = DATASETS["stl10"]
    assert Views(Augmentation(), stl, 0, 0)(pixels, index, 0).shape == (2, 3, 64, 64)
    assert Views(Augmentation(size=40), stl, 0, 0)(pixels, index, 0).shape == (2, 3, 40, 40)


@pytest.mark.parametrize(
    "pixels, index",
    [
        (torch.zeros(2, 3, 8, 8), torch.arange(2)),
        (torch.zeros(2, 8, 8, 3, dtype=torch.uint8), torch.arange(2)),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.arange(3)),
    ],
)
def test_anything_but_uint8_images_with_an_index_each_is_refused(pixels: Tensor, index: Tensor) -> None:
    with pytest.raises(ValueError, match="expected uint8 images x 3 x height x width and an index for each, not"):
        Views(Augmentation(), CIFAR, 0, 0)(pixels, index, 0)


@pytest.mark.parametrize("changes", [{"flip": 0.0, "rotation": 0.5}, {"flip": 0.5}])
def test_after_a_crop_of_the_whole_image_a_view_is_the_in_memory_one(changes: dict[str, float]) -> None:
    pixels, index = random_uint8(40), torch.arange(40)
    recipe = Augmentation(crop=0.0, blur=0.5, solarize=0.3, grey=0.2, **changes)  # type: ignore[arg-type]
    views = Views(recipe, CIFAR, 3, 1)
    torch.testing.assert_close(views.after_crop(pixels, index, 5), views(pixels, index, 5), rtol=0, atol=TOLERANCE)


def test_a_crop_is_flipped_before_it_is_rotated() -> None:
    pixels = random_uint8(4)
    recipe = Augmentation(jitter=0.0, grey=0.0, flip=1.0, rotation=1.0)
    flipped = Views(recipe, CIFAR, 0, 0).after_crop(pixels, torch.arange(4), 0)
    mirrored = Views(replace(recipe, flip=0.0), CIFAR, 0, 0).after_crop(pixels.flip(3), torch.arange(4), 0)
    assert torch.equal(flipped, mirrored)


@pytest.mark.parametrize("shape", [(2, 3, 32, 31), (2, 3, 40, 40), (3, 3, 32, 32), (2, 1, 32, 32)])
def test_a_crop_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected uint8 crops, images x 3 x 32 x 32, and an index for each, not"):
        Views(Augmentation(), CIFAR, 0, 0).after_crop(torch.zeros(shape, dtype=torch.uint8), torch.arange(2), 0)


@pytest.mark.parametrize("operation", [augment, augment_crops])
def test_views_that_a_gpu_makes_together_are_those_made_alone(operation: Operation) -> None:
    """Views of different augmentations, in pieces that end within a view."""
    pixels, index = [random_uint8(40), random_uint8(40).flip(2)], torch.arange(40)
    views = [Views(EVERYTHING, CIFAR, 3, 0), Views(Augmentation(blur=0.9, grey=0.0, crop_min=0.5), CIFAR, 3, 1)]
    together = _together(views, pixels, index, 5, operation)
    alone = [_together([view], [own], index, 5, operation) for view, own in zip(views, pixels, strict=True)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=TOLERANCE)


def test_each_view_of_several_has_its_own_size() -> None:
    pixels, index = random_uint8(6), torch.arange(6)
    views = [Views(Augmentation(size=size), CIFAR, 0, number) for number, size in enumerate((16, 8, 16))]
    made = make_views(views, pixels, index, 2)
    for view, one in zip(made, views, strict=True):
        assert torch.equal(view, one(pixels, index, 2))


def test_boxes_of_images_of_different_sizes_are_those_of_each_alone() -> None:
    sides = torch.tensor([[375, 500], [20, 70], [64, 64], [900, 33]])
    numbers = uniform(0, 0, torch.arange(4), 0, NUMBERS)
    together = crop_boxes(Augmentation(crop_min=0.5, crop=0.8), numbers, sides)
    for row, (height, width) in enumerate(sides.tolist()):
        alone = draw(Augmentation(crop_min=0.5, crop=0.8), numbers[row : row + 1], height, width).boxes_N4
        assert torch.equal(together[row : row + 1], alone)


def v2_pipeline(recipe: Augmentation, dataset: Dataset) -> v2.Compose:
    """The same views by torchvision's transforms, one PIL image at a time."""
    size = recipe.size or dataset.view_size
    jitter = v2.ColorJitter(recipe.brightness, recipe.contrast, recipe.saturation, recipe.hue)
    return v2.Compose(
        [
            v2.RandomApply([jitter], recipe.jitter),
            v2.RandomGrayscale(recipe.grey),
            v2.RandomResizedCrop(size, (recipe.crop_min, recipe.crop_max), interpolation=v2.InterpolationMode.BICUBIC),
            v2.RandomHorizontalFlip(recipe.flip),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.RandomApply([v2.GaussianBlur(3, (recipe.blur_sigma_min, recipe.blur_sigma_max))], recipe.blur),
            v2.RandomSolarize(0.5, recipe.solarize),
            v2.Normalize(list(dataset.mean), list(dataset.std)),
        ]
    )


def summaries(views_NCHW: Tensor) -> Tensor:
    """What a view looks like in a dozen numbers, one row a view, each sensitive to some operation."""
    x_NCHW = views_NCHW * torch.tensor(CIFAR.std)[:, None, None] + torch.tensor(CIFAR.mean)[:, None, None]
    means = x_NCHW.mean((2, 3))
    red, green, blue = means.unbind(1)
    hue = torch.atan2(3**0.5 * (green - blue), 2 * red - green - blue)
    saturation = 1 - means.amin(1) / means.amax(1)
    left, top = x_NCHW[..., :16].mean((1, 2, 3)), x_NCHW[:, :, :8].mean((1, 2, 3))
    roughness = x_NCHW.diff(dim=3).abs().mean((1, 2, 3))
    columns = torch.stack([hue, saturation, left, top, left - top, roughness, red - blue], dim=1)
    return torch.cat([means, x_NCHW.std((2, 3)), columns], dim=1)


def worst_p_value(first: Tensor, second: Tensor) -> float:
    """Smallest two-sample Kolmogorov-Smirnov p-value over the summaries, corrected for their number."""
    pairs = zip(summaries(first).T, summaries(second).T, strict=True)
    values = [float(ks_2samp(a.numpy(), b.numpy()).pvalue) for a, b in pairs]
    return min(1.0, min(values) * len(values))


def picture() -> Tensor:
    """Reddish texture, brighter to the right: crops look alike, so that differences of colour stand out."""
    texture = 0.2 * torch.randn(1, 32, 32, generator=generator(0, "texture")).clamp(-1, 1)
    base = torch.tensor([0.65, 0.4, 0.3])[:, None, None] + torch.linspace(-0.1, 0.1, 32)
    return ((base + texture).clamp(0, 1) * 255).byte()


@pytest.fixture(scope="module")
def their_views() -> Tensor:
    recipe = Augmentation(blur=0.3, solarize=0.2)
    image, pipeline = Image.fromarray(picture().permute(1, 2, 0).numpy()), v2_pipeline(recipe, CIFAR)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torch.stack([pipeline(image) for _ in range(SAMPLE)])


def our_views(**changes: float) -> Tensor:
    recipe = replace(Augmentation(blur=0.3, solarize=0.2), **changes)  # type: ignore[arg-type]
    pixels = picture().expand(SAMPLE, -1, -1, -1)
    return Views(recipe, CIFAR, 0, 0)(pixels, torch.arange(SAMPLE), 0)


def test_whole_views_are_distributed_as_torchvisions(their_views: Tensor) -> None:
    assert worst_p_value(our_views(), their_views) > 1e-3


@pytest.mark.parametrize("setting, wrong", WRONG.items())
def test_the_comparison_notices_a_wrong_setting(their_views: Tensor, setting: str, wrong: float) -> None:
    assert worst_p_value(our_views(**{setting: wrong}), their_views) < 1e-3


@pytest.mark.parametrize("height, width, crop_min", [(32, 32, 0.2), (32, 32, 0.01), (96, 96, 0.08), (20, 70, 0.5)])
def test_boxes_are_distributed_as_torchvisions(height: int, width: int, crop_min: float) -> None:
    crop = v2.RandomResizedCrop(32, (crop_min, 1.0))
    image = torch.zeros(3, height, width)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = [crop.make_params([image]) for _ in range(SAMPLE)]
    theirs = torch.tensor([[box["top"], box["left"], box["height"], box["width"]] for box in drawn])
    numbers = uniform(0, 0, torch.arange(SAMPLE), 0, NUMBERS)
    ours = draw(Augmentation(crop_min=crop_min), numbers, height, width).boxes_N4
    for name, our, their in zip(("top", "left", "height", "width"), ours.T, theirs.T, strict=True):
        assert ks_2samp(our.numpy(), their.numpy()).pvalue > 1e-3, name
    aspect = [(boxes[:, 3] / boxes[:, 2]).numpy() for boxes in (ours, theirs)]
    assert ks_2samp(*aspect).pvalue > 1e-3


def test_boxes_lie_inside_the_image() -> None:
    numbers = uniform(0, 0, torch.arange(20_000), 0, NUMBERS)
    for height, width in ((32, 32), (7, 40), (40, 7), (1, 1)):
        top, left, tall, wide = draw(Augmentation(crop_min=0.01), numbers, height, width).boxes_N4.T
        assert min(int(top.min()), int(left.min())) >= 0
        assert min(int(tall.min()), int(wide.min())) >= 1
        assert int((top + tall).max()) <= height
        assert int((left + wide).max()) <= width


def test_each_of_the_24_orders_of_the_jitter_is_equally_likely() -> None:
    count = 24_000
    parameters = draw(Augmentation(jitter=1.0), uniform(0, 0, torch.arange(count), 0, NUMBERS), 32, 32)
    saturation, contrast = (parameters.blends_N43[:, :, column] != 0 for column in (1, 2))
    kind = torch.where(parameters.turned_N4, 3, torch.where(saturation, 2, torch.where(contrast, 1, 0)))
    assert torch.equal(kind.sort(1).values, torch.arange(4).expand(count, 4))
    orders = torch.bincount(kind @ torch.tensor([64, 16, 4, 1]))
    assert chisquare(orders[orders > 0].numpy()).pvalue > 1e-3
    assert int((orders > 0).sum()) == 24


@pytest.mark.parametrize(
    "field, switch",
    [
        ("grey", "grey_N"),
        ("rotation", "rotated_N"),
        ("flip", "flipped_N"),
        ("blur", "blurred_N"),
        ("solarize", "solarized_N"),
    ],
)
def test_switches_come_on_with_their_probability(field: str, switch: str) -> None:
    count = 20_000
    recipe = replace(Augmentation(), **{field: 0.3})  # type: ignore[arg-type]
    parameters = draw(recipe, uniform(0, 0, torch.arange(count), 0, NUMBERS), 32, 32)
    share = float(getattr(parameters, switch).double().mean())
    assert abs(share - 0.3) < 5 * (0.3 * 0.7 / count) ** 0.5


def test_continuous_parameters_are_uniform_between_their_bounds() -> None:
    count = 5000
    recipe = Augmentation(
        jitter=1.0, brightness=0.3, contrast=0.6, saturation=1.5, hue=0.2, rotation_degrees=20, blur_sigma_min=0.5
    )
    parameters = draw(recipe, uniform(0, 0, torch.arange(count), 0, NUMBERS), 32, 32)
    saturation, contrast = (1 - parameters.blends_N43[:, :, column].sum(1) for column in (1, 2))
    bounds = {
        "brightness": (parameters.blends_N43[:, :, 0].prod(1) / saturation / contrast, 0.7, 1.3),
        "contrast": (contrast, 0.4, 1.6),
        "saturation": (saturation, 0, 2.5),
        "hue": (parameters.hue_N, -0.2, 0.2),
        "rotation": (parameters.degrees_N, -20, 20),
        "blur": (parameters.sigma_N, 0.5, 2),
    }
    for name, (values, least, most) in bounds.items():
        assert kstest((values.numpy() - least) / (most - least), "uniform").pvalue > 1e-3, name


def test_jitter_is_skipped_with_the_complement_of_its_probability() -> None:
    count = 20_000
    parameters = draw(Augmentation(jitter=0.8), uniform(0, 0, torch.arange(count), 0, NUMBERS), 32, 32)
    untouched = (parameters.blends_N43 == torch.tensor([1.0, 0, 0])).all(2).all(1) & ~parameters.turned_N4.any(1)
    assert abs(float(untouched.double().mean()) - 0.2) < 5 * (0.2 * 0.8 / count) ** 0.5
