"""Recipe: one published setting of a method, as the fields of Run that it decides.

A method or a data set that has no recipe of its own takes a default one, and its remark then begins with UNVERIFIED.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from ..specs.run import Augmentation, Backbone, Optimizer, Projector, Run, Schedule

Options = tuple[tuple[str, int | float | str], ...]
UNVERIFIED = "ours, unverified default"  # of settings that were neither published nor tried for this method and data


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

    @property
    def verified(self) -> bool:
        """Whether somebody published or tried these settings; False of a default for what has none of its own."""
        return not self.remark.startswith(UNVERIFIED)

    def as_default(self, whose: str, views: int | None = None) -> Recipe:
        """The same recipe as the default for what has none of its own, without options, which belong to a method.

        `whose` says where the settings are from; of `views` other than two, all are like the first.
        """
        pair = self.views or (Augmentation(),) * 2
        seen = self.views if views in (None, 2) else pair[:1] * views
        return replace(self, remark=f"{UNVERIFIED}: {whose}", views=seen, options=())

    def applied(self, run: Run) -> Run:
        """`run` with what this recipe decides."""
        decided = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "remark"}
        return replace(run, **{name: value for name, value in decided.items() if value is not None})

    def but(self, remark: str, *options: tuple[str, int | float | str]) -> Recipe:
        """The same recipe under another remark, with these options changed or added."""
        return replace(self, remark=remark, options=tuple((dict(self.options) | dict(options)).items()))
