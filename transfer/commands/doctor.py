"""The command behind `compmod doctor`: what this machine has of what the project uses.

Every line is the outcome of a try, such as an import, and not a stored version.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import platform
import shutil
import sys
from collections.abc import Callable

from ..detector.install import find


def doctor_command() -> None:
    """List what this machine has: Python, torch and its devices, Detectron2, pycocotools, SLURM.

    Raises ValueError, after the last line, where something is installed and does not work.
    """
    faulty = []
    for name, look in LOOKS.items():
        try:
            line = look()
        except Exception as error:  # the import of foreign code can raise any exception
            faulty.append(name)
            line = f"FAULTY: {type(error).__name__}: {' '.join(str(error).split())}"
        print(f"{name:12} {line}", flush=True)
    if faulty:
        raise ValueError(f"does not work here: {', '.join(faulty)}")


def _python() -> str:
    return f"{platform.python_version()} at {sys.executable}"


def _torch() -> str:
    import torch

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return f"{torch.__version__}, {torch.get_num_threads()} threads; GPUs: {', '.join(gpus) or 'none'}"


def _torchvision() -> str:
    import torch
    import torchvision

    boxes = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 8]])
    kept = torchvision.ops.nms(boxes, torch.tensor([0.9, 0.8]), 0.5)  # compiled: fails where builds do not match
    assert kept.tolist() == [0], "nms keeps the wrong box"
    return f"{torchvision.__version__}, its compiled operations work"


def _detectron2() -> str:
    installed = find()
    if installed is None:
        return "absent: `make detectron2` installs it; `compmod transfer` needs it"
    importlib.import_module("..detector.detectron2", __package__).load()
    kind = "installed" if installed.kind == "installed" else "the archive's Python files, which are enough"
    compiled = getattr(sys.modules.get("detectron2._C"), "__file__", None)  # an empty module may stand in for it
    return f"{installed.version}, {kind}; compiled operations {compiled or 'absent'}; in {installed.folder}"


def _pycocotools() -> str:
    if importlib.util.find_spec("pycocotools") is None:
        return "absent: pip install 'compmod[detection]' has it; `compmod transfer` needs it"
    importlib.import_module("pycocotools.mask")  # compiled
    return importlib.metadata.version("pycocotools")


def _slurm() -> str:
    return shutil.which("sbatch") or "absent: jobs can go to this machine alone"


LOOKS: dict[str, Callable[[], str]] = {
    "python": _python,
    "torch": _torch,
    "torchvision": _torchvision,
    "detectron2": _detectron2,
    "pycocotools": _pycocotools,
    "slurm": _slurm,
}
