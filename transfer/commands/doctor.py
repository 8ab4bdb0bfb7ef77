"""The command behind `compmod doctor`: what this machine has of what the project uses, and what mends a lack.

Every line is the outcome of a try, such as an import, and not a stored version.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from rich.filesize import decimal

from ...pretrain.commands.options import DataOption
from ...pretrain.data.locate import is_there
from ...pretrain.records.provenance import git_state
from ...pretrain.runtime.launch import usable_cores
from ...pretrain.specs.datasets import DATASETS
from ..detector.install import find

ROOT = Path(__file__).resolve().parents[2]  # of the package; of a checkout, too
EXTRAS = ("wandb", "trackio", "mlflow", "huggingface_hub", "timm")  # that some commands use where they are installed


def doctor_command(data: DataOption = Path("data")) -> None:
    """List what this machine has of what compmod uses, and the command that mends what it lacks.

    Raises ValueError, after the last line, where something is installed and does not work.
    """
    faulty = []
    for name, look in (LOOKS | {"data": lambda: _data(data)}).items():
        try:
            line = look()
        except Exception as error:  # the import of foreign code can raise any exception
            faulty.append(name)
            line = f"FAULTY: {type(error).__name__}: {' '.join(str(error).split())}"
        print(f"{name:12} {line}", flush=True)
    if faulty:
        raise ValueError(f"does not work here: {', '.join(faulty)}")


def installing(extra: str) -> str:
    """The command that installs an extra of this installation: of a checkout, or else its packages one by one."""
    if (ROOT / "pyproject.toml").is_file():
        return f"pip install -e {shlex.quote(f'{ROOT}[{extra}]')}"
    needed = [line.partition(";") for line in importlib.metadata.requires("compmod") or ()]
    names = [name.strip() for name, _, marker in needed if marker.replace("'", '"').strip() == f'extra == "{extra}"']
    return f"pip install {shlex.join(names)}"


def _compmod() -> str:
    version, commit = importlib.import_module(__name__.partition(".")[0]).__version__, git_state()["commit"]
    return f"{version}{'' if commit == 'unknown' else f', commit {commit[:12]}'}, in {ROOT}"


def _python() -> str:
    return f"{platform.python_version()} at {sys.executable}"


def _machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cores = usable_cores()
    return f"{cores} core{'s'[: cores != 1]}, {decimal(memory)} of memory"


def _disk() -> str:
    return f"{decimal(shutil.disk_usage('.').free)} free in {Path.cwd()}"


def _torch() -> str:
    import torch

    return f"{torch.__version__}, {torch.get_num_threads()} threads"


def _gpu() -> str:
    """The GPUs that torch sees, and the libraries that it was built with."""
    import torch

    if torch.version.cuda is None:
        if shutil.which("nvidia-smi"):
            return "this torch has no CUDA: pip install --force-reinstall torch torchvision"
        return "none; this torch has no CUDA"
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    nccl = ".".join(map(str, torch.cuda.nccl.version())) if torch.distributed.is_nccl_available() else "absent"
    built = f"CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}, NCCL {nccl}"
    return f"{', '.join(gpus) or 'none that torch sees'}; {built}"


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
        return "absent: python -m compmod.transfer.detector.install (`compmod transfer` needs it)"
    importlib.import_module("..detector.detectron2", __package__).load()
    kind = "installed" if installed.kind == "installed" else "the archive's Python files, which are enough"
    compiled = getattr(sys.modules.get("detectron2._C"), "__file__", None)  # an empty module may stand in for it
    return f"{installed.version}, {kind}; compiled operations {compiled or 'absent'}; in {installed.folder}"


def _pycocotools() -> str:
    if importlib.util.find_spec("pycocotools") is None:
        return f"absent: {installing('detection')} (`compmod transfer` needs it)"
    importlib.import_module("pycocotools.mask")  # compiled
    return importlib.metadata.version("pycocotools")


def _slurm() -> str:
    return shutil.which("sbatch") or "absent: jobs can go to this machine alone, by --cluster local"


def _submitit() -> str:
    return importlib.metadata.version("submitit")


def _extras() -> str:
    present = [name for name in EXTRAS if importlib.util.find_spec(name)]
    absent = [name for name in EXTRAS if name not in present]
    lacking = f"; to add all others: pip install {' '.join(absent)}" if absent else ""
    return f"{', '.join(present) or 'none'}{lacking}"


def _data(root: Path) -> str:
    there = [name for name, entry in DATASETS.items() if entry.folder and is_there(entry, root, "")]
    if there:
        return f"{', '.join(there)} below {root}"
    return f"none below {root}: compmod data cifar10 --data {shlex.quote(str(root))}; digits are embedded"


LOOKS: dict[str, Callable[[], str]] = {
    "compmod": _compmod,
    "python": _python,
    "machine": _machine,
    "disk": _disk,
    "torch": _torch,
    "gpu": _gpu,
    "torchvision": _torchvision,
    "detectron2": _detectron2,
    "pycocotools": _pycocotools,
    "slurm": _slurm,
    "submitit": _submitit,
    "extras": _extras,
}
