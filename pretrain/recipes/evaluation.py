"""Protocols: how published methods are scored on large data, as FineTuning specs by name; imports no torch.

The linear probe trains a layer on a frozen backbone; the semi-supervised protocol trains the backbone with it, on a
hundredth or a tenth of the labels. Which one made a published row is established for few of them, so Barlow Twins' is
the default for all, as the paper says that it follows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from ..specs.measurement import FineTuning
from ..specs.run import Run

LISTS = "imagenet_subsets"  # folder of SimCLR's lists (Chen et al., ICML 2020, code), below the data root
LIST_FILES = {  # share of ImageNet: file name and MD5 sum; SimCLR's repository
    0.01: ("1percent.txt", "b61c91b8ddb75fabdb02a9bb2ae3bd74"),  # 12,811 lines
    0.1: ("10percent.txt", "b0d861160cce9531910d069ff547fc1b6"),  # 128,116 lines
}
SHARES = {"semi-1": 0.01, "semi-10": 0.1}  # by the protocol's name on the command line

SWEPT = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)  # ours: rates of the layer to choose from, from SwAV's 0.3 up to MoCo's 30

LINEAR: dict[str, Mapping[str, Any]] = {
    "barlow_twins": {},  # Zbontar et al., ICML 2021, code: SGD 0.3, batch 256, 100 epochs, cosine, decay 1e-6
    "moco": {  # He et al., CVPR 2020, code
        "head_lr": 30.0,
        "schedule": "steps",
        "drops": (60, 80),
        "weight_decay": 0.0,
    },
    "simsiam": {  # Chen and He, CVPR 2021, code
        "optimizer": "lars",
        "batch_size": 4096,
        "head_lr": 1.6,  # 0.1 for 256 images
        "epochs": 90,
        "weight_decay": 0.0,
    },
    "vicreg": {"head_lr": 0.02},  # Bardes et al., ICLR 2022, code
    "swav": {},  # Caron et al., NeurIPS 2020, code: the very settings of Barlow Twins
    "byol": {  # Grill et al., NeurIPS 2020, code
        "nesterov": True,
        "batch_size": 1024,  # ours: the code leaves it open
        "head_lr": 0.8,  # 0.2 for 256 images
        "epochs": 80,
        "weight_decay": 0.0,
    },
    "cmc": {  # Tian et al., ECCV 2020, code: on the features of both trunks side by side
        "head_lr": 30.0,
        "epochs": 60,
        "schedule": "steps",
        "drops": (30, 40, 50),
        "drop_factor": 0.2,
        "weight_decay": 0.0,
    },
    "solo_learn": {  # da Costa et al., JMLR 2022, code: ImageNet-100
        "head_lr": 0.1,
        "schedule": "steps",
        "drops": (60, 80),
        "weight_decay": 0.0,
    },
}

SEMI: dict[str, Mapping[float, Mapping[str, Any]]] = {
    "barlow_twins": {  # Zbontar et al., ICML 2021, code
        0.01: {"backbone_lr": 0.005, "head_lr": 0.5},
        0.1: {"backbone_lr": 0.005, "head_lr": 0.5},  # ours: the code names settings for 1 % alone
    },
    "vicreg": {  # Bardes et al., ICLR 2022, code
        0.01: {"backbone_lr": 0.03, "head_lr": 0.08},
        0.1: {"backbone_lr": 0.01, "head_lr": 0.1},
    },
    "swav": {  # Caron et al., NeurIPS 2020, code
        0.01: {"backbone_lr": 0.02, "head_lr": 5.0, "schedule": "steps", "drops": (12, 16), "drop_factor": 0.2},
        0.1: {"backbone_lr": 0.01, "head_lr": 0.2, "schedule": "steps", "drops": (12, 16), "drop_factor": 0.2},
    },
}
SEMI_EPOCHS = 20  # of all three
SEMI_WEIGHT_DECAY = 0.0  # of all three


def linear_protocol(run: Run, name: str = "barlow_twins") -> FineTuning:
    """The linear probe of `run` on augmented images, as `name` does it. Raises ValueError on an unknown name."""
    if name not in LINEAR:
        raise ValueError(f"unknown linear protocol {name!r}; known: {', '.join(LINEAR)}")
    return FineTuning(run=run, **LINEAR[name])


def semi_protocol(
    run: Run, share: float, name: str = "barlow_twins", *, lists: Literal["", "simclr"] = ""
) -> FineTuning:
    """Fine-tuning of `run` on a share of the labels, as `name` does it. `lists` says whose list names the images.

    Raises ValueError on an unknown name and on a share that the protocol has no settings for.
    """
    if name not in SEMI:
        raise ValueError(f"unknown semi-supervised protocol {name!r}; known: {', '.join(SEMI)}")
    if share not in SEMI[name]:
        raise ValueError(f"no settings for a share of {share}; known: {', '.join(map(str, SEMI[name]))}")
    settings = {"epochs": SEMI_EPOCHS, "weight_decay": SEMI_WEIGHT_DECAY, **SEMI[name][share]}
    return FineTuning(run=run, share=share, lists=lists, **settings)


def named_protocol(run: Run, protocol: str, variant: str, root: Path) -> FineTuning:
    """`linear`, `semi-1` or `semi-10` of `run`, by the settings of `variant`; "" is the default's.

    On the whole of ImageNet, SimCLR's lists name the images where they are below the data root.
    """
    name = variant or "barlow_twins"
    if protocol == "linear":
        return linear_protocol(run, name)
    if protocol not in SHARES:
        raise ValueError(f"unknown protocol {protocol!r}; known: linear, {', '.join(SHARES)}")
    share = SHARES[protocol]
    whole = run.dataset == "imagenet" and not run.copy and not run.train_images
    return semi_protocol(run, share, name, lists="simclr" if whole and list_file(root, share).exists() else "")


def list_file(root: Path, share: float) -> Path:
    """Where SimCLR's list of a share of ImageNet is looked for."""
    return root / LISTS / LIST_FILES[share][0]
