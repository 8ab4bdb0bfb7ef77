"""The laws of the layout: the order of imports, no circles, sizes, no pickle, no torch where none is needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest
from paths import ROOT

ORDER = ("pretrain", "transfer", "tables", "slurm")  # each folder imports itself and what stands to its left
FILES = sorted(path for folder in ORDER for path in (ROOT / folder).rglob("*.py"))
FOLDERS = sorted({path.parent for path in FILES})
MOST_ENTRIES, MOST_LINES = 12, 300
# a file a method, a file a table, and the folders that pretraining is made of
LARGE_FOLDERS = {"pretrain/methods", "tables", "pretrain"}
PICKLE = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve"}
PICKLE_FILES = {  # may hold an unpickler that knows a few harmless types
    "pretrain/data/cifar_stl.py",
    "pretrain/weights/tensors_only.py",
}
# the one reader; what pip notes of a package
JSON_FILES = {"pretrain/files/stored_json.py", "transfer/detector/install.py"}
# What commands import before they know whether anything is to be computed: without torch, so that they answer at once.
LIGHT = ("pretrain/commands", "pretrain/files", "pretrain/recipes", "pretrain/records", "pretrain/specs")
LIGHT += ("transfer/commands", "tables", "slurm")


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


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


@cache
def _graph() -> dict[str, set[str]]:
    """Every module and the modules that it imports, at its top, inside a function or for a type checker."""
    modules = {_module(path): path for path in FILES}
    graph: dict[str, set[str]] = {}
    for module, path in modules.items():
        names = _imports(path, ast.parse(path.read_text()))
        graph[module] = {name if name in modules else name.rpartition(".")[0] for name in names} & set(modules)
    return graph


def _circle(graph: Mapping[str, set[str]]) -> list[str]:
    """What is left of a graph when all that nothing imports, or that imports nothing, is taken away: its circles."""
    left = {node: {other for other in others if other != node} for node, others in graph.items()}
    while True:
        imported = {other for others in left.values() for other in others}
        ends = {node for node, others in left.items() if node not in imported or not others & set(left)}
        if not ends:
            return sorted(left)
        left = {node: others - ends for node, others in left.items() if node not in ends}


def _of_folder(graph: Mapping[str, set[str]], folder: str) -> dict[str, set[str]]:
    """The graph between the entries, files and folders, of one folder ("" for the repository's root)."""
    depth = len(folder.split(".")) if folder else 0
    inside: dict[str, set[str]] = {}
    for module, others in graph.items():
        if (not folder or module.startswith(f"{folder}.")) and module.count(".") >= depth:
            entry = module.split(".")[depth]
            reached = [other for other in others if not folder or other.startswith(f"{folder}.")]
            inside.setdefault(entry, set()).update(other.split(".")[depth] for other in reached)
    return {entry: {other for other in others if other in inside} for entry, others in inside.items()}


def _unsafe(tree: ast.AST) -> list[str]:
    """Uses of pickle, and calls of torch.load or numpy.load that would read one."""
    uses = []
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
        uses += [f"line {node.lineno}: {name}" for name in names if name.split(".")[0] in PICKLE]  # type: ignore[attr-defined]
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "load"):
            continue
        owner = ast.unparse(node.func.value)
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        unsafe_torch = owner == "torch" and given.get("weights_only") != "True"
        unsafe_numpy = owner in ("np", "numpy") and given.get("allow_pickle", "False") != "False"
        if unsafe_torch or unsafe_numpy:
            uses.append(f"line {node.lineno}: {ast.unparse(node)}")
    return uses


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_a_file_imports_only_its_own_folder_and_those_to_its_left(path: Path) -> None:
    assert _backwards(path, ast.parse(path.read_text())) == []


@pytest.mark.parametrize(
    "file, line",
    [
        ("pretrain/specs/run.py", "from ...tables.paper.table import Table"),
        ("pretrain/methods/base.py", "from ...slurm import plan"),
        ("pretrain/specs/run.py", "import compmod.transfer.spec"),
        ("tables/build.py", "from .. import slurm"),
        ("tables/build.py", "from compmod.slurm.task.task import Task"),
        ("transfer/spec.py", "from ..tables import paper"),
        ("slurm/task/start.py", "from ...cli import main"),
    ],
)
def test_the_check_of_the_import_order_sees_a_backward_import(file: str, line: str) -> None:
    assert _backwards(ROOT / file, ast.parse(line)) != []


def test_no_files_import_each_other_in_a_circle() -> None:
    graph = _graph()
    assert sum(map(len, graph.values())) > 500
    assert _circle(graph) == []


