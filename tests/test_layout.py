"""The laws that a reader can check without running anything: import order, no pickle, no torch where none is needed."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from paths import ROOT

ORDER = ("pretrain", "transfer", "tables", "slurm")  # each folder imports itself and what stands to its left
FILES = sorted(path for folder in ORDER for path in (ROOT / folder).rglob("*.py"))
PICKLE = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve"}
PICKLE_ROOMS = {"pretrain/data/cifar_stl.py"}  # may hold an unpickler that knows a few harmless types
JSON_ROOMS = {
    "pretrain/files/stored_json.py",
    "transfer/detector/install.py",
}  # the one reader; what pip notes of a package
LIGHT = (
    "compmod",
    "compmod.pretrain.files.bad_data",
    "compmod.pretrain.data.load",
    "compmod.pretrain.data.identity",
    "compmod.pretrain.methods",
    "compmod.pretrain.commands.methods",
    "compmod.pretrain.data.decode",
    "compmod.pretrain.runtime.worker_process",
    "compmod.pretrain.commands.options",
    "compmod.pretrain.runtime.launch",
    "compmod.pretrain.recipes.presets",
    "compmod.pretrain.files.printable",
    "compmod.pretrain.recipes.evaluation",
    "compmod.pretrain.recipes.augmentations",
    "compmod.pretrain.recipes.fusions",
    "compmod.pretrain.records.record",
    "compmod.pretrain.files.regular_file",
    "compmod.pretrain.specs.run",
    "compmod.pretrain.records.fingerprint",
    "compmod.pretrain.specs.spec",
    "compmod.pretrain.files.stored_fields",
    "compmod.pretrain.files.stored_json",
    "compmod.slurm.status.read",
    "compmod.slurm.submission.check",
    "compmod.slurm.clusters.cluster",
    "compmod.slurm.commands.submit",
    "compmod.slurm.submission.local_driver",
    "compmod.slurm.task.failures",
    "compmod.slurm.commands.cancel_retry",
    "compmod.slurm.submission.arrays",
    "compmod.slurm.submission.journal",
    "compmod.slurm.submission.local",
    "compmod.slurm.status.pace",
    "compmod.slurm.status.schedulers",
    "compmod.slurm.clusters.squeue",
    "compmod.slurm.shared_files",
    "compmod.slurm.task.signals",
    "compmod.slurm.task.start",
    "compmod.slurm.status.status",
    "compmod.slurm.commands.status",
    "compmod.slurm.submission.submit",
    "compmod.slurm.task.task",
    "compmod.slurm.status.terminal",
    "compmod.tables.report.charts",
    "compmod.tables.claims.findings",
    "compmod.tables.commands.claims",
    "compmod.tables.commands.table",
    "compmod.tables.claims.comparison",
    "compmod.tables.plan.cost",
    "compmod.tables.report.curves",
    "compmod.tables.report.detections",
    "compmod.tables.report.figures",
    "compmod.tables.results.cells",
    "compmod.tables.results.measurements",
    "compmod.tables.claims.gains",
    "compmod.tables.report.contents",
    "compmod.tables.render.html_table",
    "compmod.tables.render.latex",
    "compmod.tables.report.wording",
    "compmod.tables.claims.sentences",
    "compmod.tables.render.markdown",
    "compmod.tables.results.origin",
    "compmod.tables.results.results",
    "compmod.tables.report.page",
    "compmod.tables.paper.printed",
    "compmod.tables.plan.plan",
    "compmod.tables.commands.plan",
    "compmod.tables.plan.measured_rates",
    "compmod.tables.claims.patterns",
    "compmod.tables.render.render",
    "compmod.tables.report.report",
    "compmod.tables.commands.report",
    "compmod.tables.reproduce",
    "compmod.tables.paper.scales",
    "compmod.tables.claims.evidence",
    "compmod.tables.results.comparability",
    "compmod.tables.plan.progress",
    "compmod.tables.paper.table",
    "compmod.tables.table1",
    "compmod.tables.table2",
    "compmod.tables.table3",
    "compmod.tables.table4",
    "compmod.tables.table5",
    "compmod.tables.table6",
    "compmod.tables.table7",
    "compmod.tables.results.verdict",
    "compmod.tables.workers",
    "compmod.transfer.data.coco",
    "compmod.transfer.data.coco_fields",
    "compmod.transfer.commands.transfer",
    "compmod.transfer.commands.doctor",
    "compmod.transfer.commands.export",
    "compmod.transfer.detector.install",
    "compmod.transfer.data.masks",
    "compmod.transfer.identity",
    "compmod.transfer.spec",
)


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _imports(path: Path, tree: ast.AST) -> Iterator[str]:
    """Dotted names below the repository root, without the package's own name, that a file imports."""
    folder = list(path.relative_to(ROOT).parent.parts)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.removeprefix("compmod.") for alias in node.names if "compmod" in alias.name)
        elif isinstance(node, ast.ImportFrom) and node.level:
            climbed = folder[: len(folder) - node.level + 1]
            base = [*climbed, *(node.module.split(".") if node.module else [])]
            yield from (".".join([*base, alias.name]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "compmod":
            yield from (f"{node.module}.{alias.name}".removeprefix("compmod.") for alias in node.names)


def _backwards(path: Path, tree: ast.AST) -> list[str]:
    """The imports of a file that reach to the right of its own folder, or out of the four folders."""
    allowed = ORDER[: ORDER.index(path.relative_to(ROOT).parts[0]) + 1]
    return [name for name in _imports(path, tree) if name.split(".")[0] not in allowed]


def _unsafe(tree: ast.AST) -> list[str]:
    """Uses of pickle, and calls of torch.load or numpy.load that would read one."""
    found = []
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
        found += [f"line {node.lineno}: {name}" for name in names if name.split(".")[0] in PICKLE]  # type: ignore[attr-defined]
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "load"):
            continue
        owner = ast.unparse(node.func.value)
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        unsafe_torch = owner == "torch" and given.get("weights_only") != "True"
        unsafe_numpy = owner in ("np", "numpy") and given.get("allow_pickle", "False") != "False"
        if unsafe_torch or unsafe_numpy:
            found.append(f"line {node.lineno}: {ast.unparse(node)}")
    return found


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_a_file_imports_only_its_own_folder_and_those_to_its_left(path: Path) -> None:
    assert _backwards(path, ast.parse(path.read_text())) == []


@pytest.mark.parametrize(
    "file, line",
    [
        ("pretrain/run.py", "from ..tables.table import Table"),
        ("pretrain/methods/base.py", "from ...slurm import plan"),
        ("pretrain/run.py", "import compmod.transfer.spec"),
        ("tables/table.py", "from .. import slurm"),
        ("tables/table.py", "from compmod.slurm.plan import plan"),
        ("transfer/spec.py", "from ..tables import paper"),
        ("slurm/plan.py", "from ..cli import main"),
    ],
)
def test_the_check_of_the_import_order_sees_a_backward_import(file: str, line: str) -> None:
    assert _backwards(ROOT / file, ast.parse(line)) != []


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_no_file_reads_a_pickle(path: Path) -> None:
    unsafe = _unsafe(ast.parse(path.read_text()))
    if _name(path) in PICKLE_ROOMS:
        unsafe = [line for line in unsafe if not line.endswith(": pickle")]
    assert unsafe == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from pickle import loads",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "import joblib",
    ],
)
def test_the_check_for_pickles_sees_one(code: str) -> None:
    assert _unsafe(ast.parse(code)) != []


