"""Source: which code of ours determines a number, and a fingerprint of it, to tell later whether it has changed.

The fingerprint holds a hash of every definition (function, class or constant of a module) in the files that determine
the number, by its name alone: a definition that moves to another file is the same one. The hash is of the text without
imports, comments, docstrings, blank lines and trailing space, so that rewording makes nothing stale and every version
of Python finds the same one. Imports no torch.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from ..specs.datasets import DATASETS
from ..specs.measurement import Work
from ..specs.methods import METHODS
from ..specs.spec import DIGEST_LENGTH, Spec

PACKAGE = Path(__file__).resolve().parents[2]

FILES: dict[str, tuple[str, ...]] = {  # what part of the work -> the files that determine it
    "training": (
        "pretrain/networks/batch_norm.py",
        "pretrain/data/load.py",
        "pretrain/specs/datasets.py",
        "pretrain/data/images.py",
        "pretrain/runtime/distributed.py",
        "pretrain/views/batches.py",
        "pretrain/views/loader.py",
        "pretrain/methods/base.py",
        "pretrain/views/batch.py",
        "pretrain/methods/build.py",
        "pretrain/runtime/precision.py",
        "pretrain/networks/build.py",
        "pretrain/networks/resnet.py",
        "pretrain/networks/two_trunks.py",
        "pretrain/networks/heads.py",
        "pretrain/optim.py",
        "pretrain/runtime/randomness.py",
        "pretrain/runtime/settings.py",
        "pretrain/training/session.py",
        "pretrain/training/interruption.py",
        "pretrain/trainer.py",
        "pretrain/two_level/objective.py",
    ),
    "views": ("pretrain/views/colour.py", "pretrain/views/geometry.py", "pretrain/views/augment.py"),
    "two levels": (
        "pretrain/two_level/hypergradient.py",
        "pretrain/networks/running_statistics.py",
        "pretrain/two_level/forward_mode.py",
        "pretrain/methods/parts/regulariser.py",
    ),
    "CompMod": ("pretrain/methods/parts/coding_rate.py", "pretrain/two_level/compmod.py"),
    "digits": ("pretrain/data/digits.py",),
    "large images": ("pretrain/views/crops.py", "pretrain/data/imagenet.py", "pretrain/data/decode.py"),
    "probes": (
        "pretrain/data/load.py",
        "pretrain/specs/datasets.py",
        "pretrain/data/images.py",
        "pretrain/evaluate/features.py",
        "pretrain/evaluate/knn.py",
        "pretrain/evaluate/linear.py",
        "pretrain/evaluate/probe.py",
        "pretrain/views/batches.py",
        "pretrain/views/loader.py",
        "pretrain/networks/build.py",
        "pretrain/networks/resnet.py",
        "pretrain/networks/two_trunks.py",
        "pretrain/networks/heads.py",
        "pretrain/runtime/randomness.py",
        "pretrain/runtime/settings.py",
        "pretrain/training/session.py",
        "pretrain/training/interruption.py",
    ),
    "fine-tuning": (
        "pretrain/networks/batch_norm.py",
        "pretrain/data/load.py",
        "pretrain/specs/datasets.py",
        "pretrain/data/images.py",
        "pretrain/runtime/distributed.py",
        "pretrain/evaluate/classifier.py",
        "pretrain/evaluate/features.py",
        "pretrain/evaluate/finetune.py",
        "pretrain/evaluate/labelled.py",
        "pretrain/evaluate/linear.py",
        "pretrain/evaluate/probe.py",
        "pretrain/views/batches.py",
        "pretrain/views/loader.py",
        "pretrain/networks/build.py",
        "pretrain/networks/resnet.py",
        "pretrain/networks/two_trunks.py",
        "pretrain/networks/heads.py",
        "pretrain/optim.py",
        "pretrain/runtime/randomness.py",
        "pretrain/runtime/settings.py",
        "pretrain/training/session.py",
        "pretrain/training/interruption.py",
    ),
    "detection": (
        "pretrain/specs/datasets.py",
        "pretrain/data/images.py",
        "pretrain/runtime/distributed.py",
        "pretrain/evaluate/probe.py",
        "pretrain/views/loader.py",
        "pretrain/networks/build.py",
        "pretrain/networks/resnet.py",
        "pretrain/networks/two_trunks.py",
        "pretrain/networks/heads.py",
        "pretrain/data/decode.py",
        "pretrain/runtime/randomness.py",
        "pretrain/runtime/settings.py",
        "pretrain/training/session.py",
        "pretrain/training/interruption.py",
        "transfer/data/coco.py",
        "transfer/data/coco_fields.py",
        "transfer/weights/convert.py",
        "transfer/detector/detectron2.py",
        "transfer/fine_tune.py",
        "transfer/data/examples.py",
        "transfer/detector/mask_rcnn.py",
        "transfer/detector/precise_batch_norm.py",
        "transfer/data/digit_scenes.py",
        "transfer/scoring.py",
        "transfer/detector/trunk.py",
    ),
}

PARTS: dict[str, tuple[str, ...]] = {  # kind of spec -> the parts of every such work
    "Run": ("training", "views"),
    "Evaluation": ("probes",),
    "FineTuning": ("fine-tuning", "views"),
    "Detection": ("detection",),
}

METHOD_FILES: dict[str, tuple[str, ...]] = {  # what a method takes from beside its own file
    "byol": ("pretrain/methods/parts/target_network.py",),
    "icl_msr": (
        "pretrain/two_level/hypergradient.py",
        "pretrain/networks/running_statistics.py",
        "pretrain/two_level/forward_mode.py",
        "pretrain/methods/barlow_twins.py",
        "pretrain/methods/simclr.py",
        "pretrain/methods/parts/regulariser.py",
    ),
    "mec": (
        "pretrain/methods/parts/coding_rate.py",
        "pretrain/methods/parts/target_network.py",
        "pretrain/methods/simsiam.py",
    ),
    "moco": ("pretrain/methods/parts/target_network.py",),
    "relic": ("pretrain/methods/parts/target_network.py",),
    "ssl_hsic": (
        "pretrain/networks/running_statistics.py",
        "pretrain/methods/byol.py",
        "pretrain/methods/parts/target_network.py",
        "pretrain/methods/parts/fourier.py",
    ),
}

UNMOVING: dict[str, str] = {  # files of the same work that cannot move a number -> why
    "pretrain/files/bad_data.py": "names an error",
    "pretrain/training/checkpoint.py": "saves and loads what it is given; that resuming is exact is tested",
    "pretrain/data/class_names.py": "orders the classes, and the data's digest stands beside every number",
    "pretrain/training/collapse.py": "only logs how spread out embeddings are",
    "pretrain/data/identity.py": "compares digests, and computes none of a number",
    "pretrain/networks/encoder.py": "reads weights, whose checksum is compared",
    "pretrain/training/divergence.py": "words an error",
    "pretrain/data/locate.py": "finds the data's files, and the data's digest stands beside every number",
    "pretrain/data/image_folder.py": "reads images, and their digest stands beside every number",
    "pretrain/specs/methods.py": "names methods, their papers and costs",
    "pretrain/data/cifar_stl.py": "reads images, and their digest stands beside every number",
    "pretrain/specs/fields.py": "checks the settings of a spec",
    "pretrain/runtime/worker_process.py": "ends processes that are no longer wanted",
    "pretrain/runtime/launch.py": "says which of several processes this is",
    "pretrain/files/printable.py": "makes text fit for a terminal",
    "pretrain/training/monitor.py": "shows progress and logs",
    "pretrain/recipes/evaluation.py": "writes settings into a spec, whose digest holds them",
    "pretrain/records/provenance.py": "describes a number that is already there",
    "pretrain/records/record.py": "writes results down",
    "pretrain/files/whole_file.py": "writes results down",
    "pretrain/specs/run.py": "holds settings in a spec's digest; golden digests and rates are tested",
    "pretrain/specs/measurement.py": "holds settings in a spec's digest; golden digests and rates are tested",
    "pretrain/files/regular_file.py": "opens files, whose content is compared",
    "pretrain/records/fingerprint.py": "only compares files",
    "pretrain/specs/spec.py": "makes digests, and golden digests are tested",
    "pretrain/files/stored_json.py": "reads results and specs that are already there",
    "transfer/identity.py": "compares digests of the data",
    "transfer/detector/install.py": "finds Detectron2, whose version stands beside every number",
    "transfer/data/masks.py": "only refuses masks",
    "transfer/weights/caffe.py": "reads weights, and their checksum is in the spec's digest",
    "transfer/data/pictures.py": "draws detections that are already there",
    "transfer/spec.py": "holds settings in a spec's digest; golden digests are tested",
    "transfer/weights/read.py": "reads weights, and their checksum is in the spec's digest",
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
UNNAMED = "(statements)"  # of a module, that define nothing


def fingerprint(spec: Spec) -> dict[str, str]:
    """The definitions that determine the number of `spec`, by name, with a hash; empty for a kind of spec without any.

    Definitions of one name share an entry: their hashes, sorted, with spaces between. An evaluation's are those of the
    evaluation alone: its run has its own. Hashes are of the text as first read by this process.
    """
    return dict(_named(*_subject(spec)))


def files_of(spec: Spec) -> tuple[str, ...]:
    """The files that determine the number of `spec`, in order, below the package's folder."""
    return tuple(_hashes(*_subject(spec)))


