"""Fingerprints: all code that runs counts or says why not, and only a change of code makes a number stale."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from compmod.pretrain.recipes.presets import preset
from compmod.pretrain.records import fingerprint as source
from compmod.pretrain.records.fingerprint import FREE, PACKAGE, changed, essences, files_of, fingerprint
from compmod.pretrain.records.provenance import provenance
from compmod.pretrain.specs.datasets import DATASETS
from compmod.pretrain.specs.measurement import Evaluation, FineTuning
from compmod.pretrain.specs.methods import METHODS, Entry
from compmod.pretrain.specs.performers import PERFORMS
from compmod.pretrain.specs.run import KINDS, Run
from compmod.pretrain.specs.spec import Spec
from compmod.transfer.spec import Detection, detector
from copied_sources import copied_sources, forget_sources

RUN = Run(method="simclr", dataset="cifar10")
PLUS = Run(method="simclr+", dataset="cifar10")
LARGE = Run(method="simclr+", dataset="imagenet")
DIGITS = Run(method="simclr", dataset="digits")
DETECTION = Detection(run=DIGITS, detector=detector("demo", "digit-scenes"))
SPECS: tuple[Spec, ...] = (RUN, PLUS, LARGE, DIGITS, Evaluation(run=RUN), FineTuning(run=LARGE), DETECTION)
FILES = sorted(path for top in ("pretrain", "transfer") for path in (PACKAGE / top).rglob("*.py"))

LOADED = """
import importlib, sys
for module in sys.argv[1:]:
    importlib.import_module(module)
