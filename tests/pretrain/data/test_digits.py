"""Digits: the embedded data set is deterministic, splits by glyph, and is neither trivial nor illegible."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from compmod.pretrain.data import digits
from compmod.pretrain.data.images import Images, validation_split
from compmod.pretrain.data.load import load
from compmod.pretrain.specs.datasets import DATASETS
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

# Of the training images and labels; a change means that every demo table was measured on other images.
GOLDEN = "c8be3ab8551f92d6cdd378693a48663dfc79fe87fe53de305966fb4a907b00fa"
PRINT_DIGEST = (
    "from pathlib import Path; from compmod.pretrain.data.load import load; "
    "print(load('digits', 'train', Path()).digest)"
)


@pytest.fixture(scope="module")
def train() -> Images:
    return load("digits", "train", Path())


@pytest.fixture(scope="module")
def held_out() -> Images:
    return load("digits", "test", Path())


def test_the_training_images_are_those_of_the_release(train: Images) -> None:
    found = train.digest
    assert found == GOLDEN, f"the rendering changed: digest {found}; if meant, renew GOLDEN and docs/tables.md"


def test_another_process_renders_the_same_images(train: Images) -> None:
    out = subprocess.run([sys.executable, "-c", PRINT_DIGEST], capture_output=True, text=True, check=True).stdout
    assert out.strip() == train.digest


def test_both_splits_are_as_large_as_the_entry_says(train: Images, held_out: Images) -> None:
    entry = DATASETS["digits"]
    assert train.pixels.shape == (entry.train_images, 3, entry.size, entry.size)
    assert held_out.pixels.shape == (entry.test_images, 3, entry.size, entry.size)


def test_no_glyph_is_in_both_splits_and_none_is_lost(train: Images, held_out: Images) -> None:
    assert set(train.groups.tolist()).isdisjoint(held_out.groups.tolist())
    assert len({*train.groups.tolist(), *held_out.groups.tolist()}) == 1797


def test_labels_are_those_of_the_glyphs(held_out: Images) -> None:
    assert (held_out.labels == load_digits().target[held_out.groups]).all()


def test_pretraining_sees_the_training_images(train: Images) -> None:
    assert load("digits", "pretrain", Path()).digest == train.digest


def test_a_copy_of_digits_is_refused() -> None:
    with pytest.raises(ValueError, match="digits is embedded and has no copies; leave out copy 'mine'"):
        load("digits", "train", Path(), copy="mine")


def test_a_validation_split_parts_no_glyph(train: Images) -> None:
    kept, validation = validation_split(train, seed=0)
    assert set(kept.groups.tolist()).isdisjoint(validation.groups.tolist())


def test_renderings_of_one_glyph_differ(held_out: Images) -> None:
    distinct = {hashlib.sha256(image.tobytes()).digest() for image in held_out.pixels}
    assert len(distinct) == len(held_out)


def test_an_image_depends_on_seed_and_index_and_not_on_the_other_images() -> None:
    ink, draws = np.random.default_rng(0).random((6, 8, 8)), np.random.default_rng(1).random((6, digits.NUMBERS))
    assert (digits.paint(ink, draws)[4:5] == digits.paint(ink[4:5], draws[4:5])).all()


def test_another_seed_renders_the_same_glyphs_otherwise(held_out: Images) -> None:
    pixels, labels, glyphs = digits.render("test", seed=1)
    assert (labels == held_out.labels).all()
    assert (glyphs == held_out.groups).all()
    assert (pixels != held_out.pixels).any(axis=(1, 2, 3)).all()


def test_the_entry_holds_the_mean_and_deviation_of_the_training_images(train: Images) -> None:
    pixels = train.pixels / 255
    assert pixels.mean(axis=(0, 2, 3)) == pytest.approx(DATASETS["digits"].mean, abs=6e-4)
    assert pixels.std(axis=(0, 2, 3)) == pytest.approx(DATASETS["digits"].std, abs=6e-4)


def test_ink_is_legible_against_every_background() -> None:
    draws = np.random.default_rng(0).random((500, digits.NUMBERS))
    full, none = digits.paint(np.ones((500, 8, 8)), draws), digits.paint(np.zeros((500, 8, 8)), draws)
    contrast = np.abs(full[:, :, 8, 8] / 255 - none[:, :, 8, 8] / 255)
    assert contrast.max(axis=1).min() > 0.15


def test_glyphs_are_lighter_and_darker_than_their_backgrounds() -> None:
    draws = np.random.default_rng(0).random((500, digits.NUMBERS))
    full, none = digits.paint(np.ones((500, 8, 8)), draws), digits.paint(np.zeros((500, 8, 8)), draws)
    lighter = (full[:, :, 8, 8].mean(axis=1) > none[:, :, 8, 8].mean(axis=1)).mean()
    assert 0.3 < lighter < 0.7


def test_nearest_neighbours_on_raw_pixels_do_badly(train: Images, held_out: Images) -> None:
    neighbours = KNeighborsClassifier(5, algorithm="brute").fit(train.pixels.reshape(len(train), -1), train.labels)
    assert 0.1 < neighbours.score(held_out.pixels.reshape(len(held_out), -1), held_out.labels) < 0.6
