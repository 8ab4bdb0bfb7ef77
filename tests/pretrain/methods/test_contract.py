"""Contract of every built method, plain and with CompMod: gradients, options, what a step moves, what it leaves."""

from __future__ import annotations

import copy
import math
import re
from dataclasses import replace
from typing import Any, Literal, get_args, get_origin

import pytest
import torch
from compmod.pretrain.methods.base import Method, declared_options, method_options
from compmod.pretrain.methods.build import build_method, load_method
from compmod.pretrain.networks.batch_norm import BatchNorm
from compmod.pretrain.recipes.presets import preset
from compmod.pretrain.specs.methods import METHODS
from compmod.pretrain.specs.run import Comprehensive
from compmod.pretrain.training.objective import Objective, build_objective
from ranges import has_range
from small_runs import IMAGES, SIDE, small, small_batch

BUILT = list(METHODS)
WITH_PLUS = [name for name in BUILT if METHODS[name].plus]
ALL = [*BUILT, *(f"{name}+" for name in WITH_PLUS)]
SYMMETRIC = [name for name in BUILT if METHODS[name].views > 1 and load_method(name).symmetric]


def objective_of(name: str) -> Objective:
    return build_objective(small(name), SIDE, IMAGES).double()


@pytest.mark.parametrize("name", ALL)
def test_the_loss_is_finite_and_its_gradient_reaches_every_trained_parameter(name: str) -> None:
    objective = objective_of(name)
    logged = objective.backward(small_batch(name), lr=0.1)
    assert all(torch.isfinite(value) for value in logged.values())
    for parameter_name, parameter in objective.psi.items():
        assert parameter.grad is not None, parameter_name
    assert all(p.grad is not None and p.grad.any() for p in objective.method.backbone.parameters())


@pytest.mark.parametrize("name", WITH_PLUS)
def test_a_plus_run_without_weights_is_its_baseline(name: str) -> None:
    plain = objective_of(name)
    plus = build_objective(replace(small(f"{name}+"), compmod=Comprehensive(lambda1=0.0, lambda2=0.0)), SIDE, IMAGES)
    plus.double()
    for objective in (plain, plus):
        optimizer = torch.optim.Adam([*objective.psi.values()], lr=1e-2)
        for step in range(3):
            objective.backward(small_batch(name, step), lr=1e-2)
            optimizer.step()
            objective.after_step(step / 3)
    for key, value in plain.method.state_dict().items():
        if not key.startswith("regulariser."):  # trained by its own optimiser
            torch.testing.assert_close(plus.method.state_dict()[key], value, rtol=0, atol=0, msg=key)


@pytest.mark.parametrize("name", BUILT)
def test_the_loss_falls_over_a_few_steps_on_one_batch(name: str) -> None:
    objective = objective_of(name)
    optimizer = torch.optim.Adam(objective.psi.values(), lr=3e-3)
    losses = []
    for _ in range(8):
        losses.append(float(objective.backward(small_batch(name), lr=3e-3)["loss"]))
        optimizer.step()
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", SYMMETRIC)
def test_the_loss_is_symmetric_in_the_first_two_views(name: str) -> None:
    method = objective_of(name).method
    twin = copy.deepcopy(method)
    batch = small_batch(name)
    one, two, *rest = batch.views
    swapped = replace(batch, views=(two, one, *rest))
    torch.testing.assert_close(method(batch), twin(swapped), rtol=1e-10, atol=0)


@pytest.mark.parametrize("name", ALL)
def test_the_state_dict_carries_everything_that_moves(name: str) -> None:
    """A fresh objective with the old one's state takes the same next steps: nothing hides outside state_dict."""
    straight, resumed = objective_of(name), objective_of(name)
    for step in range(4):
        if step == 2:
            resumed.load_state_dict(copy.deepcopy(straight.state_dict()))
        for objective in (straight, resumed)[: 1 if step < 2 else 2]:
            objective.backward(small_batch(name, step), lr=0.01)
            with torch.no_grad():
                for parameter in [*objective.psi.values(), *objective.xi]:
                    if parameter.grad is not None:
                        parameter -= 0.01 * parameter.grad
            objective.after_step(step / 4)
    for key, value in straight.state_dict().items():
        assert torch.equal(resumed.state_dict()[key], value), key