print(*sorted(name for name in sys.modules if name.startswith("compmod.")))
"""


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    forget_sources()
    yield
    forget_sources()


def _declared(path: Path) -> dict[str, str]:
    """The constants of a module whose value is a string."""
    return {
        node.targets[0].id: node.value.value
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    }


def _is_free(file: str) -> bool:
    """Whether a file, or a folder of it, says that it moves no number."""
    path = PACKAGE / file
    folders = [folder / "__init__.py" for folder in path.parents if folder.is_relative_to(PACKAGE)]
    return any(FREE in _declared(place) for place in (path, *folders) if place.is_file())


@pytest.mark.parametrize(
    "spec, modules",
    [
        (PLUS, ("trainer", "methods.simclr", "data.cifar_stl", "two_level.objective")),
        (LARGE, ("trainer", "methods.simclr", "data.imagenet", "two_level.objective")),
        (preset("ssl_hsic", "digits"), ("trainer", "methods.ssl_hsic", "data.digits")),
        (preset("mec", "digits"), ("trainer", "methods.mec", "data.digits")),
        (Evaluation(run=LARGE), ("evaluate.probe", "data.imagenet")),
        (FineTuning(run=LARGE), ("evaluate.finetune", "data.imagenet")),
    ],
    ids=lambda value: value.digest if isinstance(value, Spec) else "",
)
def test_all_code_that_python_loads_counts_or_says_why_not(spec: Spec, modules: tuple[str, ...]) -> None:
    command = [sys.executable, "-c", LOADED, *(f"compmod.pretrain.{module}" for module in modules)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    files = {name.removeprefix("compmod.").replace(".", "/") + ".py" for name in done.stdout.split()}
    files = {file for file in files if (PACKAGE / file).is_file()}  # the others are folders
    if isinstance(spec, Run):  # probes while training train nothing
        files = {file for file in files if not file.startswith("pretrain/evaluate/")}
    if not (spec if isinstance(spec, Run) else spec.run).dataset.startswith("imagenet"):
        large = {file for file in files if source.LARGE in _declared(PACKAGE / file)}
        files -= large | {"pretrain/data/image_folder.py"}  # which imagenet.py imports
    assert len(files) > 20
    assert {file for file in files if not _is_free(file)} <= set(files_of(spec))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_a_file_that_says_it_moves_no_number_gives_the_reason_in_words(path: Path) -> None:
    reasons = [text for name, text in _declared(path).items() if name in (FREE, source.LARGE)]
    assert [reason for reason in reasons if len(reason.split()) < 3] == []


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.digest)
def test_a_change_in_any_file_that_counts_is_named(spec: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded, definitions = fingerprint(spec), source._definitions
    files = [file for file in files_of(spec) if file.endswith(".py")]
    assert len(files) > 15
    for file in files:
        changed_module = "compmod." + file.removesuffix(".py").replace("/", ".")

        def edited(module: str, changed_module: str = changed_module) -> frozenset[tuple[str, str]]:
            return definitions(module) | ({("NEW", "0")} if module == changed_module else set())

        monkeypatch.setattr(source, "_definitions", edited)
        source._hashes.cache_clear()
        source._named.cache_clear()
        assert changed(recorded, spec) == (file,)
    monkeypatch.undo()


def test_every_kind_of_spec_names_a_module_that_is_there() -> None:
    modules = {performer.partition(":")[0] for performer in PERFORMS.values()}
    assert [module for module in modules if not source._path(f"compmod.{module}")] == []
    assert set(PERFORMS) == set(KINDS)


def test_only_a_plus_run_depends_on_compmod() -> None:
    plain, plus = set(files_of(RUN)), set(files_of(PLUS))
    assert {file for file in plus - plain if "two_level" not in file} == {
        "pretrain/methods/parts/coding_rate.py",
        "pretrain/methods/parts/regulariser.py",
        "pretrain/networks/running_statistics.py",
    }
    assert {"pretrain/two_level/compmod.py", "pretrain/two_level/hypergradient.py"} <= plus
    assert plain <= plus


def test_a_method_with_a_regulariser_of_its_own_depends_on_the_two_level_step() -> None:
    assert "pretrain/two_level/hypergradient.py" in files_of(preset("icl_msr", "digits"))
    assert "pretrain/two_level/hypergradient.py" not in files_of(preset("ssl_hsic", "digits"))


def test_only_a_methods_own_runs_depend_on_its_file() -> None:
    assert "pretrain/methods/byol.py" in files_of(Run(method="byol", dataset="cifar10"))
    assert "pretrain/methods/byol.py" not in files_of(RUN)


def test_only_digits_depend_on_their_drawing_and_only_large_images_on_their_crops() -> None:
    files = {name: set(files_of(Run(method="simclr", dataset=name))) for name in DATASETS}
    assert [name for name in files if "pretrain/data/digits.py" in files[name]] == ["digits"]
    for file in ("pretrain/views/crops.py", "pretrain/views/loader.py", "pretrain/data/decode.py"):
        assert [name for name in files if file in files[name]] == ["imagenet100", "imagenet"]
    assert all("pretrain/views/requests.py" in files[name] for name in files)


@pytest.mark.parametrize("name", ["_is_plain_jpeg", "to_tensor", "_resized", "cut"])
def test_another_way_to_pixels_of_large_images_makes_their_numbers_stale_and_no_others(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    specs = [LARGE, Evaluation(run=LARGE), FineTuning(run=LARGE), RUN, DIGITS, FineTuning(run=RUN)]
    recorded, definitions = [fingerprint(spec) for spec in specs], source._definitions

    def edited(module: str) -> frozenset[tuple[str, str]]:
        return frozenset((part, "0" if part == name else code) for part, code in definitions(module))

    monkeypatch.setattr(source, "_definitions", edited)
    source._hashes.cache_clear()
    source._named.cache_clear()
    stale = [bool(changed(before, spec)) for before, spec in zip(recorded, specs, strict=True)]
    assert stale == [True, True, True, False, False, False]
    monkeypatch.undo()


def test_a_measurement_depends_on_its_own_files_and_its_run_on_none_of_them() -> None:
    assert "pretrain/evaluate/knn.py" in files_of(Evaluation(run=RUN))
    assert "pretrain/evaluate/knn.py" not in files_of(FineTuning(run=RUN))
    assert "pretrain/evaluate/classifier.py" in files_of(FineTuning(run=RUN))
    assert [file for file in files_of(RUN) if "evaluate" in file] == []
    assert "pretrain/trainer.py" not in files_of(Evaluation(run=RUN))
    assert [file for file in files_of(DETECTION) if "evaluate" in file] == []


def test_another_setting_of_the_data_set_makes_its_numbers_stale_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = {run: fingerprint(run) for run in (RUN, DIGITS)}
    monkeypatch.setitem(DATASETS, "cifar10", replace(DATASETS["cifar10"], mean=(0.5, 0.5, 0.5)))
    forget_sources()
    assert changed(recorded[RUN], RUN) == ("DATASETS[cifar10]",)
    assert changed(recorded[DIGITS], DIGITS) == ()


def test_another_method_or_data_set_makes_nothing_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = fingerprint(RUN)
    monkeypatch.setitem(METHODS, "other", Entry(label="Other", source="a test", code="simclr.SimCLR"))
    monkeypatch.setitem(DATASETS, "other", replace(DATASETS["cifar10"], name="other"))
    forget_sources()
    assert changed(recorded, RUN) == ()


def test_a_method_of_another_package_counts_with_what_it_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "theirs"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "loss.py").write_text("def loss(x): return x\n")
    (package / "method.py").write_text(
        "import json\nfrom compmod.pretrain.methods.simclr import SimCLR\nfrom .loss import loss\n"
        "class Other(SimCLR): ...\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(METHODS, "other", Entry(label="Other", source="a test", code="theirs.method:Other"))
    run = Run(method="other", dataset="cifar10")
    recorded = fingerprint(run)
    assert {"theirs/method.py", "theirs/loss.py", "pretrain/methods/simclr.py"} <= set(files_of(run))
    (package / "loss.py").write_text("def loss(x): return -x\n")
    forget_sources()
    assert changed(recorded, run) == ("theirs/loss.py",)


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


def test_a_definition_moved_to_another_file_is_the_same(tmp_path: Path) -> None:
    recorded = fingerprint(RUN)
    views = PACKAGE / "pretrain" / "views" / "augment.py"
    head, marker, moved = views.read_text().partition("from __future__ import annotations")
    with copied_sources(tmp_path) as edit:
        edit("pretrain/views/augment.py", head + marker + moved, "from ..trainer import Views as Views\n")
        trainer = (tmp_path / "pretrain" / "trainer.py").read_text()
        edit("pretrain/trainer.py", trainer, trainer + moved)
        assert changed(recorded, RUN) == ()
        edit("pretrain/trainer.py", "BLUR_SHARE =", "BLUR_SHARE = 2 *")
        assert changed(recorded, RUN) == ("pretrain/trainer.py",)


def test_a_fingerprint_given_away_is_a_copy() -> None:
    fingerprint(RUN).clear()
    assert len(fingerprint(RUN)) > 10


def test_a_process_keeps_to_the_sources_it_started_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint(replace(RUN, seed=1))
    monkeypatch.setattr(source, "PACKAGE", tmp_path)
    source._hashes.cache_clear()
    source._named.cache_clear()
    assert fingerprint(RUN) == before


def test_a_record_that_starts_remembers_every_source(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from compmod.pretrain.records import fingerprint as source\n"
        "from compmod.pretrain.records.record import Record\n"
        "from compmod.pretrain.specs.measurement import FineTuning\n"
        "from compmod.pretrain.specs.run import Run\n"
        "run = Run(method='icl_msr+', dataset='imagenet')\n"
        "Record(Path(sys.argv[1]), run).start()\n"
        "Path.read_text = None\n"
        "print(len(source.fingerprint(run)) + len(source.fingerprint(FineTuning(run=run))))\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert int(done.stdout) > 300


def test_importing_reads_no_source() -> None:
    code = (
        "from pathlib import Path\n"
        "Path.read_text = None\n"
        "import compmod.pretrain.records.provenance, compmod.pretrain.records.record\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


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


def test_a_blank_line_of_a_string_is_no_blank_line_of_the_code() -> None:
    assert essences('A = """a\n\n  b """\n') == {"A": ['A = """a\n\n  b """']}


@pytest.mark.parametrize("old, new", [("# in a string", ""), ("math.pi", "math.e"), ("kept # too", "kept")])
def test_a_change_of_code_or_of_a_string_changes_the_essence(old: str, new: str) -> None:
    assert essences(CODE.replace(old, new)) != essences(CODE)


def test_a_docstring_that_shares_its_line_with_code_takes_no_code_away() -> None:
    assert "b = 1" in essences('class A: "doc"\nb = 1\n')["b"]
    assert "b = 1" in essences('"""doc"""; b = 1\n')["b"][0]


def test_names_that_are_assigned_together_and_statements_have_a_place() -> None:
    assert list(essences("A, B = 1, 2\nC: int = 3\nprint(A)\nprint(B)\n")) == ["A, B", "C", source.UNNAMED]
    assert essences("@f\ndef g(): ...\n") == {"g": ["@f\ndef g(): ..."]}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_the_essences_of_a_file_are_the_same_program(path: Path) -> None:
    text = path.read_text()
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
