"""Fingerprints of sources: every file of the work is accounted for, and only a change of code makes a number stale."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from compmod.pretrain.records import fingerprint as source
from compmod.pretrain.records.fingerprint import (
    FILES,
    METHOD_FILES,
    PACKAGE,
    UNMOVING,
    changed,
    essences,
    files_of,
    fingerprint,
)
from compmod.pretrain.records.provenance import provenance
from compmod.pretrain.specs.datasets import DATASETS
from compmod.pretrain.specs.measurement import Evaluation, FineTuning
from compmod.pretrain.specs.methods import METHODS
from compmod.pretrain.specs.run import Run
from compmod.pretrain.specs.spec import Spec

RUN = Run(method="simclr", dataset="cifar10")
LARGE = Run(method="simclr+", dataset="imagenet")
WORK = (
    "pretrain/trainer.py",
    "pretrain/evaluate/probe.py",
    "pretrain/evaluate/finetune.py",
    "transfer/fine_tune.py",
    "pretrain/two_level/objective.py",  # imported by name, for "+" alone
)
# What a part imports only because it shares a file with work of another part.
ASIDE: dict[type[Spec], set[str]] = {
    Run: {f"pretrain/evaluate/{name}.py" for name in ("features", "knn", "linear", "probe", "splits")},  # online probes
    Evaluation: {
        f"pretrain/{name}.py" for name in ("views/colour", "runtime/distributed", "views/geometry", "views/augment")
    },  # of the feed
    FineTuning: set(),
}


def _imported(file: str) -> Iterator[str]:
    """The package's files that a file imports, at its top or inside a function."""
    folder = list(Path(file).parent.parts)
    for node in ast.walk(ast.parse((PACKAGE / file).read_text())):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = [*folder[: len(folder) - node.level + 1], *(node.module.split(".") if node.module else [])]
        for name in ("/".join(base), *("/".join([*base, alias.name]) for alias in node.names)):
            yield from (path for path in (f"{name}.py", f"{name}/__init__.py") if (PACKAGE / path).is_file())


def _closure(*files: str, without: frozenset[str] = frozenset()) -> set[str]:
    found, waiting = set(), list(files)
    while waiting:
        file = waiting.pop()
        if file not in found | without and (PACKAGE / file).read_text().count("\n") > 1:  # a package's docstring
            found.add(file)
            waiting += _imported(file)
    return found


def _method_file(method: str) -> str:
    return f"pretrain/methods/{METHODS[method].code.split('.')[0]}.py"


def _listed() -> set[str]:
    return {file for files in (*FILES.values(), *METHOD_FILES.values()) for file in files}


def test_every_file_that_training_and_evaluation_import_is_listed_or_said_not_to_matter() -> None:
    files = _closure(*WORK, *map(_method_file, METHODS))
    assert len(files) > 40
    unaccounted = files - _listed() - set(UNMOVING) - set(map(_method_file, METHODS))
    assert unaccounted == set(), (
        "put each into FILES, METHOD_FILES or, with the reason, UNMOVING of records/fingerprint.py"
    )


def test_no_file_is_both_listed_and_said_not_to_matter() -> None:
    assert _listed() & set(UNMOVING) == set()


def test_every_file_named_exists_and_is_part_of_the_work() -> None:
    work = _closure(*WORK, *map(_method_file, METHODS))
    assert _listed() - work == set()
    assert set(UNMOVING) - work == set()


def test_every_reason_is_given_in_words() -> None:
    assert [file for file, reason in UNMOVING.items() if len(reason.split()) < 3] == []


@pytest.mark.parametrize("method", METHODS)
def test_what_a_method_imports_is_in_its_fingerprint(method: str) -> None:
    views = (Run(method="simclr", dataset="cifar10").views[0],) * max(2, METHODS[method].views)
    found = files_of(Run(method=method, dataset="cifar10", views=views))
    others = frozenset(UNMOVING) | frozenset(FILES["training"]) | frozenset(FILES["two levels"])
    assert _closure(_method_file(method), without=others) <= set(found)


@pytest.mark.parametrize(
    "spec, start",
    [(LARGE, WORK[0]), (Evaluation(run=LARGE), WORK[1]), (FineTuning(run=LARGE), WORK[2])],
    ids=["run", "evaluation", "fine-tuning"],
)
def test_what_a_part_of_the_work_imports_is_in_its_fingerprint(spec: Spec, start: str) -> None:
    without = frozenset(UNMOVING) | ASIDE[type(spec)] | {"pretrain/data/digits.py"}  # type: ignore[index]
    assert _closure(start, without=without) <= set(files_of(spec))


