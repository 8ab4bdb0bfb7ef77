"""Steps: one optimisation step of a method, ours beside the published packages, as a user of each would run it.

All have ResNet-18 with the small stem, heads of equal size, Adam and the same batch of ready views. *Defaults* is how
the package's own examples run; *at best* adds channels-last memory and the fused optimiser, which ours has by default.
"""

from __future__ import annotations

import copy
import sys
import types
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
import torchvision
from layouts import LAYOUTS
from page import best, median, times
from rounds import Contestant, Sizes, Subject, Work
from torch import Tensor, nn

HEADS = {  # method: (layers, hidden, out) of the projector, and the hidden width of a predictor
    "simclr": (2, 2048, 128, 0),
    "byol": (2, 4096, 256, 4096),
    "barlow_twins": (3, 2048, 2048, 0),
}
LR = 1e-3


def views(sizes: Sizes) -> list[Tensor]:
    source = torch.Generator().manual_seed(0)
    shape = (sizes["batch"], 3, sizes["side"], sizes["side"])
    return [torch.randn(shape, generator=source) for _ in range(2)]


def backbone() -> nn.Module:
    """Torchvision's ResNet-18 with the stem for small images, as the packages' CIFAR examples change it."""
    network = torchvision.models.resnet18()
    network.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    network.maxpool = nn.Identity()
    network.fc = nn.Identity()
    return network


def autocast(precision: str) -> Any:
    return torch.autocast("cpu", torch.bfloat16) if precision == "bfloat16" else nullcontext()


def ours(case: str, sizes: Sizes) -> Work:
    from compmod.pretrain.optim import build_optimizer
    from compmod.pretrain.recipes.presets import preset
    from compmod.pretrain.specs.run import Optimizer, Projector
    from compmod.pretrain.training.objective import build_objective
    from compmod.pretrain.training.session import Session
    from compmod.pretrain.views.batch import Batch

    method, precision = case.split(", ")
    layers, hidden, out, _ = HEADS[method]
    run = preset(method, "cifar10")
    run = replace(run, projector=Projector(layers=layers, hidden=hidden, out=out), optimizer=Optimizer(lr=LR))
    run = replace(run, backbone=replace(run.backbone, width=sizes["width"]))
    objective = build_objective(run, sizes["side"], 50_000, lambda: autocast(precision))
    layout = LAYOUTS[Session().layout("cpu", precision, sizes["width"])]
    objective.method.to(memory_format=layout)  # type: ignore[call-overload]
    optimizer = build_optimizer(objective.psi, run.optimizer, LR)
    ready = tuple(view.to(memory_format=layout) for view in views(sizes))
    index = torch.arange(sizes["batch"])
    batch = Batch(views=ready, index=index, labels=torch.zeros_like(index), epoch=20.0, draw=0.5)

    def step() -> None:
        objective.backward(batch, lr=LR)
        optimizer.step()
        objective.after_step(0.5)

    return step


def peer(network: nn.Module, loss: Callable[[Sequence[Tensor]], Tensor], precision: str, sizes: Sizes, at_best: bool,
         after: Callable[[], None] = lambda: None) -> Work:  # fmt: skip
    """The training loop that the packages' examples share."""
    ready = views(sizes)
    if at_best:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        ready = [view.to(memory_format=torch.channels_last) for view in ready]
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=LR, fused=True if at_best else None)
    network.train()

    def step() -> None:
        with autocast(precision):
            value = loss(ready)
        value.backward()
        optimizer.step()
        optimizer.zero_grad()
        after()

    return step


def lightly(at_best: bool) -> Callable[[str, Sizes], Work]:
    def build(case: str, sizes: Sizes) -> Work:
        from lightly import loss as losses
        from lightly.models.modules import heads
        from lightly.models.utils import deactivate_requires_grad, update_momentum

        method, precision = case.split(", ")
        _, hidden, out, predicted = HEADS[method]
        trunk = backbone()
        if method == "byol":
            online = nn.ModuleList([trunk, heads.BYOLProjectionHead(512, hidden, out)])
            target = copy.deepcopy(online)
            deactivate_requires_grad(target)
            predictor = heads.BYOLPredictionHead(out, predicted, out)
            cosine = losses.NegativeCosineSimilarity()

            def byol(ready: Sequence[Tensor]) -> Tensor:
                # the momentum networks are updated before the step, as lightly's example does
                for mine, averaged in zip(online, target, strict=True):
                    update_momentum(mine, averaged, m=0.99)
                p = [predictor(online[1](online[0](view))) for view in ready]
                with torch.no_grad():
                    z = [target[1](target[0](view)) for view in ready]
                value: Tensor = 0.5 * (cosine(p[0], z[1]) + cosine(p[1], z[0]))
                return value

            return peer(nn.ModuleList([online, predictor]), byol, precision, sizes, at_best)
        if method == "simclr":
            head, criterion = heads.SimCLRProjectionHead(512, hidden, out), losses.NTXentLoss()
        else:
            head, criterion = heads.BarlowTwinsProjectionHead(512, hidden, out), losses.BarlowTwinsLoss()
        network = nn.Sequential(trunk, head)
        return peer(network, lambda ready: criterion(*map(network, ready)), precision, sizes, at_best)

    return build


def mlp(layers: int, inputs: int, hidden: int, out: int) -> nn.Sequential:
    parts: list[nn.Module] = []
    for layer in range(layers - 1):
        parts += [nn.Linear(hidden if layer else inputs, hidden), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True)]
    return nn.Sequential(*parts, nn.Linear(hidden if layers > 1 else inputs, out))


