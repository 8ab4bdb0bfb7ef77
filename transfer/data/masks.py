"""Masks of COCO: polygons, and runs, plain or packed into text; what may be wrong with them, told before they are used.

The packed form is that of pycocotools (`common/maskApi.c`, `rleFrString`): a run is groups of 5 bits, the lowest first,
each a character from "0" on whose bit 32 says that more follow; bit 16 of the last is the sign; from the fourth run on
it is the difference to the run before the last. pycocotools itself checks nothing and reads memory that is not its own.
Imports no torch.
"""

from __future__ import annotations

from reprlib import repr as shorten
from typing import Any

from .coco_fields import numbers

MOVES_NO_NUMBER = "only refuses masks"

POINT = 2  # numbers of a point
TRIANGLE = 3 * POINT  # the least that a polygon takes
FIRST, LAST = 48, 48 + 63  # characters of packed runs: "0" to "o"
GROUPS = 6  # of 5 bits, in a run at most: pixels of an image are far fewer than 2**29


def mask_fault(mask: Any, height: int, width: int) -> str:
    """What is wrong with a mask on an image of that size; "" when nothing is."""
    if not mask:
        return "has no mask; expected polygons or runs"
    if isinstance(mask, list):
        longest = max(height, width)
        for polygon in mask:
            if not numbers(polygon, -longest, 2 * longest) or len(polygon) < TRIANGLE or len(polygon) % POINT:
                sound = f"x and y of at least 3 points, {-longest:,} to {2 * longest:,}"
                return f"has a mask with the broken polygon {shorten(polygon)}; expected {sound}"
        return ""
    counts, size = mask.get("counts"), mask.get("size")
    if not isinstance(counts, list | str):
        return f"has a mask that is no polygon and has no counts but {shorten(counts)}; expected a list or text"
    if size != [height, width] or [type(side) for side in size] != [int, int]:
        return f"has a mask of size {shorten(size)}; expected the image's height and width, {[height, width]}"
    runs = counts if isinstance(counts, list) else unpacked(counts)
    if runs is None or (isinstance(counts, list) and not {int}.issuperset(map(type, runs))):
        return f"has a mask of the counts {shorten(counts)}; expected whole numbers, or packed runs of 0 to o"
    if min(runs, default=-1) < 0 or sum(runs) != height * width:
        return f"has a mask whose runs do not add up to the image: {shorten(counts)}; expected {height * width:,}"
    return ""


def unpacked(counts: str) -> list[int] | None:
    """The runs that a text holds, perhaps some below 0; None where it is no such text."""
    runs: list[int] = []
    run = groups = 0
    for character in counts:
        code = ord(character) - FIRST
        if not 0 <= code <= LAST - FIRST or groups == GROUPS:
            return None
        run |= (code & 31) << (5 * groups)
        groups += 1
        if code & 32:
            continue
        if code & 16:
            run -= 1 << (5 * groups)
        runs.append(run + runs[-2] if len(runs) > 2 else run)
        run = groups = 0
    return None if groups else runs
