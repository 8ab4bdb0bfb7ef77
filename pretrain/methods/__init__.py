"""METHODS: every self-supervised method by its command-line name."""

from .entry import Entry

METHODS: dict[str, Entry] = {
    "simclr": Entry(label="SimCLR", source="Chen et al., ICML 2020", code="simclr.SimCLR"),
    "moco": Entry(label="MoCo", source="He et al., CVPR 2020; Chen et al., 2020", recipe="L", code="moco.MoCo"),
    "cmc": Entry(label="CMC", source="Tian et al., ECCV 2020", code="cmc.CMC", views=1, plus=False),
    "byol": Entry(label="BYOL", source="Grill et al., NeurIPS 2020", code="byol.BYOL"),
    "simsiam": Entry(label="SimSiam", source="Chen and He, CVPR 2021", recipe="L", code="simsiam.SimSiam"),
    "swav": Entry(label="SwAV", source="Caron et al., NeurIPS 2020", recipe="L", code="swav.SwAV"),
    "dcl": Entry(label="DCL", source="Chuang et al., NeurIPS 2020 (debiased)", code="dcl.DCL"),
    "relic": Entry(label="RELIC", source="Mitrovic et al., ICLR 2021", code="relic.RELIC"),
    "ssl_hsic": Entry(label="SSL-HSIC", source="Li et al., NeurIPS 2021", code="ssl_hsic.SSLHSIC"),
    "icl_msr": Entry(
        label="ICL-MSR",
        source="Qiang et al., ICML 2022",
        code="icl_msr.ICLMSR",
        remark="reconstruction: no code is published",
    ),
    "barlow_twins": Entry(
        label="BarlowTwins", source="Zbontar et al., ICML 2021", recipe="L", code="barlow_twins.BarlowTwins"
    ),
    "vicreg": Entry(label="VICReg", source="Bardes et al., ICLR 2022", recipe="L", code="vicreg.VICReg"),
    "w_mse": Entry(label="W-MSE", source="Ermolov et al., ICML 2021", code="w_mse.WMSE"),
    "supervised": Entry(
        label="Supervised", source="He et al., CVPR 2016", code="supervised.Supervised", views=1, plus=False
    ),
    "mec": Entry(label="MEC", source="Liu et al., NeurIPS 2022", code="mec.MEC"),
    "tcr": Entry(label="TCR", source="Li et al., 2022 (NMCE)", code="tcr.TCR"),
}
