"""Contract of every built method, plain and with CompMod: gradients, options, what a step moves, what it leaves."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from compmod.pretrain.methods import METHODS
from compmod.pretrain.methods.base import Method, build_method, method_options
from compmod.pretrain.presets import preset
from compmod.pretrain.run import Comprehensive
from compmod.pretrain.two_level import Objective, build_objective
from small_runs import IMAGES, SIDE, small, small_batch

BUILT = list(METHODS)
WITH_PLUS = [name for name in BUILT if METHODS[name].plus]
ALL = [*BUILT, *(f"{name}+" for name in WITH_PLUS)]
ONE_SIDED = {"cmc", "supervised"}  # one view alone


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


@pytest.mark.parametrize("name", [name for name in BUILT if name not in ONE_SIDED])
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
    kind = METHODS[name].load()
    assert issubclass(kind, Method)
    for option, default in method_options(kind).items():
        assert isinstance(default, bool | int | float | str), option


def test_an_unknown_option_is_named_with_the_known_ones() -> None:
    run = replace(small("simclr"), options=(("temprature", 0.2),))
    with pytest.raises(ValueError, match="unknown option 'temprature' of simclr; known: temperature, output_norm"):
        build_method(run, 8)


def test_an_option_of_the_wrong_type_is_named() -> None:
    run = replace(small("simclr"), options=(("temperature", "hot"),))
    with pytest.raises(ValueError, match="option 'temperature' of simclr is a number, not 'hot'"):
        build_method(run, 8)


@pytest.mark.parametrize("name", ["cmc", "supervised"])
def test_plus_without_a_two_view_embedding_is_a_clear_error(name: str) -> None:
    with pytest.raises(ValueError, match=f"'{name}\\+' does not exist: .* has no two-view embedding for CompMod"):
        preset(f"{name}+", "digits")
