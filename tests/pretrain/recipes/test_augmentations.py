"""Table 4's rows and Table 7's cells against what the paper printed."""

from __future__ import annotations

import csv

import pytest
from compmod.pretrain.recipes.augmentations import augmentation_row
from compmod.pretrain.recipes.fusions import FUSIONS, fusion_variant
from compmod.pretrain.specs.run import Augmentation, Comprehensive
from paths import ROOT

PRINTED = list(csv.DictReader((ROOT / "tables" / "paper" / "paper_tables.csv").read_text().splitlines()))
ON = {  # the printed switch: field and its probability when on, recipe S
    "horizontal flip": ("flip", 0.5),
    "rotate": ("rotation", 1.0),
    "random crop": ("crop", 1.0),
    "random grey": ("grey", 0.1),
    "color jitter": ("jitter", 0.8),
}
SWITCHES = [
    (int(line["row"]), line["column"], line["value"] == "1")
    for line in PRINTED
    if line["table"] == "4" and line["metric"] == "switch"
]


def test_the_paper_prints_five_switches_for_each_of_eight_rows() -> None:
    assert sorted({(row, name) for row, name, _ in SWITCHES}) == sorted(
        (row, name) for row in range(1, 9) for name in ON
    )


@pytest.mark.parametrize("row, name, on", SWITCHES)
def test_an_operation_of_a_row_is_on_where_the_paper_prints_it(row: int, name: str, on: bool) -> None:
    field, probability = ON[name]
    assert getattr(augmentation_row(row), field) == (probability if on else 0.0)


@pytest.mark.parametrize("row", range(1, 9))
def test_a_row_has_no_blur_and_no_solarize(row: int) -> None:
    assert (augmentation_row(row).blur, augmentation_row(row).solarize) == (0, 0)


def test_row_8_is_recipe_s_with_a_rotation() -> None:
    assert augmentation_row(8) == Augmentation(rotation=1.0, rotation_degrees=15.0)


@pytest.mark.parametrize("number", [0, 9, -1])
def test_an_unknown_row_is_refused_with_the_known_ones(number: int) -> None:
    with pytest.raises(ValueError, match=rf"^unknown row {number} of Table 4; known: 1, 2, 3, 4, 5, 6, 7, 8$"):
        augmentation_row(number)


def test_every_cell_of_table_7_has_a_fusion() -> None:
    cells = [line for line in PRINTED if line["table"] == "7"]
    assert sorted(FUSIONS) == sorted(line["column"] or line["row"] for line in cells)


@pytest.mark.parametrize("alpha", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_a_mixup_cell_is_a_mixup_of_its_share(alpha: float) -> None:
    spec = fusion_variant(f"alpha={alpha}")
    assert (spec.fusion, spec.alpha, spec.training) == ("mixup", alpha, "two-level")


@pytest.mark.parametrize(
    "name, fusion, training",
    [
        ("M(h)", "concatenate", "two-level"),
        ("M(z)", "embedding", "two-level"),
        ("No bi-level", "concatenate", "joint"),
    ],
)
def test_the_other_cells_are_fusions_of_their_kind(name: str, fusion: str, training: str) -> None:
    assert (fusion_variant(name).fusion, fusion_variant(name).training) == (fusion, training)


def test_the_default_fusion_is_m_h() -> None:
    assert fusion_variant("M(h)") == Comprehensive()


def test_an_unknown_fusion_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"^unknown fusion 'M\(x\)'; known: M\(h\), alpha=0\.1, "):
        fusion_variant("M(x)")