def test_only_a_plus_run_depends_on_compmod() -> None:
    plain, plus = (set(files_of(Run(method=method, dataset="cifar10"))) for method in ("simclr", "simclr+"))
    assert plus - plain == {*FILES["CompMod"], *FILES["two levels"]}
    assert plain <= plus


def test_only_a_methods_own_runs_depend_on_its_file() -> None:
    assert "pretrain/methods/byol.py" in files_of(Run(method="byol", dataset="cifar10"))
    assert "pretrain/methods/byol.py" not in files_of(RUN)


def test_only_digits_depend_on_their_drawing_and_only_large_images_on_their_crops() -> None:
    found = {name: set(files_of(Run(method="simclr", dataset=name))) for name in DATASETS}
    assert [name for name in found if "pretrain/data/digits.py" in found[name]] == ["digits"]
    assert [name for name in found if "pretrain/views/crops.py" in found[name]] == ["imagenet100", "imagenet"]


def test_a_measurement_depends_on_its_own_files_and_its_run_on_none_of_them() -> None:
    assert "pretrain/evaluate/knn.py" in files_of(Evaluation(run=RUN))
    assert "pretrain/evaluate/classifier.py" in files_of(FineTuning(run=RUN))
    assert [file for file in files_of(RUN) if "evaluate" in file] == []
    assert "pretrain/trainer.py" not in files_of(Evaluation(run=RUN))


def test_the_fingerprint_stands_in_the_provenance() -> None:
    assert provenance(RUN, seconds=1, device="cpu")["source"] == fingerprint(RUN)


def test_nothing_has_changed_against_todays_fingerprint() -> None:
    assert changed(fingerprint(RUN), RUN) == ()


def test_the_files_of_changed_and_of_new_definitions_are_named_in_order() -> None:
    recorded = fingerprint(RUN) | {"Views": "0" * 12}
    del recorded["Trainer"]
    assert changed(recorded, RUN) == ("pretrain/trainer.py", "pretrain/views/augment.py")


def test_a_definition_that_nothing_uses_any_more_makes_nothing_stale() -> None:
    assert changed(fingerprint(RUN) | {"gone": "0" * 12}, RUN) == ()


def test_of_two_definitions_of_one_name_each_counts() -> None:
    spec = FineTuning(run=LARGE)
    shared = {name: hashes for name, hashes in fingerprint(spec).items() if " " in hashes}
    assert shared
    for name, hashes in shared.items():
        for part in hashes.split():
            assert changed(fingerprint(spec) | {name: part}, spec) != ()


def test_a_definition_moved_to_another_file_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = fingerprint(RUN)
    for path in PACKAGE.rglob("pretrain/**/*.py"):
        copy = tmp_path / path.relative_to(PACKAGE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text())
    views, trainer = tmp_path / "pretrain" / "views" / "augment.py", tmp_path / "pretrain" / "trainer.py"
    trainer.write_text(trainer.read_text() + views.read_text().partition("from __future__ import annotations")[2])
    views.write_text("from ..trainer import Views as Views\n")
    monkeypatch.setattr(source, "PACKAGE", tmp_path)
    caches = (source._definitions, source._hashes, source._named)
    try:
        [cache.cache_clear() for cache in caches]
        assert changed(recorded, RUN) == ()
        trainer.write_text(trainer.read_text().replace("BLUR_SHARE =", "BLUR_SHARE = 2 *"))
        [cache.cache_clear() for cache in caches]
        assert changed(recorded, RUN) == ("pretrain/trainer.py",)
    finally:
        [cache.cache_clear() for cache in caches]


def test_a_fingerprint_given_away_is_a_copy() -> None:
    fingerprint(RUN).clear()
    assert len(fingerprint(RUN)) > 10


def test_a_process_keeps_to_the_sources_it_started_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint(replace(RUN, seed=1))
    monkeypatch.setattr(source, "PACKAGE", tmp_path)
    source._hashes.cache_clear()
    source._named.cache_clear()
    assert fingerprint(RUN) == before


