"""Hub: the encoder of a finished run as a folder in the form of the Hugging Face hub: weights, settings, model card.

The card's header is that of https://huggingface.co/docs/hub/model-cards. It is JSON, which YAML readers read.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...pretrain.files.printable import printable
from ...pretrain.files.whole_file import write_whole
from ...pretrain.networks.encoder import ENCODER, read_encoder
from ...pretrain.records.record import Record
from ...pretrain.specs.measurement import Evaluation, Measurement
from ...pretrain.specs.run import Run
from ...pretrain.weights.load import CONFIG, MODEL, Preprocess
from ..spec import Detection

MOVES_NO_NUMBER = "shows numbers that are already there"

CARD = "README.md"
METRICS = {  # in results -> as the card names it
    "linear/top1": "linear top-1",
    "linear/top5": "linear top-5",
    "knn/top1": "5-nn top-1",
    "top1": "top-1",
    "top5": "top-5",
    "bbox/AP": "box AP",
    "segm/AP": "mask AP",
}
Line = tuple[Measurement, str, list[float]]  # a measurement, a key of METRICS, and the shares of every seed


def write_folder(record: Record, folder: Path) -> str:
    """Write the encoder of a finished run, its settings and its card; returns the lines of Python that load it.

    Raises ValueError where the folder holds other files, or the encoder is damaged.
    """
    if folder.is_dir() and any(folder.iterdir()) and not (folder / CONFIG).is_file():
        raise ValueError(f"{folder} holds other files; give a new folder, or one that this command wrote")
    run = record.run_in(record.path.resolve())
    read_encoder(record)  # raises where it is damaged
    card = _card(record, run)
    settings = {
        "library_name": "compmod",
        "preprocess": vars(Preprocess.of(run.data)),
        "spec": run.to_dict(),
    }
    folder.mkdir(exist_ok=True)
    write_whole(folder / MODEL, (record.path / ENCODER).read_bytes())
    write_whole(folder / CARD, card.encode())
    write_whole(folder / CONFIG, (json.dumps(settings, indent=2) + "\n").encode())
    return _loading(str(folder))


def push(folder: Path, repository: str, api: Any = None) -> str:
    """Upload a folder to the hub, by `huggingface_hub` and the login that it knows; returns the address.

    Raises ValueError where the package is not installed, RuntimeError where the hub refuses.
    """
    if api is None:
        try:
            from huggingface_hub import HfApi

            api = HfApi()
        except ImportError as error:
            raise ValueError("--push needs huggingface_hub; install it: pip install 'compmod[hub]'") from error
    try:
        api.create_repo(repository, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=folder, allow_patterns=[MODEL, CARD, CONFIG])
    except Exception as error:  # of a dozen classes, by what went wrong
        reason = " ".join(str(error).split())
        raise RuntimeError(
            f"{repository} is not uploaded, {folder} is there ({type(error).__name__}: {reason})"
        ) from error
    return f"https://huggingface.co/{repository}"


def _card(record: Record, run: Run) -> str:
    lines = list(_results(record, run))
    entry = run.data
    backbone = f"{run.backbone.name}, width {run.backbone.width}, stem {run.backbone.stem}"
    header: dict[str, Any] = {
        "library_name": "compmod",
        "pipeline_tag": "image-feature-extraction",
        "tags": ["self-supervised-learning", "compmod", "imported" if run.kind == "import" else run.method],
    }
    if lines:
        header["model-index"] = [{"name": run.folder, "results": [_structured(*line) for line in lines]}]
    trained = f"{run.label}, {run.epochs} epoch{'s'[: run.epochs != 1]}, seed {run.seed}"
    kind = "weights that others trained" if run.kind == "import" else trained
    rows = [
        f"| {_protocol(what)} | {what.data_label}, {what.split} | {METRICS[name]} | {_amount(values)} |"
        for what, name, values in lines
    ]
    table = ["| protocol | data | metric | % |", "|---|---|---|---|", *rows] if rows else ["None is stored yet."]
    return "\n".join(
        [
            "---",
            *(f"{name}: {json.dumps(value)}" for name, value in header.items()),
            "---",
            "",
            f"# {run.folder}",
            "",
            f"An image encoder of `compmod`: {kind}; {backbone}; data {printable(run.data_name)}.",
            "",
            "## Use",
            "",
            "```python",
            _loading("DIR"),
            "```",
            "",
            "DIR is this folder, downloaded. `encoder.preprocess` scales RGB pixels to 0..1 and normalises them by the "
            f"mean {list(entry.mean)} and the deviation {list(entry.std)}.",
            "",
            "## Results",
            "",
            *table,
            "",
            "## Provenance",
            "",
            *(f"- {name}: {printable(value)}" for name, value in _provenance(record).items()),
            "",
            "## Settings",
            "",
            "```json",
            json.dumps(run.to_dict(), indent=2),
            "```",
            "",
        ]
    )


def _loading(folder: str) -> str:
    return "\n".join(
        [
            "from compmod import load_encoder",
            f"encoder = load_encoder({folder!r})",
            "features = encoder(encoder.preprocess(image)[None])  # image: PIL, RGB",
        ]
    )


def _results(record: Record, run: Run) -> Iterator[Line]:
    """What was measured of the run, with the same measurement of every other seed that is finished beside it."""
    runs = record.path.resolve().parent
    seeds = [other.spec for other in _records(runs, f"{run.folder.rpartition('-')[0]}-*")]
    alike = [other for other in seeds if isinstance(other, Run) and replace(other, seed=run.seed) == run]
    for measured in _records(record.path, "*-*"):
        what = measured.spec
        if not isinstance(what, Measurement) or what.run != run:
            continue
        found = [Record(runs, replace(what, run=other)).results or {} for other in alike]
        for name in METRICS:
            if values := [value for results in found if isinstance(value := results.get(name), float)]:
                yield what, name, values


def _records(folder: Path, pattern: str) -> Iterator[Record]:
    """The finished records in a folder, without damaged ones."""
    for path in sorted(folder.glob(pattern)):
        try:
            record = Record.open(path)
            done = record.results is not None
        except ValueError:
            continue
        if done:
            yield record


def _protocol(what: Measurement) -> str:
    """In words, with the epochs of a linear probe that is not the usual one: a run may have several."""
    if isinstance(what, Evaluation) and what.linear_epochs != Evaluation.linear_epochs:
        return f"{what.protocol}, {what.linear_epochs} epochs"
    return what.protocol


def _amount(values: list[float]) -> str:
    spread = f" ± {100 * statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{100 * statistics.fmean(values):.2f}{spread} (n={len(values)} seed{'s' * (len(values) > 1)})"


def _structured(what: Measurement, name: str, values: list[float]) -> dict[str, Any]:
    """As the hub's own table has it."""
    detection = isinstance(what, Detection)
    task = "object-detection" if detection else "image-classification"
    data = what.data_name if detection else what.run.dataset
    metric = "mean_average_precision" if detection else "accuracy"
    return {
        "task": {"type": task, "name": _protocol(what)},
        "dataset": {"type": data, "name": what.data_label, "split": what.split},
        "metrics": [{"type": metric, "name": METRICS[name], "value": round(100 * statistics.fmean(values), 4)}],
    }


def _provenance(record: Record) -> dict[str, str]:
    """Where the encoder is from, in words."""
    stored = record.provenance or {}
    parts = {name: stored.get(name) for name in ("git", "versions", "hardware")}
    git, versions, hardware = (part if isinstance(part, Mapping) else {} for part in parts.values())
    given = {
        "spec digest": record.spec.digest,
        "encoder SHA-256": stored.get("encoder_sha256"),
        "data SHA-256": stored.get("data_digest"),
        "code": f"commit {git.get('commit', 'unknown')}" + (", with changes" if git.get("dirty") else ""),
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "hardware": hardware.get("gpu") or hardware.get("cpu"),
        "ended": stored.get("ended"),
    }
    return {name: str(value) for name, value in given.items() if value}