def changed(recorded: Mapping[str, str], spec: Spec) -> tuple[str, ...]:
    """The files, in order, with a definition that is not as `recorded` has it, the fingerprint of `spec` at the time.

    A definition that is gone needs no mention: what used it has changed, too, or the number does not depend on it.
    """
    subject = _subject(spec)
    if recorded == _named(*subject):
        return ()
    known = {(name, part) for name, hashes in recorded.items() for part in hashes.split()}
    return tuple(file for file, hashes in _hashes(*subject).items() if not known.issuperset(hashes))


def is_of_files(recorded: Mapping[str, str]) -> bool:
    """Whether a fingerprint is of an older form, which had a hash a file, and tells nothing of the files of today."""
    return any("/" in name for name in recorded)


def remember_sources() -> None:
    """Hash every listed file now; what this process later says of its sources stays true when they are edited."""
    for files in (*FILES.values(), *METHOD_FILES.values()):
        for file in files:
            _definitions(file)
    for entry in METHODS.values():
        _definitions(_method_file(entry.code))


def essences(text: str) -> dict[str, list[str]]:
    """The definitions of a Python source by name, each without imports, comments, docstrings and blank lines."""
    tree, lines = ast.parse(text), text.splitlines()
    for first, last in (*_docstrings(tree), *_imports(tree)):
        lines[first - 1 : last] = [""] * (last - first + 1)
    found: dict[str, list[str]] = {}
    for node in tree.body:
        first = min(part.lineno for part in (node, *getattr(node, "decorator_list", [])))
        code = _STRING_OR_COMMENT.sub(lambda part: part[1] or "", "\n".join(lines[first - 1 : node.end_lineno]))
        if essence := "\n".join(line.rstrip() for line in code.splitlines() if line.strip()):
            found.setdefault(_name(node), []).append(essence)
    return found


