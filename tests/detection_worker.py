"""One process of a group: fine-tunes the tiny detector with the others, and fails where their weights differ.

RANK=0 WORLD_SIZE=2 LOCAL_RANK=0 MASTER_ADDR=... MASTER_PORT=... python tests/detection_worker.py RUNS COCO
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from compmod.pretrain.distributed import broadcast_, rank
from compmod.transfer import engine
from detections import QUIET, SPEC


def main() -> None:
    torch.set_num_threads(1)
    original = engine.detect

    def compared(model: Any, *arguments: Any) -> Any:
        state = {name: tensor for name, tensor in model.state_dict().items() if "running" not in name}
        of_first = [tensor.clone() for tensor in state.values()]
        broadcast_(of_first)
        differing = [name for name, first in zip(state, of_first, strict=True) if not torch.equal(state[name], first)]
        assert differing == [], f"process {rank()} has other weights: {differing}"
        return original(model, *arguments)

    engine.detect = compared
    engine.transfer(Path(sys.argv[1]), SPEC, Path(sys.argv[2]), QUIET)


if __name__ == "__main__":
    main()
