"""Fingerprint: which code of ours determines a number, in hashes, to tell later whether that code has changed.

The code of a number is the import closure of what made it: the trainer with the method's module, a probe, a
fine-tuning, a detector. A file or a folder that cannot move a number says so itself, in a constant MOVES_NO_NUMBER with
the reason (a folder in its `__init__.py`); its imports are not followed. A file that works on large images alone says
ONLY_LARGE_IMAGES.

A fingerprint holds a hash of every definition (function, class or constant of a module), by its name alone: a
definition that moves to another file is the same one. The hash is of the text without imports, comments, docstrings,
blank lines and trailing space, so that rewording makes nothing stale and every version of Python makes the same hash.
Imports no torch.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import importlib.util
import re
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from pathlib import Path

from ..specs.datasets import Dataset
from ..specs.measurement import Work
from ..specs.methods import METHODS
from ..specs.performers import PERFORMS
from ..specs.run import Kind
from ..specs.spec import DIGEST_LENGTH, Spec

PACKAGE = Path(__file__).resolve().parents[2]
NAME = __name__.partition(".")[0]  # of the package
UNNAMED = "(statements)"  # of a module, that define nothing
FREE, LARGE = "MOVES_NO_NUMBER", "ONLY_LARGE_IMAGES"  # what a file says of itself

PROBES = "pretrain.evaluate"  # a pretraining imports them for its log; they train nothing
TWO_LEVELS = "pretrain.two_level.objective"  # imported by name, for "+" and for a method that has a
REGULARISER = "pretrain.methods.parts.regulariser"

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
_parse = lru_cache(maxsize=1)(ast.parse)  # the imports of a file are looked for right after its definitions
_IN_STRING = "\0"  # a line break; no source holds this character


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


def code_digest(spec: Spec, *others: str) -> str:
    """One hash of all definitions that determine the number of `spec`, and of those of `others`.

    The others are modules of this package, named from below it, such as "pretrain.trainer".
    """
    parts = {part for hashes in _hashes(*_subject(spec)).values() for part in hashes}
    return _hash(repr(sorted(parts.union(*(_definitions(f"{NAME}.{other}") for other in others)))))


def is_of_files(recorded: Mapping[str, str]) -> bool:
    """Whether a fingerprint is of an older form, which had a hash a file, and tells nothing of the files of today."""
    return any("/" in name for name in recorded)


@cache
def remember_sources() -> None:
    """Hash every file that may count; what this process later says of its sources stays true when they are edited."""
    for top in ("pretrain", "transfer"):
        for path in (PACKAGE / top).rglob("*.py"):
            _definitions(".".join([NAME, *path.relative_to(PACKAGE).with_suffix("").parts]))
    for entry in METHODS.values():
        _definitions(entry.module)


def essences(text: str) -> dict[str, list[str]]:
    """The definitions of a Python source by name, each without imports, comments, docstrings and blank lines."""
    tree, lines = _parse(text), text.splitlines()
    for first, last in (*_docstrings(tree), *_import_lines(tree)):
        lines[first - 1 : last] = [""] * (last - first + 1)
    named: dict[str, list[str]] = {}
    for node in tree.body:
        first = min(part.lineno for part in (node, *getattr(node, "decorator_list", [])))
        code = _STRING_OR_COMMENT.sub(_kept, "\n".join(lines[first - 1 : node.end_lineno]))
        if essence := "\n".join(line.rstrip() for line in code.split("\n") if line.strip()):
            named.setdefault(_name(node), []).append(essence.replace(_IN_STRING, "\n"))
    return named


def _kept(part: re.Match[str]) -> str:
    """A string with its line breaks marked, so that it stays whole; nothing of a comment."""
    return (part[1] or "").replace("\n", _IN_STRING)


def _name(node: ast.stmt) -> str:
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        return node.name
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    names = [part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)]
    return ", ".join(names) or UNNAMED


def _import_lines(tree: ast.Module) -> Iterator[tuple[int, int]]:
    """First and last line of every import, wherever it stands, and of what only a type checker runs."""
    for node in _statements(tree):
        if isinstance(node, ast.Import | ast.ImportFrom) or _is_for_types(node):
            yield node.lineno, node.end_lineno or node.lineno  # type: ignore[attr-defined]


def _statements(tree: ast.Module) -> Iterator[ast.AST]:
    """All of a module but its expressions; of what only a type checker runs, the `if` alone."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if not _is_for_types(node):
            waiting += [part for part in ast.iter_child_nodes(node) if not isinstance(part, ast.expr)]


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


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


