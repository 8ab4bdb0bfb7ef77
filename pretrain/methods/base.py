"""Method: what every self-supervised method is made of, so that the trainer and CompMod need to know nothing more.

A method is split where the two-level step has to cut it (see hypergradient.py): `embed` depends on the trained
parameters and is differentiated, `targets` is everything held fixed for a batch (an EMA network's outputs, a queue),
and `loss` is a pure function of the two. Writing a new method means these three, in one file, and a line in METHODS.

With several processes each holds its share of the batch. The mean of the processes' losses is the loss of the whole
batch, and the trainer averages gradients: a mean over samples may be taken of the share alone, any other loss is taken
of the gathered batch by every process (`distributed.gather`). Random choices are functions of (seed, step), state such
as a queue is updated from the gathered batch in `after_step`; so one process and several compute the same numbers.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, get_type_hints

import torch
from torch import Tensor, nn

from ..networks.build import build_backbone
from ..networks.heads import mlp, projector_widths
from ..specs.fields import described, fault
from ..specs.run import Run
from ..views.batch import Batch

if TYPE_CHECKING:
    from .parts.regulariser import Regulariser

SMALL_BATCH = 12  # samples of a batch in the tests that every method takes
Targets = tuple[Any, ...]  # what a method holds fixed in a batch; each method has its own


class Embedded(NamedTuple):
    """What a method makes of its views, one entry a view."""

    representations: tuple[Tensor, ...]  # each N x D', the trunk's output: what is evaluated
    embeddings: tuple[Tensor, ...]  # each N x D, the projector's output, not normalised

    def detach(self) -> Embedded:
        """The same values without their graph."""
        return Embedded(*(tuple(tensor.detach() for tensor in part) for part in self))


class Method(nn.Module):
    """Base of every method: a trunk, a projector and a loss.

    A subclass's own settings are the keyword-only parameters of its `__init__`, each with its range next to its
    default (see `declared_options`); `Run.options` sets them by name.
    """

    # For the tests that every method takes: the options that make it small enough for batches of SMALL_BATCH samples
    # with embeddings of 8 numbers, and whether its loss stays the same when the first two views change places.
    small: ClassVar[tuple[tuple[str, int | float | str], ...]] = ()
    symmetric: ClassVar[bool] = True

    def __init__(self, run: Run, size: int, *, projector: nn.Module | None = None) -> None:
        super().__init__()
        self.backbone = build_backbone(run.backbone, size, run.data)
        head = run.projector
        self.projector = projector or mlp(projector_widths(self.backbone.features, head.layers, head.hidden, head.out))
        self.embedding_width = head.out
        self.remedy = ""  # what else to try when a training of this method diverges
        self.regulariser: Regulariser | None = None  # a meta network of the method's own, trained by a two-level step

    @property
    def encoder(self) -> nn.Module:
        """The trunk that is evaluated and kept after training."""
        return self.backbone

    def allocate(self, images: int) -> None:
        """Called once before training with the number of training images; for state that is as long as the data."""

    def embed(self, views: Sequence[Tensor]) -> Embedded:
        """Representations and embeddings of each view (N x 3 x S x S): trunk and projector once a view."""
        representations = tuple(self.backbone(view) for view in views)
        return Embedded(representations, tuple(self.projector(h) for h in representations))

    @torch.no_grad()
    def targets(self, batch: Batch) -> Targets:
        """What the loss compares with and no gradient reaches; computed once a batch. Most methods have none."""
        return ()

    def loss(self, embedded: Embedded, targets: Targets) -> Tensor:
        """The self-supervised loss, a scalar; pure given the parameters. Its mean over processes is the batch's."""
        raise NotImplementedError

    def forward(self, batch: Batch) -> Tensor:
        """Loss of one batch."""
        targets = self.targets(batch)
        return self.loss(self.embed(batch.views), targets)

    @torch.no_grad()
    def after_step(self, progress: float, embedded: Embedded, targets: Targets) -> None:
        """Called after each update: `progress` is the share of training done, 0 to 1 and constant within an epoch.

        `embedded` and `targets` are those of the batch just trained on, before the update and without a graph.
        """


@dataclass(frozen=True)
class Option:
    """A method's own setting: the type and Range that its `__init__` annotates it with, and its default there."""

    hint: Any
    default: Any

    def fault(self, value: Any) -> str:
        """What `value` would have to be; "" when it is valid. A switch is on or off by 1 or 0."""
        if self.hint is bool:
            return "" if isinstance(value, int) and value in (0, 1) else "1 or 0 (on or off)"
        wrong = fault(value, self.hint)
        return described(self.hint) if wrong and not isinstance(value, int | float) else wrong

    def given(self, value: Any) -> Any:
        """A valid value as `__init__` takes it."""
        return bool(value) if self.hint is bool else value

    def __str__(self) -> str:
        words = "1 or 0 (on or off)" if self.hint is bool else described(self.hint)
        return f"{words}; {int(self.default) if self.hint is bool else self.default} by default"


def declared_options(kind: type[Method]) -> dict[str, Option]:
    """A method's own settings by name: the keyword-only parameters of its `__init__`, with what may be given.

    A number says its range next to its default, such as `temperature: Positive = 0.5`; words are a Literal, switches
    bool. Parameters whose default is None are for subclasses, and no options.
    """
    parameters = inspect.signature(kind.__init__).parameters.values()
    hints = get_type_hints(kind.__init__, include_extras=True)
    own = [p for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is not None]
    return {p.name: Option(hints[p.name], p.default) for p in own}


def method_options(kind: type[Method]) -> dict[str, Any]:
    """A method's own settings and their defaults."""
    return {name: option.default for name, option in declared_options(kind).items()}


def check_option(name: str, value: float, valid: bool, expected: str) -> None:
    """Raise ValueError unless an option's value is `valid` beside other settings; `expected` says what would be."""
    if not valid:
        raise ValueError(f"option {name!r} must be {expected}, not {value!r}")
