"""Source: which files of ours determine a number, and a fingerprint of each, to tell later whether they have changed.

A fingerprint is a hash of the text without comments, docstrings, blank lines and trailing space, so that rewording
makes nothing stale and every version of Python finds the same one. Imports no torch.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from .data import DATASETS
from .methods import METHODS
from .run import Measured, Run
from .spec import DIGEST_LENGTH, Spec

PACKAGE = Path(__file__).resolve().parents[1]

FILES: dict[str, tuple[str, ...]] = {  # what part of the work -> the files that determine it
    "training": (
        "pretrain/batch_norm.py",
        "pretrain/data.py",
        "pretrain/distributed.py",
        "pretrain/feed.py",
        "pretrain/loader.py",
        "pretrain/methods/base.py",
        "pretrain/networks.py",
        "pretrain/optim.py",
        "pretrain/randomness.py",
        "pretrain/session.py",
        "pretrain/trainer.py",
        "pretrain/two_level.py",
    ),
    "views": ("pretrain/colour.py", "pretrain/geometry.py", "pretrain/views.py"),
    "two levels": ("pretrain/hypergradient.py", "pretrain/regulariser.py"),
    "CompMod": ("pretrain/coding_rate.py", "pretrain/compmod.py"),
    "digits": ("pretrain/digits.py",),
    "large images": ("pretrain/crops.py", "pretrain/large_images.py", "pretrain/open_image.py"),
    "probes": (
        "pretrain/data.py",
        "pretrain/evaluate/features.py",
        "pretrain/evaluate/knn.py",
        "pretrain/evaluate/linear.py",
        "pretrain/evaluate/probe.py",
        "pretrain/feed.py",
        "pretrain/loader.py",
        "pretrain/networks.py",
        "pretrain/randomness.py",
        "pretrain/session.py",
    ),
    "fine-tuning": (
        "pretrain/batch_norm.py",
        "pretrain/data.py",
        "pretrain/distributed.py",
        "pretrain/evaluate/classifier.py",
        "pretrain/evaluate/features.py",
        "pretrain/evaluate/finetune.py",
        "pretrain/evaluate/labelled.py",
        "pretrain/evaluate/linear.py",
        "pretrain/evaluate/probe.py",
        "pretrain/feed.py",
        "pretrain/loader.py",
        "pretrain/networks.py",
        "pretrain/optim.py",
        "pretrain/randomness.py",
        "pretrain/session.py",
    ),
    "detection": (
        "pretrain/data.py",
        "pretrain/distributed.py",
        "pretrain/evaluate/probe.py",
        "pretrain/loader.py",
        "pretrain/networks.py",
        "pretrain/open_image.py",
        "pretrain/randomness.py",
        "pretrain/session.py",
        "transfer/coco.py",
        "transfer/coco_fields.py",
        "transfer/convert.py",
        "transfer/detectron.py",
        "transfer/engine.py",
        "transfer/examples.py",
        "transfer/maskrcnn.py",
        "transfer/precise_norm.py",
        "transfer/scenes.py",
        "transfer/scoring.py",
        "transfer/trunk.py",
    ),
}

PARTS: dict[str, tuple[str, ...]] = {  # kind of spec -> the parts of every such work
    "Run": ("training", "views"),
    "Evaluation": ("probes",),
    "FineTuning": ("fine-tuning", "views"),
    "Detection": ("detection",),
}

METHOD_FILES: dict[str, tuple[str, ...]] = {  # what a method takes from beside its own file
    "byol": ("pretrain/methods/ema.py",),
    "icl_msr": (
        "pretrain/hypergradient.py",
        "pretrain/methods/barlow_twins.py",
        "pretrain/methods/simclr.py",
        "pretrain/regulariser.py",
    ),
    "mec": ("pretrain/coding_rate.py", "pretrain/methods/ema.py", "pretrain/methods/simsiam.py"),
    "moco": ("pretrain/methods/ema.py",),
    "relic": ("pretrain/methods/ema.py",),
    "ssl_hsic": (
        "pretrain/hypergradient.py",
        "pretrain/methods/byol.py",
        "pretrain/methods/ema.py",
        "pretrain/methods/fourier.py",
    ),
}

UNMOVING: dict[str, str] = {  # files of the same work that cannot move a number -> why
    "pretrain/bad_data.py": "names an error",
    "pretrain/checkpoint.py": "saves and loads what it is given; that resuming is exact is tested",
    "pretrain/class_names.py": "orders the classes, and the data's digest stands beside every number",
    "pretrain/collapse.py": "only logs how spread out embeddings are",
    "pretrain/data_identity.py": "compares digests, and computes none of a number",
    "pretrain/encoder.py": "reads weights, whose checksum is compared",
    "pretrain/divergence.py": "words an error",
    "pretrain/holdings.py": "finds the data's files, and the data's digest stands beside every number",
    "pretrain/image_folder.py": "reads images, and their digest stands beside every number",
    "pretrain/methods/__init__.py": "names methods, their papers and costs",
    "pretrain/methods/entry.py": "imports a method by its name",
    "pretrain/official.py": "reads images, and their digest stands beside every number",
    "pretrain/options.py": "checks the words of a command line",
    "pretrain/parent.py": "ends processes that are no longer wanted",
    "pretrain/place.py": "says which of several processes this is",
    "pretrain/printable.py": "makes text fit for a terminal",
    "pretrain/progress.py": "shows progress and logs",
    "pretrain/protocols.py": "writes settings into a spec, whose digest holds them",
    "pretrain/provenance.py": "describes a number that is already there",
    "pretrain/record.py": "writes results down",
    "pretrain/run.py": "holds settings in a spec's digest; golden digests and rates are tested",
    "pretrain/regular_file.py": "opens files, whose content is compared",
    "pretrain/source.py": "only compares files",
    "pretrain/spec.py": "makes digests, and golden digests are tested",
    "pretrain/stored_json.py": "reads results and specs that are already there",
    "transfer/folder_digests.py": "compares digests of the data",
    "transfer/install.py": "finds Detectron2, whose version stands beside every number",
    "transfer/masks.py": "only refuses masks",
    "transfer/msra.py": "reads weights, and their checksum is in the spec's digest",
    "transfer/pictures.py": "draws detections that are already there",
    "transfer/spec.py": "holds settings in a spec's digest; golden digests are tested",
    "transfer/weights.py": "reads weights, and their checksum is in the spec's digest",
}

# A string (kept, for a # in it starts no comment) or a comment; the grammar up to Python 3.11, in which no f-string
# holds its own quotation mark.
_STRING_OR_COMMENT = re.compile(
    r'("""(?:\\.|[^\\])*?"""'
    r"|'''(?:\\.|[^\\])*?'''"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'(?:\\.|[^'\\\n])*')"
    r"|#[^\n]*",
    re.DOTALL,
)


def fingerprint(spec: Spec) -> dict[str, str]:
    """The files that determine the number of `spec`, and a hash of each; empty for a kind of spec without a list.

    An evaluation's are those of the evaluation alone: its run has its own. Hashes are of the text as first read by
    this process.
    """
    return dict(_today(spec))


def changed(recorded: Mapping[str, str], spec: Spec) -> tuple[str, ...]:
    """The files that differ from when `recorded` was the fingerprint of `spec`, in order; those come or gone too."""
    today = _today(spec)
    if recorded == today:
        return ()
    return tuple(file for file in sorted({*recorded, *today}) if recorded.get(file) != today.get(file))


def remember_sources() -> None:
    """Hash every listed file now; what this process later says of its sources stays true when they are edited."""
    for files in (*FILES.values(), *METHOD_FILES.values()):
        for file in files:
            _hash(file)
    for entry in METHODS.values():
        _hash(_method_file(entry.code))


def essence(text: str) -> str:
    """Python source without comments, docstrings, blank lines and trailing space."""
    lines = text.splitlines()
    for first, last in _docstrings(ast.parse(text)):
        lines[first - 1 : last] = [""] * (last - first + 1)
    code = _STRING_OR_COMMENT.sub(lambda found: found[1] or "", "\n".join(lines))
    return "\n".join(line.rstrip() for line in code.splitlines() if line.strip())


def _docstrings(node: ast.AST) -> Iterator[tuple[int, int]]:
    """First and last line of every docstring that has these lines for itself."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt):
            yield from _docstrings(child)
    if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return
    if ast.get_docstring(node, clean=False) is None:
        return
    string, *others = node.body
    last = string.end_lineno or string.lineno
    header = 0 if isinstance(node, ast.Module) else node.lineno
    if header < string.lineno and (not others or last < others[0].lineno):
        yield string.lineno, last


def _today(spec: Spec) -> dict[str, str]:
    if not isinstance(spec, Run | Measured) or type(spec).__qualname__ not in PARTS:
        return {}
    run = spec if isinstance(spec, Run) else spec.run
    return _hashes(type(spec).__qualname__, run.base_method, run.plus, run.dataset)


@cache
def _hashes(kind: str, method: str, plus: bool, dataset: str) -> dict[str, str]:
    parts = list(PARTS[kind])
    if DATASETS[dataset].large:
        parts.append("large images")
    if dataset == "digits":
        parts.append("digits")
    if kind == "Run" and plus:
        parts += ["two levels", "CompMod"]
    files = {file for part in parts for file in FILES[part]}
    if kind == "Run":
        files |= {_method_file(METHODS[method].code), *METHOD_FILES.get(method, ())}
    return {file: _hash(file) for file in sorted(files)}


def _method_file(code: str) -> str:
    return f"pretrain/methods/{code.partition('.')[0]}.py"


@cache
def _hash(file: str) -> str:
    return hashlib.sha256(essence((PACKAGE / file).read_text(encoding="utf-8")).encode()).hexdigest()[:DIGEST_LENGTH]
