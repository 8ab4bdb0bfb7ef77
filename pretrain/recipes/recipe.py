"""Recipe: one published setting of a method, as the fields of Run that it decides."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from ..specs.run import Augmentation, Backbone, Optimizer, Projector, Run, Schedule

Options = tuple[tuple[str, int | float | str], ...]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a setting decides; a field that is None stays as the run has it."""

    remark: str  # where it is from or how it differs, for `compmod methods`
    epochs: int | None = None
    train_images: int | None = None
    batch_size: int | None = None
    views: tuple[Augmentation, ...] | None = None
    backbone: Backbone | None = None
    projector: Projector | None = None
    optimizer: Optimizer | None = None
    schedule: Schedule | None = None
    options: Options = ()

    def applied(self, run: Run) -> Run:
        """`run` with what this recipe decides."""
        decided = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "remark"}
        return replace(run, **{name: value for name, value in decided.items() if value is not None})

    def but(self, remark: str, *options: tuple[str, int | float | str]) -> Recipe:
        """The same recipe under another remark, with these options changed or added."""
        return replace(self, remark=remark, options=tuple((dict(self.options) | dict(options)).items()))
