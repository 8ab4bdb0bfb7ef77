"""Fusions: the ways of Table 7 to fuse two views' representations, as settings of CompMod."""

from __future__ import annotations

from dataclasses import replace

from ..specs.run import Comprehensive, Run

FUSIONS: dict[str, Comprehensive] = {  # by the paper's names
    "M(h)": Comprehensive(),
    "alpha=0.1": Comprehensive(fusion="mixup", alpha=0.1),
    "alpha=0.3": Comprehensive(fusion="mixup", alpha=0.3),
    "alpha=0.5": Comprehensive(fusion="mixup", alpha=0.5),
    "alpha=0.7": Comprehensive(fusion="mixup", alpha=0.7),
    "alpha=0.9": Comprehensive(fusion="mixup", alpha=0.9),
    "M(z)": Comprehensive(fusion="embedding"),
    "No bi-level": Comprehensive(training="joint"),  # its fusion is not printed; M(h) is assumed
}


def fusion_variant(name: str) -> Comprehensive:
    """CompMod's settings for one cell of the paper's Table 7."""
    if name not in FUSIONS:
        raise ValueError(f"unknown fusion {name!r}; known: {', '.join(FUSIONS)}")
    return FUSIONS[name]


def fused(run: Run, name: str) -> Run:
    """A "+" run with the fusion of one cell of Table 7; what else CompMod is set to stays."""
    variant = fusion_variant(name)
    settings = replace(run.compmod, fusion=variant.fusion, alpha=variant.alpha, training=variant.training)
    return replace(run, compmod=settings)