def _name(node: ast.stmt) -> str:
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        return node.name
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    names = [part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)]
    return ", ".join(names) or UNNAMED


def _imports(tree: ast.Module) -> Iterator[tuple[int, int]]:
    """First and last line of every import, wherever it stands, and of what only a type checker runs."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom) or (
            isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        ):
            yield node.lineno, node.end_lineno or node.lineno


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


def _subject(spec: Spec) -> tuple[str, str, bool, str]:
    """What of a spec selects the files: its kind, and method, "+" and data set of the run."""
    if not isinstance(spec, Work):
        return "", "", False, ""
    run = spec.run
    return type(spec).__qualname__, run.base_method, run.plus, run.dataset


@cache
def _named(kind: str, method: str, plus: bool, dataset: str) -> dict[str, str]:
    named: dict[str, set[str]] = {}
    for hashes in _hashes(kind, method, plus, dataset).values():
        for name, part in hashes:
            named.setdefault(name, set()).add(part)
    return {name: " ".join(sorted(parts)) for name, parts in sorted(named.items())}


@cache
def _hashes(kind: str, method: str, plus: bool, dataset: str) -> dict[str, frozenset[tuple[str, str]]]:
    """The files that determine a number, in order, and the hashes of their definitions."""
    if kind not in PARTS:
        return {}
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
    return {file: _definitions(file) for file in sorted(files)}


def _method_file(code: str) -> str:
    return f"pretrain/methods/{code.partition('.')[0]}.py"


@cache
def _definitions(file: str) -> frozenset[tuple[str, str]]:
    """Name and hash of every definition of a file."""
    text = (PACKAGE / file).read_text(encoding="utf-8")
    return frozenset(
        (name, hashlib.sha256(essence.encode()).hexdigest()[:DIGEST_LENGTH])
        for name, found in essences(text).items()
        for essence in found
    )