@pytest.mark.parametrize("folder", [Path(ROOT), *FOLDERS], ids=lambda folder: _name(folder))
def test_no_entries_of_a_folder_import_each_other_in_a_circle(folder: Path) -> None:
    name = ".".join(folder.relative_to(ROOT).parts)
    assert _circle(_of_folder(_graph(), name)) == []


def test_the_checks_for_circles_see_one_and_nothing_else() -> None:
    line = {"a.x": {"b.y"}, "b.y": {"b.z"}, "b.z": set()}
    assert _circle(line) == [] == _circle(_of_folder(line, ""))
    assert _circle(line | {"b.z": {"a.x"}}) == ["a.x", "b.y", "b.z"]
    folders = line | {"b.z": {"a.w"}, "a.w": set()}
    assert _circle(folders) == []
    assert _circle(_of_folder(folders, "")) == ["a", "b"]
    assert _circle(_of_folder({"a.x.p": {"a.y"}, "a.y": {"a.x.q"}, "a.x.q": set()}, "a")) == ["x", "y"]


@pytest.mark.parametrize("folder", FOLDERS, ids=_name)
def test_a_folder_has_at_most_a_dozen_entries(folder: Path) -> None:
    entries = [path.name for path in folder.iterdir() if path.name not in ("__init__.py", "__pycache__")]
    assert len(entries) <= MOST_ENTRIES or _name(folder) in LARGE_FOLDERS


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_no_file_is_long(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MOST_LINES


@pytest.mark.parametrize("folder", FOLDERS, ids=_name)
def test_every_folder_says_what_it_is_for(folder: Path) -> None:
    docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
    assert docstring is not None
    assert len(docstring.split()) > 5


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_no_file_reads_a_pickle(path: Path) -> None:
    unsafe = _unsafe(ast.parse(path.read_text()))
    if _name(path) in PICKLE_FILES:
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


@pytest.mark.parametrize("path", sorted(PICKLE_FILES))
def test_an_unpickler_in_the_package_resolves_no_type_of_the_files_choice(path: str) -> None:
    tree = ast.parse((ROOT / path).read_text())
    calls = [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert not {"pickle.load", "pickle.loads", "pickle.Unpickler"} & set(calls)
    unpicklers = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and any("Unpickler" in ast.unparse(base) for base in node.bases)
    ]
    assert unpicklers
    for node in unpicklers:
        methods = {item.name for item in node.body if isinstance(item, ast.FunctionDef)}
        assert "find_class" in methods, f"{path}: {node.name} resolves every type"


HEAVY_AFTER = """
import importlib, sys
for module in sys.argv[1:]:
    importlib.import_module(module)
    heavy = {"torch", "torchvision", "matplotlib"} & set(sys.modules)
    if heavy:
        sys.exit(f"{module} imports {sorted(heavy)}")
"""


def _heavy(*modules: str) -> str:
    """The first of these modules after whose import torch or matplotlib is there, in words."""
    command = [sys.executable, "-c", HEAVY_AFTER, *modules]
    return subprocess.run(command, capture_output=True, text=True, timeout=120).stderr.strip()


@pytest.mark.parametrize("folder", LIGHT)
def test_a_light_folder_imports_no_torch(folder: str) -> None:
    modules = [f"compmod.{_module(path)}" for path in FILES if _name(path).startswith(f"{folder}/")]
    assert len(modules) > 2
    assert _heavy("compmod", "compmod.cli", *modules) == ""


def test_the_check_of_light_folders_sees_torch() -> None:
    assert _heavy("compmod.pretrain.specs.run", "compmod.pretrain.optim").startswith("compmod.pretrain.optim imports")


def _json_readers(tree: ast.AST) -> list[str]:
    """Calls that read JSON past the one reader."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    readers = [f"line {call.lineno}: {ast.unparse(call.func)}" for call in calls]
    readers += [
        f"line {node.lineno}: from json import"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "json"
    ]
    return [line for line in readers if line.endswith((": json.load", ": json.loads", ": from json import"))]


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_stored_json_is_read_by_the_one_reader(path: Path) -> None:
    if _name(path) not in JSON_FILES:
        assert _json_readers(ast.parse(path.read_text())) == []


@pytest.mark.parametrize("code", ["json.load(handle)", "json.loads(text)", "from json import loads"])
def test_the_check_for_json_sees_another_reader(code: str) -> None:
    assert _json_readers(ast.parse(code)) != []


def test_every_folder_with_python_files_has_an_init_file() -> None:
    assert sorted({str(path.parent) for path in FILES if not (path.parent / "__init__.py").is_file()}) == []
