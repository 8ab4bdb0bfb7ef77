"""Learn representations: how does a spec become a trained encoder, and a number measured on it?

The public names of this folder, imported when they are first used: a spec, a recipe or a data set costs no PyTorch.

    from pathlib import Path
    from compmod.pretrain import Session, preset, train

    record = train(preset("simclr+", "digits"), Path("runs"), Path("data"), Session())

`evaluate_run` probes a finished run, `fine_tune` trains on labels; both store their result in the folder of the run.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the same names for type checkers and editors
    from .data.own_folder import own_data as own_data
    from .evaluate.finetune import fine_tune as fine_tune
    from .evaluate.probe import evaluate as evaluate_run  # noqa: F401  # public under this name
    from .methods.base import Method as Method
    from .networks.encoder import finished_backbone as finished_backbone
    from .recipes.presets import preset as preset
    from .recipes.scales import scaled as scaled
    from .records.record import Record as Record
    from .specs.datasets import DATASETS as DATASETS
    from .specs.datasets import Dataset as Dataset
    from .specs.measurement import Evaluation as Evaluation
    from .specs.measurement import FineTuning as FineTuning
    from .specs.methods import METHODS as METHODS
    from .specs.own_data import OwnData as OwnData
    from .specs.run import Augmentation as Augmentation
    from .specs.run import Backbone as Backbone
    from .specs.run import Comprehensive as Comprehensive
    from .specs.run import Optimizer as Optimizer
    from .specs.run import Projector as Projector
    from .specs.run import Run as Run
    from .specs.run import Schedule as Schedule
    from .specs.spec import Spec as Spec
    from .trainer import train as train
    from .training.session import Session as Session

_HOME = {  # public name: its module below this folder, and its name there
    "Augmentation": "specs.run:Augmentation",
    "Backbone": "specs.run:Backbone",
    "Comprehensive": "specs.run:Comprehensive",
    "DATASETS": "specs.datasets:DATASETS",
    "Dataset": "specs.datasets:Dataset",
    "Evaluation": "specs.measurement:Evaluation",
    "FineTuning": "specs.measurement:FineTuning",
    "METHODS": "specs.methods:METHODS",
    "Method": "methods.base:Method",
    "OwnData": "specs.own_data:OwnData",
    "Optimizer": "specs.run:Optimizer",
    "Projector": "specs.run:Projector",
    "Record": "records.record:Record",
    "Run": "specs.run:Run",
    "Schedule": "specs.run:Schedule",
    "Session": "training.session:Session",
    "Spec": "specs.spec:Spec",
    "evaluate_run": "evaluate.probe:evaluate",  # `evaluate` is a folder
    "fine_tune": "evaluate.finetune:fine_tune",
    "finished_backbone": "networks.encoder:finished_backbone",
    "own_data": "data.own_folder:own_data",
    "preset": "recipes.presets:preset",
    "scaled": "recipes.scales:scaled",
    "train": "trainer:train",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; public names: {', '.join(sorted(_HOME))}")
    module, attribute = _HOME[name].split(":")
    return getattr(importlib.import_module(f".{module}", __name__), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})


class _Callable(ModuleType):
    """This folder, also as the function that `compmod pretrain` is."""

    def __call__(self, run: Run, *, runs: Path | str = "runs", data: Path | str = "data", **session: Any) -> Record:
        """Train `run` into its folder below `runs`, or resume it, and return its record.

        `data` holds the data sets; `session` has fields of Session, such as device="cpu" or recompute=True. Raises
        ValueError on a wrong one, and where the data are missing or others than those that the run began with.
        """
        from .trainer import train
        from .training.session import Session

        return train(run, Path(runs), Path(data), Session(**session))


sys.modules[__name__].__class__ = _Callable
