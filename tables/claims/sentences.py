"""Sentences: every sentence of the paper that states or implies a comparison between cells of its tables.

Source: the paper from abstract to conclusion, AAAI 2024. A sentence about several things is several claims, so that one
can hold where another fails; a statement that the paper repeats is listed once. Figures below are those of the
sentences. Their per cent are points of the metric: "about 2.5%" and "1.1%" agree with the tables in no other sense.
"""

from __future__ import annotations

from dataclasses import dataclass

from .comparison import Comparison
from .patterns import above, against_each, best_in_bold, cifar10, improves, printed_cells, superior, varies_less

IMPROVES = "each row with CompMod lies above its plain row, in every column"
SIGNIFICANT = f"{IMPROVES}; significant: by more than the seeds' spread, which printed numbers do not have"
SUPERIOR = "in each column the row with CompMod that is printed highest lies at or above every row of another method"
BOLD = "in each column the row printed in bold lies at or above every other row"
MORE = "the gain over the plain row is above the stated figure; {}"
ABOUT = "the gain over the plain row is at least the stated figure to its last printed digit, so above {}; {}"
UNNAMED = "the sentence does not name the {}, so each is a claim of its own"
SWING = (
    "any two settings differ by less than CompMod gains over the plain method in Table 1: no numbers show that two are "
    "equal, and a larger difference would decide more than the method does"
)


@dataclass(frozen=True)
class Claim:
    """One sentence, or one thing it says, as comparisons that must all hold."""

    name: str
    sentence: str  # quoted
    where: str  # section of the paper
    reading: str  # how the words become comparisons, and why any threshold that the sentence does not state
    comparisons: tuple[Comparison, ...]

    @property
    def tables(self) -> tuple[int, ...]:
        """The tables whose cells it compares."""
        return tuple(sorted({cell.table for comparison in self.comparisons for cell in comparison.cells}))


_SIGNIFICANT = (
    "our method achieves significant improvement in classification, object detection and instance segmentation tasks"
)
_SUPERIOR = "superior performance in classification, object detection and instance segmentation tasks"
_CIFAR = "SimCLR+ and BYOL+ improve by more than 2% on CIFAR10 and CIFAR100 dataset"
_TINY = "BYOL+ improves by about 2.5% on Tiny ImageNet dataset"
_IMAGENET_100 = "BarlowTwins+ achieves 4% performance improvement on ImageNet-100"
_IMAGENET = "SimCLR+ and BarlowTwins+ achieve more than 2% on ImageNet"
_SEMI_BARLOW = "Barlow Twins+ is 1.1% better than Barlow Twins [...] at the 1% subset setting"
_SEMI_BYOL = "BYOL+ increases by about 1.4% at the 1% subset setting"
_TRANSFER = "the proposed method brings performance improvements on different downstream tasks"
_LAMBDA = "our method has minimal variation in accuracy, indicating that hyperparameter tuning is easy in practice"
_AUGMENTATION = (
    "there is no significant difference in classification accuracy, indicating that our method can be applied to "
    "different augmentation strategies"
)
_FUSION = "the fusion strategy and optimization we adopt achieve the best results"

_CLASSIFICATION = (*printed_cells(1), *printed_cells(2), *printed_cells(3))
_DETECTION, _SEGMENTATION = printed_cells(5, "Object Det."), printed_cells(5, "Instance Seg.")
_CIFARS = {
    classifier: (*printed_cells(1, "CIFAR-10", classifier), *printed_cells(1, "CIFAR-100", classifier))
    for classifier in ("linear", "5-nn")
}
_ABLATED = ("SimCLR+", "BYOL+", "Barlow Twins+")  # columns of Table 4
_TABLE_1_ROW = {name: name.replace(" ", "") for name in _ABLATED}
_MIXUP, _EMBEDDING = printed_cells(7, "Mixup"), printed_cells(7, "Fusion", "M(z)")
(_REPRESENTATION,) = printed_cells(7, "Fusion", "M(h)")


def _overall() -> tuple[Claim, ...]:
    """Of abstract, introduction and conclusion."""
    parts = (
        ("classification", _CLASSIFICATION),
        ("object detection", _DETECTION),
        ("instance segmentation", _SEGMENTATION),
    )
    return (
        *(
            Claim(
                f"significant improvement: {task}", _SIGNIFICANT, "Abstract; Conclusion", SIGNIFICANT, improves(cells)
            )
            for task, cells in parts
        ),
        *(Claim(f"superior: {task}", _SUPERIOR, "Introduction", SUPERIOR, superior(cells)) for task, cells in parts),
    )


def _table1() -> tuple[Claim, ...]:
    where, unnamed = "Self-supervised Learning", UNNAMED.format("classifier")
    about = ABOUT.format("2.45", unnamed)
    sentence = "our proposed method improves the classification performance"
    return (
        Claim("Table 1: improves", sentence, where, IMPROVES, improves(printed_cells(1))),
        *(
            Claim(
                f"CIFAR, {classifier}: above 2",
                _CIFAR,
                where,
                MORE.format(unnamed),
                improves(cells, 2.0, "SimCLR", "BYOL"),
            )
            for classifier, cells in _CIFARS.items()
        ),
        *(
            Claim(
                f"Tiny ImageNet, {classifier}: about 2.5",
                _TINY,
                where,
                about,
                improves(printed_cells(1, "Tiny ImageNet", classifier), 2.45, "BYOL"),
            )
            for classifier in _CIFARS
        ),
        Claim("Table 1: best in bold", "Best results are in bold.", "Table 1", BOLD, best_in_bold(printed_cells(1))),
    )


