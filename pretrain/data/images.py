"""Images: a split of a data set in memory, and draws from a split: a subset, a validation split."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

if TYPE_CHECKING:
    from numpy.typing import NDArray


SUBSET, VALIDATION = -1, -2  # takes the place of the epoch when a subset is drawn, so that no epoch has the same order


@dataclass(frozen=True, eq=False)
class Images:
    """A split in memory. Images of one group show the same thing: no split may separate them."""

    pixels: NDArray[Any]  # uint8, images x 3 x height x width
    labels: NDArray[Any]  # int64, one an image; -1 = unlabelled
    groups: NDArray[Any]  # int64, one an image

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over pixels and labels, for provenance."""
        digest = hashlib.sha256(self.pixels.data)
        digest.update(self.labels.data)
        return digest.hexdigest()

    def take(self, indices: NDArray[Any]) -> Self:
        """These images, in this order."""
        return type(self)(self.pixels[indices], self.labels[indices], self.groups[indices])


class Collection(Protocol):
    """What Images and Files have in common."""

    @property
    def groups(self) -> NDArray[Any]:
        """int64, one an image; no split may separate a group."""

    def __len__(self) -> int: ...

    def take(self, indices: NDArray[Any]) -> Self:
        """These images, in this order."""


Listed = TypeVar("Listed", bound=Collection)


def subset(images: Listed, count: int, seed: int) -> Listed:
    """A draw of `count` images, in their old order: a function of seed and count alone."""
    from ..runtime.randomness import permutation

    if not 1 <= count <= len(images):
        raise ValueError(f"cannot draw {count:,} images of {len(images):,}; valid: 1 to {len(images):,}")
    return images.take(permutation(seed, SUBSET, len(images))[:count].sort().values.numpy())


def validation_split(images: Listed, seed: int, share: float = 0.2) -> tuple[Listed, Listed]:
    """Training and validation images, drawn by whole groups; validation holds `share` of the groups."""
    import numpy as np

    from ..runtime.randomness import permutation

    groups = np.unique(images.groups)
    count = round(len(groups) * share)
    if not 0 < count < len(groups):
        raise ValueError(f"a share of {share} of {len(groups)} groups leaves one side empty")
    chosen = groups[permutation(seed, VALIDATION, len(groups))[:count].numpy()]
    held_out = np.isin(images.groups, chosen)
    return images.take(np.flatnonzero(~held_out)), images.take(np.flatnonzero(held_out))