def stable_pretraining(at_best: bool) -> Callable[[str, Sizes], Work]:
    def build(case: str, sizes: Sizes) -> Work:
        import stable_pretraining as spt
        from stable_pretraining import forward

        method, precision = case.split(", ")
        layers, hidden, out, predicted = HEADS[method]
        trunk, projector = backbone(), mlp(layers, 512, hidden, out)
        parts: dict[str, Any] = {"backbone": trunk, "projector": projector, "forward": getattr(forward, method)}
        after: Callable[[], None] = lambda: None  # noqa: E731
        if method == "simclr":
            parts["simclr_loss"] = spt.losses.NTXEntLoss(temperature=0.5)
        elif method == "barlow_twins":
            parts["barlow_loss"] = spt.losses.BarlowTwinsLoss()
        else:
            pairs = [spt.backbone.utils.TeacherStudentWrapper(part) for part in (trunk, projector)]
            parts |= {"backbone": pairs[0], "projector": pairs[1], "byol_loss": spt.losses.BYOLLoss()}
            parts["predictor"] = mlp(2, out, predicted, out)

            def after() -> None:
                for pair in pairs:
                    pair.update_teacher()

        module = spt.Module(**parts)
        module.log = lambda *_, **__: None  # needs a Lightning trainer

        def loss(ready: Sequence[Tensor]) -> Tensor:
            value: Tensor = module({"views": [{"image": view} for view in ready]}, stage="fit")["loss"]
            return value

        return peer(module, loss, precision, sizes, at_best, after)

    return build


def stand_in_for_lightning_bolts() -> None:
    """Solo-learn takes its schedules from lightning-bolts, which no longer imports; what is timed uses none of them."""
    stand_in: Any = types.ModuleType("pl_bolts.optimizers.lr_scheduler")
    stand_in.LinearWarmupCosineAnnealingLR = None
    sys.modules |= {"pl_bolts": stand_in, "pl_bolts.optimizers": stand_in, stand_in.__name__: stand_in}


def solo_learn(at_best: bool) -> Callable[[str, Sizes], Work]:
    def build(case: str, sizes: Sizes) -> Work:
        stand_in_for_lightning_bolts()
        import solo.methods

        method, precision = case.split(", ")
        _, hidden, out, predicted = HEADS[method]
        names = {"simclr": "SimCLR", "byol": "BYOL", "barlow_twins": "BarlowTwins"}
        own: dict[str, dict[str, Any]] = {
            "simclr": {"temperature": 0.5},
            "byol": {"pred_hidden_dim": predicted, "base_tau_momentum": 0.99, "final_tau_momentum": 1.0}
            | {"momentum_classifier": False},
            "barlow_twins": {"lamb": 0.0051, "scale_loss": 0.1},
        }
        module = getattr(solo.methods, names[method])(
            encoder="resnet18", num_classes=10, backbone_args={"cifar": True}, max_epochs=1, batch_size=sizes["batch"],
            optimizer="adam", lars=False, lr=LR, weight_decay=0, classifier_lr=LR, exclude_bias_n_norm=False,
            accumulate_grad_batches=1, extra_optimizer_args={}, scheduler="none", min_lr=0, warmup_start_lr=0,
            warmup_epochs=0, num_large_crops=2, num_small_crops=0, proj_hidden_dim=hidden, proj_output_dim=out,
            **own[method],
        )  # fmt: skip
        module.log_dict = lambda *_, **__: None  # needs a Lightning trainer
        labels = torch.zeros(sizes["batch"], dtype=torch.long)

        def loss(ready: Sequence[Tensor]) -> Tensor:
            value = module.training_step([torch.arange(len(labels)), list(ready), labels], 0)
            tensor: Tensor = value["loss"] if isinstance(value, dict) else value
            return tensor

        def after() -> None:
            for pair in module.momentum_pairs if method == "byol" else ():
                module.momentum_updater.update(*pair)

        return peer(module, loss, precision, sizes, at_best, after)

    return build


SUBJECT = Subject(
    title="One step",
    text="An optimisation step of ResNet-18 (small stem, {side} px, batch {batch}): forward, backward, Adam, averages.",
    cases=[f"{method}, {precision}" for method in HEADS for precision in ("float32", "bfloat16")],
    contestants=[
        Contestant("compmod", "compmod", ours),
        Contestant("lightly, defaults", "lightly", lightly(False)),
        Contestant("lightly, at best", "lightly", lightly(True)),
        Contestant("stable-pretraining, defaults", "stable-pretraining", stable_pretraining(False)),
        Contestant("stable-pretraining, at best", "stable-pretraining", stable_pretraining(True)),
        Contestant("solo-learn, defaults", "solo-learn", solo_learn(False)),
        Contestant("solo-learn, at best", "solo-learn", solo_learn(True)),
    ],
    sizes={"side": 32, "batch": 64, "width": 64},
    tiny={"side": 16, "batch": 4, "width": 4},
    columns={
        "median ms": lambda f, _: f"{1e3 * median(f):,.0f}",
        "least ms": lambda f, _: f"{1e3 * best(f):,.0f}",
        "core-ms": lambda f, _: f"{1e3 * best(f, 'core_seconds'):,.0f}",
        "time of ours": times,
        "core time of ours": lambda f, ours: times(f, ours, "core_seconds"),
    },
)
