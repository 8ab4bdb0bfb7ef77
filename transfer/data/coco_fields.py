"""Fields of a COCO annotation file that are read, with type, range and default: the table that a file is checked by.

What no line names is not read, and not handed on. Imports no torch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from reprlib import repr as shorten
from typing import Any, Literal

from ...pretrain.files.bad_data import BadData

NEEDED = object()  # stands where a default would: the field must be there
LARGEST_ID = 2**63 - 1  # scoring keeps ids in 64 bits
LARGEST_SIDE = 2**16  # of an image, pixels
LARGEST_AREA = 1e10  # of an object, pixels: scoring leaves out what is larger, pycocotools's `areaRng`


_UNPRINTED = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")  # also halves of surrogate pairs


@dataclass(frozen=True)
class Field:
    """What may stand in one field."""

    kind: Literal["whole", "number", "name", "file", "box", "mask"]
    least: float = 0
    most: float = 0
    default: Any = NEEDED

    @property
    def words(self) -> str:
        """What is expected, for an error."""
        span = f"{self.least:,} to {self.most:,}"
        return {
            "whole": f"a whole number, {span}",
            "number": f"a number, {span}",
            "name": "text without control characters",
            "file": "the path of a file below the folder of the images",
            "box": f"x, y, width, height in pixels, {span}, the last two at least 0",
            "mask": "polygons, or runs with size and counts",
        }[self.kind]

    def holds(self, value: Any) -> bool:
        """Whether a value is of the type and in the range. JSON's true and false are no numbers."""
        kind = type(value)
        if self.kind == "whole":
            return kind is int and self.least <= value <= self.most
        if self.kind == "number":
            return (kind is int or kind is float) and self.least <= value <= self.most
        if self.kind == "box":
            return numbers(value, self.least, self.most) and len(value) == 4 and value[2] >= 0 and value[3] >= 0
        if self.kind == "name":
            return kind is str and bool(value.strip()) and not _UNPRINTED.search(value)
        if self.kind == "file":
            return kind is str and is_inside(value) and not _UNPRINTED.search(value)
        return kind is list or kind is dict


_ID = Field("whole", -LARGEST_ID - 1, LARGEST_ID)
_SIDE = Field("whole", 1, LARGEST_SIDE)

FIELDS: Mapping[str, Mapping[str, Field]] = {
    "images": {"id": _ID, "file_name": Field("file"), "height": _SIDE, "width": _SIDE},
    "categories": {"id": _ID, "name": Field("name")},
    "annotations": {
        "id": _ID,
        "image_id": _ID,
        "category_id": _ID,
        "bbox": Field("box", -LARGEST_SIDE, 2 * LARGEST_SIDE),
        "segmentation": Field("mask"),
        "area": Field("number", 0, LARGEST_AREA),
        "iscrowd": Field("whole", 0, 1, default=0),
        "ignore": Field("whole", 0, 0, default=0),  # Detectron2 refuses others, and scoring would not heed them
    },
}
ONE = {"images": "image", "categories": "category", "annotations": "annotation"}


def numbers(values: Any, least: float, most: float) -> bool:
    """Whether this is a list of finite numbers in a range; an empty one is not."""
    if type(values) is not list or not values or not {int, float}.issuperset(map(type, values)):
        return False
    return bool(least <= min(values) and max(values) <= most)  # nothing else is finite: JSON's NaN is refused before


def is_inside(name: str) -> bool:
    """Whether a path leads to a file below the folder that it starts from."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return bool(parts) and ".." not in parts and not name.startswith("/") and not name.endswith(("/", "/."))


def by_id(file: object, document: Mapping[str, Any], kind: str) -> dict[int, dict[str, Any]]:
    """The entries of one list by their ids, ascending, with their known fields. Raises BadData at the first fault."""
    entries, fields = document.get(kind), FIELDS[kind].items()
    if not isinstance(entries, list) or not entries:
        raise BadData(f"{file} has no list of {kind}; expected images, annotations and categories")
    entries_by_id: dict[int, dict[str, Any]] = {}
    for position, entry in enumerate(entries):
        number: Any = entry.get("id") if isinstance(entry, dict) else None
        if not _ID.holds(number):
            given = shorten(number if isinstance(entry, dict) else entry)
            raise BadData(f"{file}: entry {position} of {kind} has no whole number of 64 bits as its id, but {given}")
        if number in entries_by_id:
            raise BadData(f"{file}: id {number} stands twice in {kind}")
        kept = {name: entry.get(name, field.default) for name, field in fields}
        for name, field in fields:
            if not field.holds(kept[name]):
                raise BadData(f"{file}: {ONE[kind]} id {number} {_fault(name, kept[name], field)}")
        entries_by_id[number] = kept
    return dict(sorted(entries_by_id.items()))


def _fault(name: str, value: Any, field: Field) -> str:
    if value is NEEDED:
        return f"lacks {name}; expected {field.words}"
    return f"has the {name} {shorten(value)}; expected {field.words}"
