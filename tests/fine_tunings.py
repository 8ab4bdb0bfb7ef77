"""Fine-tunings of seconds, and the finished run that they start from."""

from __future__ import annotations

from pathlib import Path

import torch
from compmod.pretrain.networks import build_backbone
from compmod.pretrain.record import Record
from compmod.pretrain.run import Backbone, FineTuning, Run
from compmod.pretrain.session import Session
from safetensors.torch import save_file

TRUNK = Backbone(name="resnet10", width=2)
RUN = Run(method="simclr", dataset="digits", backbone=TRUNK, batch_size=20, train_images=90)
LINEAR = FineTuning(run=RUN, epochs=3, batch_size=32)  # three steps an epoch
SEMI = FineTuning(run=RUN, backbone_lr=0.02, head_lr=0.5, epochs=3, batch_size=32, weight_decay=1e-3)
QUIET = Session(device="cpu", quiet=True, workers=0)


def finish(runs: Path, run: Run = RUN) -> Record:
    """A finished pretraining, without the training."""
    torch.manual_seed(0)
    record = Record(runs, run)
    record.start()
    file = record.path / "encoder.safetensors"
    save_file(build_backbone(run.backbone, 16).state_dict(), file, metadata={"digest": run.digest})
    record.finish({}, {})
    return record
