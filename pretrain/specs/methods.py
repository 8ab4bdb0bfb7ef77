"""METHODS: every self-supervised method by its command-line name, readable without importing torch.

Adding a method is one file in `pretrain/methods/` and one line here; CONTRIBUTING.md has a complete example.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

HERE = __name__.removesuffix(".specs.methods") + ".methods"  # package of the methods that come with compmod


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What a table or `--help` needs to know of a method, and where its code is."""

    label: str  # as the paper prints it
    source: str  # the paper the method is from
    recipe: Literal["S", "L"] = "S"  # small-data recipe of its rows in Table 1, see recipes/presets.py
    code: str  # "module.Class" in pretrain/methods/, or "package.module:Class" of any package that Python can import
    views: int = 2  # fewest views a sample
    plus: bool = True  # whether it has a two-view embedding, which CompMod needs
    remark: str = ""  # what its rows must say of it
    cost: float = 0.0  # time of a step over SimCLR's, tests/benchmarks/methods.py; 0 = not measured
    plus_cost: float = 0.0  # likewise with "+"

    @property
    def module(self) -> str:
        """Dotted name of the module that holds the method's class."""
        package, separator, _ = self.code.partition(":")
        return package if separator else f"{HERE}.{self.code.rpartition('.')[0]}"

    @property
    def class_name(self) -> str:
        """Name of the method's class in its module."""
        return self.code.partition(":")[2] or self.code.rpartition(".")[2]


# Costs: tests/benchmarks/methods.py on one thread of an Intel Xeon with AVX-512, torch 2.11, float32.
METHODS: dict[str, Entry] = {
    "simclr": Entry(label="SimCLR", source="Chen et al., ICML 2020", code="simclr.SimCLR", cost=1.0, plus_cost=3.0),
    "moco": Entry(
        label="MoCo",
        source="He et al., CVPR 2020; Chen et al., 2020",
        recipe="L",
        code="moco.MoCo",
        cost=1.4,
        plus_cost=3.2,
    ),
    "cmc": Entry(label="CMC", source="Tian et al., ECCV 2020", code="cmc.CMC", views=1, plus=False, cost=1.1),
    "byol": Entry(label="BYOL", source="Grill et al., NeurIPS 2020", code="byol.BYOL", cost=1.4, plus_cost=3.2),
    "simsiam": Entry(
        label="SimSiam", source="Chen and He, CVPR 2021", recipe="L", code="simsiam.SimSiam", cost=1.4, plus_cost=3.6
    ),
    "swav": Entry(
        label="SwAV", source="Caron et al., NeurIPS 2020", recipe="L", code="swav.SwAV", cost=1.0, plus_cost=2.9
    ),
    "dcl": Entry(label="DCL", source="Chuang et al., NeurIPS 2020 (debiased)", code="dcl.DCL", cost=1.0, plus_cost=2.9),
    "relic": Entry(label="RELIC", source="Mitrovic et al., ICLR 2021", code="relic.RELIC", cost=1.4, plus_cost=3.3),
    "ssl_hsic": Entry(
        label="SSL-HSIC", source="Li et al., NeurIPS 2021", code="ssl_hsic.SSLHSIC", cost=1.4, plus_cost=3.4
    ),
    "icl_msr": Entry(
        label="ICL-MSR",
        source="Qiang et al., ICML 2022",
        code="icl_msr.ICLMSR",
        remark="reconstruction: no code is published",
        cost=2.9,
        plus_cost=3.0,
    ),
    "barlow_twins": Entry(
        label="BarlowTwins",
        source="Zbontar et al., ICML 2021",
        recipe="L",
        code="barlow_twins.BarlowTwins",
        cost=1.4,
        plus_cost=3.9,
    ),
    "vicreg": Entry(
        label="VICReg", source="Bardes et al., ICLR 2022", recipe="L", code="vicreg.VICReg", cost=1.5, plus_cost=4.2
    ),
    "w_mse": Entry(label="W-MSE", source="Ermolov et al., ICML 2021", code="w_mse.WMSE", cost=2.0, plus_cost=5.9),
    "supervised": Entry(
        label="Supervised", source="He et al., CVPR 2016", code="supervised.Supervised", views=1, plus=False, cost=0.5
    ),
    "mec": Entry(label="MEC", source="Liu et al., NeurIPS 2022", code="mec.MEC", cost=1.3, plus_cost=3.3),
    "tcr": Entry(label="TCR", source="Li et al., 2022 (NMCE)", code="tcr.TCR", cost=1.0, plus_cost=2.8),
}