def _table2() -> tuple[Claim, ...]:
    where, unnamed = "Self-supervised Learning", UNNAMED.format("metric")
    sentence = "The results in Table 2 demonstrate that our method still improves over the baseline"
    return (
        Claim("Table 2: improves", sentence, where, IMPROVES, improves(printed_cells(2))),
        *(
            Claim(
                f"ImageNet-100, {metric}: 4",
                _IMAGENET_100,
                where,
                ABOUT.format("3.5", unnamed),
                improves(printed_cells(2, "ImageNet-100", metric=metric), 3.5, "BarlowTwins"),
            )
            for metric in ("top1", "top5")
        ),
        *(
            Claim(
                f"ImageNet, {metric}: above 2",
                _IMAGENET,
                where,
                MORE.format(unnamed),
                improves(printed_cells(2, "ImageNet", metric=metric), 2.0, "SimCLR", "BarlowTwins"),
            )
            for metric in ("top1", "top5")
        ),
        Claim("Table 2: best in bold", "Best results are in bold.", "Table 2", BOLD, best_in_bold(printed_cells(2))),
    )


def _table3() -> tuple[Claim, ...]:
    unnamed = UNNAMED.format("metric")
    parts = (("BarlowTwins", "1.1", 1.05, _SEMI_BARLOW), ("BYOL", "about 1.4", 1.35, _SEMI_BYOL))
    return tuple(
        Claim(
            f"{method}+ at 1 %, {metric}: {figure}",
            sentence,
            "Semi-supervised Learning",
            ABOUT.format(f"{bound:g}", unnamed),
            improves(printed_cells(3, "1%", metric=metric), bound, method),
        )
        for method, figure, bound, sentence in parts
        for metric in ("top1", "top5")
    )


def _table5() -> tuple[Claim, ...]:
    reading = (
        "the method's row with CompMod lies above its plain row in every column; each method is a claim of its own"
    )
    return tuple(
        Claim(f"transfer: {method}+", _TRANSFER, "Transfer Learning", reading, improves(printed_cells(5), 0.0, method))
        for method in ("SimCLR", "BYOL", "BarlowTwins")
    )


def _ablations() -> tuple[Claim, ...]:
    """Of Tables 4, 6 and 7, whose plain rows stand in Table 1."""
    lambdas, byol = printed_cells(6), cifar10("BYOL")
    columns = {name: printed_cells(4, "Methods", name) for name in _ABLATED}
    rows = {name: cifar10(row) for name, row in _TABLE_1_ROW.items()}
    plains = {name: cifar10(row.removesuffix("+")) for name, row in _TABLE_1_ROW.items()}
    sensitivity, augmentation, fusion = "Parametric Sensitivity", "Analysis of Data Augmentation", "Fusion Strategy"
    every = "every setting lies above the plain method of Table 1"
    fuses = "fused so, BYOL+ lies above plain BYOL of Table 1: a more comprehensive representation is to serve better"
    return (
        Claim("lambda: minimal variation", _LAMBDA, sensitivity, SWING, varies_less(lambdas, cifar10("SimCLR+"))),
        Claim("lambda: easy tuning", _LAMBDA, sensitivity, every, above(lambdas, cifar10("SimCLR"))),
        Claim(
            "augmentations: no significant difference",
            _AUGMENTATION,
            augmentation,
            SWING,
            tuple(pair for name, cells in columns.items() for pair in varies_less(cells, rows[name])),
        ),
        Claim(
            "augmentations: any can be used",
            _AUGMENTATION,
            augmentation,
            every,
            tuple(pair for name, cells in columns.items() for pair in above(cells, plains[name])),
        ),
        Claim(
            "Mixup fuses",
            "Mixup can be used to fuse features [...] We can obtain the more comprehensive representation",
            fusion,
            f"{fuses}, at every alpha",
            above(_MIXUP, byol),
        ),
        Claim(
            "fusion of embeddings",
            "Another strategy is to achieve semantic fusion in the embedding space",
            fusion,
            fuses,
            above(_EMBEDDING, byol),
        ),
        Claim(
            "adopted fusion is best",
            _FUSION,
            fusion,
            "M(h) lies above Mixup at every alpha and above M(z)",
            against_each(_REPRESENTATION, (*_MIXUP, *_EMBEDDING)),
        ),
        Claim(
            "adopted optimisation is best",
            _FUSION,
            fusion,
            "M(h), two-level, lies above the same without the second level",
            against_each(_REPRESENTATION, printed_cells(7, "Optimization")),
        ),
    )


CLAIMS: tuple[Claim, ...] = (*_overall(), *_table1(), *_table2(), *_table3(), *_table5(), *_ablations())