def test_importing_provenance_hashes_every_listed_file() -> None:
    code = (
        "import compmod.pretrain.records.provenance\n"
        "from pathlib import Path\n"
        "from compmod.pretrain.records import fingerprint as source\n"
        "from compmod.pretrain.specs.measurement import FineTuning\n"
        "from compmod.pretrain.specs.run import Run\n"
        "source.PACKAGE = Path('/nowhere')\n"
        "run = Run(method='icl_msr+', dataset='imagenet')\n"
        "print(len(source.fingerprint(run)) + len(source.fingerprint(FineTuning(run=run))))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert int(done.stdout) > 300


CODE = '''"""A module."""

import math  # why

NAME = "a # in a string"  # a comment with "quotes"
TEXT = """kept # too
   text"""


class A:
    """Docstring
    of two lines.
    """

    def f(self) -> str:
        """Docstring."""
        # a comment
        return f'{NAME!r} # {math.pi}'
'''


def test_the_essence_is_the_code_alone() -> None:
    assert essences(CODE) == {
        "NAME": ['NAME = "a # in a string"'],
        "TEXT": ['TEXT = """kept # too\n   text"""'],
        "A": ["class A:\n    def f(self) -> str:\n        return f'{NAME!r} # {math.pi}'"],
    }


@pytest.mark.parametrize(
    "old, new",
    [
        ("        # a comment\n", "        # another\n"),
        ("        # a comment\n", ""),
        ('"""A module."""', '"""Another\nlonger one # with this."""'),
        ('        """Docstring."""\n', ""),
        ("\n\n\nclass", "\nclass"),
        ("# why", "   "),
        ("import math  # why\n", "from .elsewhere import math\n"),
        ("        # a comment\n", "        from .elsewhere import math\n"),
        ("import math  # why\n", "if TYPE_CHECKING:\n    from .elsewhere import math\n"),
    ],
)
def test_rewording_and_other_imports_change_no_essence(old: str, new: str) -> None:
    assert CODE.count(old) == 1
    assert essences(CODE.replace(old, new)) == essences(CODE)


@pytest.mark.parametrize("old, new", [("# in a string", ""), ("math.pi", "math.e"), ("kept # too", "kept")])
def test_a_change_of_code_or_of_a_string_changes_the_essence(old: str, new: str) -> None:
    assert essences(CODE.replace(old, new)) != essences(CODE)


def test_a_docstring_that_shares_its_line_with_code_takes_no_code_away() -> None:
    assert "b = 1" in essences('class A: "doc"\nb = 1\n')["b"]
    assert "b = 1" in essences('"""doc"""; b = 1\n')["b"][0]


def test_names_that_are_assigned_together_and_statements_have_a_place() -> None:
    assert list(essences("A, B = 1, 2\nC: int = 3\nprint(A)\nprint(B)\n")) == ["A, B", "C", source.UNNAMED]
    assert essences("@f\ndef g(): ...\n") == {"g": ["@f\ndef g(): ..."]}


@pytest.mark.parametrize("file", sorted(_listed()))
def test_the_essences_of_a_listed_file_are_the_same_program(file: str) -> None:
    text = (PACKAGE / file).read_text()
    tree = ast.parse(text)
    found = {name: list(parts) for name, parts in essences(text).items()}
    for statement in tree.body:
        for node in ast.walk(statement):
            documented = isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            if documented and ast.get_docstring(node) is not None:  # type: ignore[arg-type]
                del node.body[0]  # type: ignore[attr-defined]
            for block in ("body", "orelse", "finalbody"):
                if isinstance(getattr(node, block, None), list):
                    kept = [part for part in getattr(node, block) if not isinstance(part, ast.Import | ast.ImportFrom)]
                    setattr(node, block, kept)
        if source._name(statement) == source.UNNAMED:
            continue
        bare = ast.parse(_with_bodies(found[source._name(statement)].pop(0)))
        for node in ast.walk(bare):
            documented = isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            if documented and ast.get_docstring(node) is not None:  # type: ignore[arg-type]
                del node.body[0]  # type: ignore[attr-defined]
        assert ast.dump(statement) == ast.dump(bare.body[0])


def _with_bodies(code: str) -> str:
    """Code in which a function or class that had only a docstring has one again."""
    lines = code.splitlines()
    for row, line in enumerate(lines):
        following = lines[row + 1] if row + 1 < len(lines) else ""
        depth, next_depth = (len(text) - len(text.lstrip()) for text in (line, following))
        if line.endswith(":") and line.lstrip().startswith(("class ", "def ")) and next_depth <= depth:
            lines[row] = f"{line} '...'"
    return "\n".join(lines)