@pytest.mark.parametrize("name", ALL)
def test_the_loss_may_be_evaluated_again_without_changing_anything(name: str) -> None:
    """As the two-level step does at virtual parameters."""
    method = objective_of(name).method
    batch = small_batch(name)
    targets = method.targets(batch)
    embedded = method.embed(batch.views)
    before = {key: value.clone() for key, value in method.state_dict().items()}
    assert torch.equal(method.loss(embedded, targets), method.loss(embedded, targets))
    for key, value in method.state_dict().items():
        if "running_" not in key and "num_batches" not in key:  # of batch norms inside the loss, such as a predictor's
            assert torch.equal(value, before[key]), key


@pytest.mark.parametrize("name", ALL)
def test_a_step_draws_nothing_from_the_global_generator(name: str) -> None:
    objective = objective_of(name)
    before = torch.get_rng_state()
    objective.backward(small_batch(name), lr=0.1)
    objective.after_step(0.5)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", BUILT)
def test_options_are_the_methods_keyword_parameters(name: str) -> None:
    kind = load_method(name)
    assert issubclass(kind, Method)
    for option, default in method_options(kind).items():
        assert isinstance(default, bool | int | float | str), option


@pytest.mark.parametrize("name", BUILT)
def test_every_option_declares_what_may_be_given_next_to_its_default(name: str) -> None:
    for option, declared in declared_options(load_method(name)).items():
        assert has_range(declared.hint), f"{name}: {option} needs a Range, as in `temperature: Positive = 0.5`"
        assert not declared.fault(declared.default), f"{name}: {option}"


OPTIONS = [(name, option) for name in BUILT for option in declared_options(load_method(name))]


@pytest.mark.parametrize("name, option", OPTIONS)
def test_an_option_outside_its_range_or_of_another_type_is_refused_with_its_name(name: str, option: str) -> None:
    declared = declared_options(load_method(name))[option]
    kept = dict(small(name).options)
    for value in wrong_values(declared.hint):
        with pytest.raises(ValueError, match=rf"option '{option}' of {name} must be .*, not {re.escape(repr(value))}"):
            build_method(replace(small(name), options=tuple((kept | {option: value}).items())), SIDE)
    for value in (math.nan, math.inf, -math.inf):
        with pytest.raises(ValueError, match="finite number"):
            replace(small(name), options=((option, value),))
        assert declared.fault(value), value


@pytest.mark.parametrize("name, option", OPTIONS)
def test_the_bounds_of_an_option_are_valid(name: str, option: str) -> None:
    declared = declared_options(load_method(name))[option]
    for value in bounds(declared.hint):
        assert not declared.fault(value), value


def bounds(hint: Any) -> tuple[Any, ...]:
    if hint is bool:
        return (0, 1, True, False)
    if get_origin(hint) is Literal:
        return get_args(hint)
    kind, span = get_args(hint)
    return span.least, min(span.most, span.cap if kind is float else int(span.cap))


def wrong_values(hint: Any) -> tuple[Any, ...]:
    """Just outside each bound, and of other types."""
    if hint is bool:
        return (2, -1, 0.5, "yes")
    if get_origin(hint) is Literal:
        return ("nonsense", 1, 0.5)
    kind = get_args(hint)[0]
    least, most = bounds(hint)
    if kind is int:
        return (least - 1, most + 1, least + 0.5, "many", -(10**40), 10**40)
    return (math.nextafter(least, -math.inf) or -0.5, math.nextafter(most, math.inf), -1e300, 1e300, "hot")


@pytest.mark.parametrize("value", [True, False])
def test_a_switch_may_be_given_as_a_truth_value(value: bool) -> None:
    run, counted = (replace(small("simclr"), options=(("output_norm", given),)) for given in (value, int(value)))
    assert run.digest == counted.digest
    assert isinstance(build_method(run, SIDE).output_norm, BatchNorm) is value


def test_an_unknown_option_is_named_with_the_known_ones() -> None:
    run = replace(small("simclr"), options=(("temprature", 0.2),))
    with pytest.raises(ValueError, match="unknown option 'temprature' of simclr; known: temperature, output_norm"):
        build_method(run, 8)


def test_an_option_of_the_wrong_type_is_named() -> None:
    run = replace(small("simclr"), options=(("temperature", "hot"),))
    with pytest.raises(ValueError, match="option 'temperature' of simclr must be a number above 0, not 'hot'"):
        build_method(run, 8)


@pytest.mark.parametrize("name", [name for name in BUILT if not METHODS[name].plus])
def test_plus_without_a_two_view_embedding_is_a_clear_error(name: str) -> None:
    with pytest.raises(ValueError, match=f"'{name}\\+' does not exist: .* has no two-view embedding for CompMod"):
        preset(f"{name}+", "digits")
