"""Specs: digests that stay, JSON that comes back, and what a spec refuses to hold."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass, make_dataclass, replace
from pathlib import Path

import pytest
from compmod.pretrain.recipes.presets import preset, recipes
from compmod.pretrain.specs.datasets import DATASETS
from compmod.pretrain.specs.measurement import Evaluation
from compmod.pretrain.specs.run import Augmentation, Backbone, Optimizer, Run, Schedule
from compmod.pretrain.specs.spec import DIGEST_LENGTH, Spec
from paths import GOLDEN as GOLDEN_FOLDER

GOLDEN = GOLDEN_FOLDER / "spec_digests.json"
BUILT = ("simclr", "byol", "barlow_twins")
RENEW = (
    "a digest names the folder of finished runs, so a released one must not change: give a new field a default that "
    "means what was done before, and never edit a released default; only where the recipe itself was wrong and no "
    f"released run used it, put the digest found into tests/{GOLDEN.name}"
)


def _presets() -> dict[str, Run]:
    """Every method, plain and "+", on every data set with a recipe of its own."""
    return {
        f"{method}{plus} {dataset}": preset(method + plus, dataset)
        for method in BUILT
        for plus in ("", "+")
        for dataset in DATASETS
        if recipes(method, dataset)[""].verified
    }


@dataclass(frozen=True, kw_only=True)
class Inner(Spec):
    share: float = 0.5
    name: str = "a"


@dataclass(frozen=True, kw_only=True)
class Outer(Spec):
    inner: Inner = Inner()
    pair: tuple[Inner, ...] = ()
    count: float = 1
    missing: float | None = None


@dataclass(frozen=True, kw_only=True)
class Holder(Spec):
    value: object = None


@pytest.mark.parametrize("name, digest", json.loads(GOLDEN.read_text()).items())
def test_a_released_preset_keeps_its_digest(name: str, digest: str) -> None:
    assert preset(*name.split()).digest == digest, f"{name}: {RENEW}"


def test_the_golden_digests_cover_every_built_method_on_every_benchmark() -> None:
    assert set(json.loads(GOLDEN.read_text())) == {name for name in _presets() if not name.endswith(" digits")}


def test_no_two_presets_share_a_digest() -> None:
    digests = [run.digest for run in _presets().values()]
    assert len(set(digests)) == len(digests)


def test_a_digest_is_the_same_in_a_process_with_another_hash_seed() -> None:
    code = (
        "from compmod.pretrain.recipes.presets import preset, recipes\n"
        "from compmod.pretrain.specs.measurement import Evaluation\n"
        "print(Evaluation(run=preset('byol+', 'stl10')).digest)\n"
    )
    path = os.pathsep.join(part for part in sys.path if part)
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": path}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == Evaluation(run=preset("byol+", "stl10")).digest


def test_a_digest_is_that_of_the_changed_fields_as_sorted_json() -> None:
    spec = Outer(missing=0.1, inner=Inner(name='"é\n'), pair=(Inner(), Inner(share=1.0)), count=-7)
    changed = {"count": -7, "inner": {"Inner": {"name": '"é\n'}}, "missing": 0.1}
    changed["pair"] = [{"Inner": {}}, {"Inner": {"share": 1}}]
    text = json.dumps({"Outer": changed}, sort_keys=True, separators=(",", ":"))
    assert spec.digest == hashlib.sha256(text.encode()).hexdigest()[:DIGEST_LENGTH]


@pytest.mark.parametrize("value", [True, None, "a", (1, "b"), ((0.5, False), ()), 10**20, 1e-7])
def test_a_setting_enters_the_digest_as_json_has_it(value: object) -> None:
    text = json.dumps({"Holder": {} if value is None else {"value": value}}, separators=(",", ":"))
    assert Holder(value=value).digest == hashlib.sha256(text.encode()).hexdigest()[:DIGEST_LENGTH]


def test_a_digest_is_twelve_hexadecimal_characters() -> None:
    digest = Run(method="simclr", dataset="cifar10").digest
    assert len(digest) == DIGEST_LENGTH == 12
    assert int(digest, 16) >= 0


def test_a_field_set_to_its_default_leaves_the_digest_alone() -> None:
    assert Outer(inner=Inner(share=0.5), pair=(), count=1, missing=None).digest == Outer().digest


def test_a_field_added_later_with_a_default_leaves_the_digest_alone() -> None:
    def grown(*later: tuple[str, type, int]) -> Spec:
        fields = [("old", int, 0), *later]
        spec: Spec = make_dataclass("Grown", fields, bases=(Spec,), frozen=True, kw_only=True)(old=3)
        return spec

    assert grown(("new", int, 7)).digest == grown().digest


def test_one_and_one_point_zero_are_the_same_setting() -> None:
    assert Run(method="simclr", dataset="cifar10", optimizer=Optimizer(lr=1)).digest == (
        Run(method="simclr", dataset="cifar10", optimizer=Optimizer(lr=1.0)).digest
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda run: replace(run, seed=1),
        lambda run: replace(run, epochs=999),
        lambda run: replace(run, copy="cifar10-jpeg"),
        lambda run: replace(run, method="simclr+"),
        lambda run: replace(run, dataset="cifar100"),
        lambda run: replace(run, backbone=Backbone(width=32)),
        lambda run: replace(run, views=(Augmentation(), Augmentation(flip=0.0))),
        lambda run: replace(run, views=(Augmentation(flip=0.0), Augmentation())),
        lambda run: replace(run, schedule=Schedule(drops=(25.0, 50.0))),
        lambda run: replace(run, options=(("temperature", 0.2),)),
    ],
)
def test_every_change_of_a_field_changes_the_digest(change: Callable[[Run], Run]) -> None:
    run = Run(method="simclr", dataset="cifar10")
    other = change(run)
    assert other.digest != run.digest
    assert len({other.digest, run.digest, change(replace(run, batch_size=256)).digest}) == 3


def test_the_name_of_the_class_enters_the_digest() -> None:
    assert Inner().digest != Outer().digest


@pytest.mark.parametrize("name", _presets())
def test_a_preset_comes_back_from_json(name: str) -> None:
    run = _presets()[name]
    back = Spec.from_dict(json.loads(json.dumps(run.to_dict(), allow_nan=False)))
    assert back == run
    assert back.digest == run.digest


def test_an_evaluation_comes_back_from_json_with_its_run() -> None:
    spec = Evaluation(run=preset("barlow_twins+", "tiny_imagenet"), split="validation")
    assert Evaluation.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_nested_specs_in_tuples_come_back() -> None:
    spec = Outer(inner=Inner(share=0.25), pair=(Inner(name="b"), Inner()), missing=0.1)
    assert Spec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_the_json_form_names_every_field_defaults_included() -> None:
    assert Outer(pair=(Inner(),)).to_dict() == {
        "Outer": {
            "inner": {"Inner": {"share": 0.5, "name": "a"}},
            "pair": [{"Inner": {"share": 0.5, "name": "a"}}],
            "count": 1,
            "missing": None,
        }
    }


def test_asking_for_the_digest_changes_neither_equality_nor_the_json_form() -> None:
    asked, unasked = Outer(count=3), Outer(count=3)
    assert asked.digest
    assert asked == unasked
    assert hash(asked) == hash(unasked)
    assert asked.to_dict() == unasked.to_dict()


def test_a_changed_copy_does_not_keep_the_digest_of_the_original() -> None:
    spec = Outer(count=3)
    first = spec.digest
    assert replace(spec, count=4).digest == Outer(count=4).digest != first
    assert copy.deepcopy(spec).digest == first


def test_a_spec_is_frozen() -> None:
    spec = Outer()
    with pytest.raises(FrozenInstanceError):
        spec.count = 2  # type: ignore[misc]


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_refused_by_the_name_of_its_field(number: float) -> None:
    with pytest.raises(ValueError, match=r"^Optimizer\.lr must be a finite number, not -?(nan|inf)$"):
        _ = Run(method="simclr", dataset="cifar10", optimizer=Optimizer(lr=number)).digest
    with pytest.raises(ValueError, match=r"Schedule\.drops must be a finite number"):
        Run(method="simclr", dataset="cifar10", schedule=Schedule(drops=(50.0, number))).to_dict()


@pytest.mark.parametrize("value", [[1, 2], {"a": 1}, Path("a"), b"a", {1}])
def test_what_is_no_number_string_tuple_or_spec_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match=r"^Holder\.value holds a .*; a spec holds numbers, strings, tuples and specs$"):
        _ = Holder(value=value).digest


def test_an_unknown_kind_of_spec_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown kind of spec 'Walk'; known: .*Evaluation.*Run"):
        Spec.from_dict({"Walk": {}})


def test_an_unknown_field_is_refused_with_the_known_ones() -> None:
    known = "known: colours, inner, name, stem, width, zero_residual"
    with pytest.raises(ValueError, match=f"unknown field 'widht' of Backbone; {known}"):
        Spec.from_dict({"Backbone": {"widht": 32}})


def test_an_unknown_field_of_a_nested_spec_is_refused() -> None:
    encoded = Run(method="simclr", dataset="cifar10").to_dict()
    encoded["Run"]["optimizer"]["Optimizer"]["beta"] = 0.5
    with pytest.raises(ValueError, match="unknown field 'beta' of Optimizer; known: "):
        Run.from_dict(encoded)


def test_another_kind_of_spec_than_asked_for_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a spec of kind Evaluation, found 'Run'"):
        Evaluation.from_dict(Run(method="simclr", dataset="cifar10").to_dict())


@pytest.mark.parametrize("encoded", [{}, {"Run": {}, "Evaluation": {}}])
def test_a_spec_of_no_or_two_names_is_refused(encoded: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"a spec is one class name with its fields, not {len(encoded)} names"):
        Spec.from_dict(encoded)