def _subject(spec: Spec) -> tuple[Kind | None, str, bool, Dataset | None]:
    """What of a spec selects the code: its kind, and method, "+" and data set of the run."""
    if not isinstance(spec, Work):
        return None, "", False, None
    run = spec.run
    return spec.kind, run.base_method, run.plus, run.data


@cache
def _named(kind: Kind | None, method: str, plus: bool, entry: Dataset | None) -> dict[str, str]:
    named: dict[str, set[str]] = {}
    for hashes in _hashes(kind, method, plus, entry).values():
        for name, part in hashes:
            named.setdefault(name, set()).add(part)
    return {name: " ".join(sorted(parts)) for name, parts in sorted(named.items())}


@cache
def _hashes(kind: Kind | None, method: str, plus: bool, entry: Dataset | None) -> dict[str, frozenset[tuple[str, str]]]:
    """The files that determine a number, in order, and the hashes of their definitions; last, the data set's entry."""
    if kind is None or entry is None:
        return {}
    roots = [f"{NAME}.{PERFORMS[kind].partition(':')[0]}"]
    if kind != "detection":  # which reads COCO
        roots.append(f"{NAME}.pretrain.data.{entry.reader}")
    if kind == "pretraining":
        roots.append(METHODS[method].module)
    large = entry.large or kind == "detection"
    modules = _closure(roots, without=f"{NAME}.{PROBES}" if kind == "pretraining" else "", large=large)
    if kind == "pretraining" and (plus or f"{NAME}.{REGULARISER}" in modules):
        modules |= _closure([f"{NAME}.{TWO_LEVELS}"], without="", large=large)
    of_files = {_path_name(module): _definitions(module) for module in modules}
    settings = repr([(field.name, getattr(entry, field.name)) for field in dataclasses.fields(entry)])
    key = f"DATASETS[{entry.name}]"
    return {file: of_files[file] for file in sorted(of_files)} | {key: frozenset([(key, _hash(settings))])}


def _closure(roots: list[str], *, without: str, large: bool) -> set[str]:
    """The modules that `roots` import, at their top or inside a function, and theirs in turn, as far as they count."""
    reached: set[str] = set()
    waiting = list(roots)
    while waiting:
        module = waiting.pop()
        aside = bool(without) and (module == without or module.startswith(f"{without}."))
        if module not in reached and not aside and _counts(module, large=large):
            reached.add(module)
            waiting += _imported(module)
    return reached


def _counts(module: str, *, large: bool) -> bool:
    """Whether a module's definitions belong to a fingerprint: neither it nor a folder of it says that they do not."""
    parts = module.split(".")
    folders = [".".join([*parts[:length], "__init__"]) for length in range(2, len(parts))]
    names = {name for place in (*folders, module) for name, _ in _definitions(place)}
    return FREE not in names and (large or LARGE not in names) and parts[-1] != "__init__"


@cache
def _imported(module: str) -> tuple[str, ...]:
    """The modules that a module imports: those of this package and of its own."""
    own = (NAME, module.partition(".")[0])
    names = []
    for node in _statements(_parse(_text(module))):
        if isinstance(node, ast.ImportFrom):
            folder = module.split(".")[: -node.level] if node.level else []
            base = ".".join([*folder, *(node.module.split(".") if node.module else [])])
            names += [f"{base}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    named = (name if _path(name) else name.rpartition(".")[0] for name in names if name.partition(".")[0] in own)
    return tuple(name for name in named if _path(name))


@cache
def _path(module: str) -> Path | None:
    """The file of a module, without importing it; None where there is none."""
    if module.partition(".")[0] == NAME:
        path = PACKAGE.joinpath(*module.split(".")[1:]).with_suffix(".py")
        if path.is_file():
            return path
        if module not in (entry.module for entry in METHODS.values()):
            return None
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec and spec.origin else None


def _path_name(module: str) -> str:
    return module.removeprefix(f"{NAME}.").replace(".", "/") + ".py"


@cache
def _text(module: str) -> str:
    path = _path(module)
    return path.read_text(encoding="utf-8") if path else ""


@cache
def _definitions(module: str) -> frozenset[tuple[str, str]]:
    """Name and hash of every definition of a module."""
    named = essences(_text(module))
    return frozenset((name, _hash(essence)) for name, parts in named.items() for essence in parts)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_LENGTH]
