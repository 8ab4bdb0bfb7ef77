"""Predicted hours and disk: counted from the very networks, measured figures before default ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from compmod.pretrain.evaluate.probe import probe_due
from compmod.pretrain.networks.build import build_backbone
from compmod.pretrain.optim import build_optimizer
from compmod.pretrain.recipes.evaluation import linear_protocol, semi_protocol
from compmod.pretrain.recipes.presets import preset
from compmod.pretrain.records.record import Record
from compmod.pretrain.specs.datasets import DATASETS
from compmod.pretrain.specs.measurement import Evaluation, FineTuning
from compmod.pretrain.specs.methods import METHODS
from compmod.pretrain.specs.run import Backbone, Comprehensive, Run
from compmod.pretrain.training import checkpoint
from compmod.pretrain.training.objective import build_objective
from compmod.pretrain.training.session import Session
from compmod.tables.plan import cost
from compmod.tables.plan.cost import disk_bytes, images_per_second, measured_rates, online_probes, predict
from compmod.tables.plan.default_rates import UNMEASURED, UNMEASURED_PLUS, relative_cost
from compmod.tables.plan.measured_rates import SAMPLED, Rates
from compmod.tables.plan.network_size import encoder_bytes, forward_operations, trunk_parameters
from torch import nn

TRUNKS = [
    (Backbone(), 32),
    (Backbone(stem="small-pool", width=16), 64),
    (Backbone(name="resnet10", width=8), 15),
    (Backbone(name="resnet50", stem="large", width=16), 97),
    (Backbone(name="resnet10", width=8, colours="lab"), 16),
    (Backbone(name="resnet34", stem="small-padded", width=8), 15),
    (Backbone(name="resnet50", stem="large", width=8, inner=2), 33),
]
NONE = Rates()


def _build(backbone: Backbone, size: int) -> nn.Module:
    return build_backbone(backbone, size, DATASETS["cifar10"])


def _seconds(spec: Run | Evaluation | FineTuning, rates: Rates = NONE) -> float:
    """Predicted, without the time to start."""
    found = predict(spec, rates)
    return found.hours * 3600 - cost.START_S[found.device]


def _finished(
    runs: Path, spec: Run | Evaluation | FineTuning, *, rate: float = 1000.0, seconds: float = 60.0, **place: Any
) -> Record:
    """A record of work on a GPU called by `gpu`, or on `threads` cores; `rate` is of all processes together."""
    hardware: dict[str, Any] = {"cpu": place.get("cpu", "a processor"), "threads": place.get("threads", 1)}
    if "gpu" in place:
        hardware["gpu"] = place["gpu"]
    record = Record(runs, spec)
    record.start()
    provenance = {"seconds": seconds, "hardware": hardware, "processes": place.get("processes", 1)}
    record.finish({"images_per_second": rate} if isinstance(spec, Run) else {"linear/top1": 0.5}, provenance)
    return record


@pytest.mark.parametrize("backbone, size", TRUNKS)
def test_operations_are_those_of_the_convolutions_of_the_built_trunk(backbone: Backbone, size: int) -> None:
    trunk, counted = _build(backbone, size).eval(), 0

    def count(module: nn.Conv2d, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        nonlocal counted
        counted += 2 * module.weight.numel() * output.shape[2] * output.shape[3]

    for module in trunk.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    with torch.inference_mode():
        trunk(torch.zeros(1, 3, size, size))
    assert forward_operations(backbone, size) == counted


@pytest.mark.parametrize("backbone, size", TRUNKS)
def test_parameters_and_stored_bytes_are_those_of_the_built_trunk(backbone: Backbone, size: int) -> None:
    trunk = _build(backbone, size)
    assert trunk_parameters(backbone) == sum(p.numel() for p in trunk.parameters())
    assert encoder_bytes(backbone) == sum(t.numel() * t.element_size() for t in trunk.state_dict().values())


def test_operations_of_the_large_trunks_are_the_published_ones() -> None:
    published = {"resnet18": 1.82e9, "resnet50": 4.09e9}  # multiply-adds at 224 px, last layer included; torchvision
    for name, multiply_adds in published.items():
        trunk = Backbone(name=name, stem="large")  # type: ignore[arg-type]
        assert forward_operations(trunk, 224) / 2 == pytest.approx(multiply_adds, rel=0.005)


def test_pixels_cost_nothing_to_look_at() -> None:
    run = replace(preset("simclr", "digits"), epochs=0, backbone=Backbone(name="pixels"))
    assert _seconds(run) == pytest.approx(0)
    steps = 6  # of 1,000 images each, or less
    assert _seconds(Evaluation(run=run, linear_epochs=1)) == pytest.approx(steps * cost.LINEAR_STEP_S)


def test_the_session_saves_and_looks_as_often_as_predicted() -> None:
    session = Session()
    assert (session.online_every, session.linear_epochs) == (cost.ONLINE_EVERY, cost.ONLINE_EPOCHS)
    assert session.checkpoint_minutes / 60 == pytest.approx(cost.CHECKPOINT_HOURS)
    assert checkpoint.KEPT == cost.CHECKPOINTS


@pytest.mark.parametrize("epochs", [1, 2, 4, 5, 6, 8, 14, 100, 1000, 2000])
def test_a_pretraining_is_probed_as_often_as_the_trainer_does(epochs: int) -> None:
    run = replace(preset("simclr", "cifar10"), epochs=epochs)
    due = [probe_due(run, epoch, Session().online_every) for epoch in range(1, epochs + 1)]
    assert online_probes(epochs) == sum(due)
    assert due[-1]
    assert sum(due) <= 3 or epochs > 20


@pytest.mark.parametrize("method", list(METHODS))
def test_on_its_small_recipe_a_methods_default_rate_is_simclrs_over_its_listed_cost(method: str) -> None:
    simclr, _ = images_per_second(preset("simclr", "cifar10"), NONE)
    plain, basis = images_per_second(preset(method, "cifar10"), NONE)
    assert basis == "default"
    assert simclr / plain == pytest.approx(METHODS[method].cost or UNMEASURED)
    if METHODS[method].plus:
        plus, _ = images_per_second(preset(method + "+", "cifar10"), NONE)
        assert simclr / plus == pytest.approx(METHODS[method].plus_cost or UNMEASURED_PLUS)


def test_half_the_views_cost_half() -> None:
    four = preset("w_mse", "cifar10")
    assert relative_cost(replace(four, views=four.views[:2])) == relative_cost(four) / 2


def test_a_small_crop_costs_its_share_of_a_large_one() -> None:
    run = preset("swav", "imagenet")
    operations = [forward_operations(run.backbone, size) for size in (224, 96)]
    assert relative_cost(run) == pytest.approx(METHODS["swav"].cost * (2 + 6 * operations[1] / operations[0]) / 2)


def test_training_jointly_costs_what_the_plain_method_does_and_unrolled_thrice_the_exact_step() -> None:
    exact = preset("simclr+", "cifar10")
    joint = replace(exact, compmod=Comprehensive(training="joint"))
    unrolled = replace(exact, compmod=Comprehensive(hypergradient="unrolled"))
    plain = preset("simclr", "cifar10")
    assert relative_cost(joint) == pytest.approx(1.05 * relative_cost(plain))
    assert relative_cost(unrolled) == pytest.approx(3 * relative_cost(exact))


def test_default_hours_grow_with_epochs() -> None:
    run = preset("simclr", "imagenet")
    assert _seconds(replace(run, epochs=run.epochs * 2)) == pytest.approx(2 * _seconds(run))


def test_digits_take_core_hours_and_the_rest_gpu_hours() -> None:
    assert predict(preset("simclr", "digits"), NONE).device == "cpu"
    assert predict(preset("simclr", "cifar10"), NONE).device == "gpu"


def test_a_frozen_backbone_is_fine_tuned_in_a_third_of_the_time_of_a_trained_one() -> None:
    frozen = replace(linear_protocol(preset("simclr", "cifar10")), epochs=1)
    scored = DATASETS["cifar10"].test_images
    images = DATASETS["cifar10"].train_images
    ratio = _seconds(replace(frozen, backbone_lr=0.1)) / _seconds(frozen)
    assert ratio == pytest.approx((3 * images + scored) / (images + scored))


def test_a_hundredth_of_the_labels_takes_fewer_updates() -> None:
    run = preset("simclr", "imagenet")
    assert semi_protocol(run, 0.01).updates == 20 * 51  # 12,812 images in batches of 256, the last one smaller
    assert replace(run, epochs=3).updates == 3 * (1_281_167 // run.batch_size)


def test_a_run_like_a_finished_one_takes_its_measured_rate(tmp_path: Path) -> None:
    run = preset("simclr", "cifar10")
    for seed, rate in enumerate((900.0, 1000.0, 5000.0)):
        _finished(tmp_path, replace(run, seed=seed), rate=rate, gpu="H100")
    assert images_per_second(replace(run, seed=7), measured_rates(tmp_path)) == (1000.0, "measured")


def test_another_method_is_scaled_by_the_listed_costs(tmp_path: Path) -> None:
    _finished(tmp_path, preset("simclr", "cifar10"), rate=1000.0, gpu="H100")
    rate, basis = images_per_second(preset("byol+", "cifar10"), measured_rates(tmp_path))
    assert (rate, basis) == (pytest.approx(1000.0 / METHODS["byol"].plus_cost), "scaled")


def test_another_trunk_size_or_precision_keeps_its_default_rate(tmp_path: Path) -> None:
    run = preset("simclr", "cifar10")
    _finished(tmp_path, run, rate=1.0, gpu="H100")
    rates = measured_rates(tmp_path)
    others = (
        preset("simclr", "tiny_imagenet"),
        replace(run, backbone=Backbone(width=32)),
        replace(run, precision="bfloat16"),
    )
    assert {images_per_second(other, rates)[1] for other in others} == {"default"}


def test_the_rate_of_several_processes_is_shared_among_them(tmp_path: Path) -> None:
    run = preset("simclr", "cifar10")
    _finished(tmp_path, run, rate=8000.0, gpu="H100", processes=8)
    assert images_per_second(run, measured_rates(tmp_path))[0] == 1000.0


def test_figures_are_of_the_gpu_with_most_records_unless_another_is_named(tmp_path: Path) -> None:
    run = preset("simclr", "cifar10")
    for seed, gpu in enumerate(("A100", "H100", "A100")):
        _finished(tmp_path, replace(run, seed=seed), rate={"A100": 500.0, "H100": 1000.0}[gpu], gpu=gpu)
    assert images_per_second(run, measured_rates(tmp_path))[0] == 500.0
    assert images_per_second(run, measured_rates(tmp_path, "H100"))[0] == 1000.0


def test_an_unmeasured_gpu_lists_those_that_were(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no finished run on 'V100'; measured: no GPU yet"):
        measured_rates(tmp_path, "V100")
    _finished(tmp_path, preset("simclr", "cifar10"), gpu="A100")
    with pytest.raises(ValueError, match="no finished run on 'V100'; measured: A100"):
        measured_rates(tmp_path, "V100")


def test_a_cpus_records_never_predict_gpu_hours(tmp_path: Path) -> None:
    run = preset("simclr", "cifar10")
    _finished(tmp_path, run, rate=1.0)
    assert predict(run, measured_rates(tmp_path)) == predict(run, NONE)


def test_a_cpus_records_predict_the_digits_by_core(tmp_path: Path) -> None:
    run = preset("simclr", "digits")
    _finished(tmp_path, run, rate=2000.0, threads=4)
    assert images_per_second(run, measured_rates(tmp_path)) == (500.0, "measured")


def test_a_measurement_like_a_finished_one_takes_its_time(tmp_path: Path) -> None:
    spec = Evaluation(run=preset("simclr", "cifar10"))
    _finished(tmp_path, spec.run, gpu="H100")
    _finished(tmp_path, spec, seconds=36.0, gpu="H100")
    rates = measured_rates(tmp_path)
    like = replace(spec, run=preset("byol", "cifar10"))
    other = replace(spec, linear_epochs=50)
    assert (_seconds(like, rates), predict(like, rates).basis) == (pytest.approx(36), "measured")
    assert predict(other, rates).basis == "default"


@pytest.mark.parametrize("file", ["spec.json", "provenance.json", "results.json"])
@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"hardware": 3}'])
def test_a_damaged_record_is_no_measurement(file: str, content: str, tmp_path: Path) -> None:
    run = preset("simclr", "cifar10")
    (_finished(tmp_path, run, gpu="H100").path / file).write_text(content)
    assert images_per_second(run, measured_rates(tmp_path))[1] == "default"


def test_an_unfinished_run_is_no_measurement(tmp_path: Path) -> None:
    run = preset("simclr", "cifar10")
    Record(tmp_path, run).start()
    assert measured_rates(tmp_path) == NONE


def test_many_seeds_are_sampled(tmp_path: Path) -> None:
    run = preset("simclr", "cifar10")
    for seed in range(SAMPLED + 2):
        _finished(tmp_path, replace(run, seed=seed), gpu="H100")
    read: list[Path] = []
    original = Record.open
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Record, "open", lambda folder: (read.append(folder), original(folder))[1])
        measured_rates(tmp_path)
    assert len(read) == SAMPLED


@pytest.mark.parametrize("method", ["simclr", "simclr+", "byol", "barlow_twins"])
def test_the_predicted_disk_of_a_checkpoint_is_a_real_ones_or_up_to_half_as_much_again(method: str) -> None:
    run = preset(method, "cifar10")
    objective = build_objective(run, 32, 50_000)
    optimizer = build_optimizer(objective.psi, run.optimizer, 0.1)
    for parameter in objective.psi.values():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    written = sum(t.numel() * t.element_size() for t in _tensors([objective.state_dict(), optimizer.state_dict()]))
    predicted = (disk_bytes(run, 1.0, NONE) - disk_bytes(run, 0.0, NONE)) / cost.CHECKPOINTS
    assert 0.98 * written < predicted < 1.5 * written  # predictors are not counted


def _tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [tensor for part in parts for tensor in _tensors(part)]


def test_a_run_too_short_for_a_checkpoint_leaves_its_encoder_and_little_else() -> None:
    run = preset("simclr", "digits")
    held = disk_bytes(run, 0.01, NONE)
    assert encoder_bytes(run.backbone) < held < encoder_bytes(run.backbone) + 100_000


def test_measured_checkpoints_replace_the_formula(tmp_path: Path) -> None:
    run = preset("simclr", "cifar10")
    folder = _finished(tmp_path, run, gpu="H100").path / "checkpoints"
    folder.mkdir()
    (folder / "step-000000010.pt").write_bytes(bytes(5000))
    rates = measured_rates(tmp_path)
    assert disk_bytes(run, 1.0, rates) - disk_bytes(run, 0.0, rates) == 2 * 5000


def test_a_record_with_an_unknown_figure_is_not_damaged(tmp_path: Path) -> None:
    record = Record(tmp_path, Run(method="simclr", dataset="digits", backbone=Backbone(name="pixels"), epochs=0))
    record.start()
    provenance = {"seconds": 0.1, "hardware": {"cpu": "a processor", "threads": 1}}
    record.finish({"epochs": 0, "images_per_second": None}, provenance)  # no update, no rate
    assert measured_rates(tmp_path, "").damaged == ()