def test_torch_load_of_weights_only_passes_the_check_for_pickles() -> None:
    assert _unsafe(ast.parse("torch.load(path, weights_only=True)")) == []


@pytest.mark.parametrize("path", sorted(PICKLE_ROOMS))
def test_an_unpickler_in_the_package_resolves_no_type_of_the_files_choice(path: str) -> None:
    file = ROOT / path
    tree = ast.parse(file.read_text()) if file.is_file() else ast.parse("")
    calls = [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert not {"pickle.load", "pickle.loads", "pickle.Unpickler"} & set(calls)
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and any("Unpickler" in ast.unparse(base) for base in node.bases):
            methods = {item.name for item in node.body if isinstance(item, ast.FunctionDef)}
            assert "find_class" in methods, f"{path}: {node.name} resolves every type"


@pytest.mark.parametrize("module", LIGHT)
def test_a_light_module_imports_no_torch(module: str) -> None:
    code = (
        f"import sys, {module}\n"
        "heavy = {'torch', 'torchvision', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def _json_readers(tree: ast.AST) -> list[str]:
    """Calls that read JSON past the one reader."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    found = [f"line {call.lineno}: {ast.unparse(call.func)}" for call in calls]
    found += [
        f"line {node.lineno}: from json import"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "json"
    ]
    return [line for line in found if line.endswith((": json.load", ": json.loads", ": from json import"))]


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_stored_json_is_read_by_the_one_reader(path: Path) -> None:
    if _name(path) not in JSON_ROOMS:
        assert _json_readers(ast.parse(path.read_text())) == []


@pytest.mark.parametrize("code", ["json.load(handle)", "json.loads(text)", "from json import loads"])
def test_the_check_for_json_sees_another_reader(code: str) -> None:
    assert _json_readers(ast.parse(code)) != []


def test_the_package_list_is_every_folder_with_an_init_file() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {path.parent for folder in ORDER for path in (ROOT / folder).rglob("__init__.py")} | {ROOT}
    found = {".".join(["compmod", *folder.relative_to(ROOT).parts]) for folder in folders}
    assert sorted(declared) == sorted(found)


def test_every_folder_with_python_files_has_an_init_file() -> None:
    assert sorted({str(path.parent) for path in FILES if not (path.parent / "__init__.py").is_file()}) == []
