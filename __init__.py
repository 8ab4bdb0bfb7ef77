"""compmod: reproduce 'Self-Supervised Representation Learning with Meta Comprehensive Regularization' end to end.

The folders of the repository are the subpackages; each imports itself and what stands to its left in
pretrain <- transfer <- tables <- slurm. What the commands do is here as functions, imported at first use:

    import compmod

    run = compmod.preset("simclr+", "digits")
    record = compmod.pretrain(run, runs="runs")
    compmod.evaluate(record.path)
    encoder = compmod.load_encoder(record.path)
    compmod.table(1, scale="demo")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the same names for type checkers and editors
    from .api import evaluate as evaluate
    from .api import plan as plan
    from .api import table as table
    from .pretrain.recipes.presets import preset as preset
    from .pretrain.specs.run import Run as Run
    from .pretrain.weights.load import load_encoder as load_encoder

__version__ = "0.1.0"

_HOME = {  # public name: its module below this folder, and its name there; `pretrain` is a folder that can be called
    "Run": "pretrain.specs.run:Run",
    "evaluate": "api:evaluate",
    "load_encoder": "pretrain.weights.load:load_encoder",
    "plan": "api:plan",
    "preset": "pretrain.recipes.presets:preset",
    "pretrain": "pretrain:",
    "table": "api:table",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; public names: {', '.join(sorted(_HOME))}")
    module, _, attribute = _HOME[name].partition(":")
    home = importlib.import_module(f".{module}", __name__)
    return getattr(home, attribute) if attribute else home


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
