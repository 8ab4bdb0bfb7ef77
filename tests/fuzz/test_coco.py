"""Damaged COCO files: refused in one line, or scored so that perfect detections have an AP of 1."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_server import Said, Server
from compmod.transfer.data.digit_scenes import write_scenes
from file_mutations import VALUES, Mutation, of_bytes, of_json, of_place, write
from fuzz_cases import chance_of, chosen, content, fault, no_faults
from tiny_detections import RUN, with_polygons
from tiny_fine_tunings import finish

OF_COCO = (  # values that belong nowhere else
    *('"05"', '"zzzzzzzz"', '"0é"', '"PP1"', "[4096.0]", "[0.5, 4095.5]", "[-1, 4097]", "[4097]", "1e10", "1e11", "2"),
    *('"./000001.png"', '"../train2017/000001.png"', '"/etc/hostname"', "[1, 1, 1e9, 1e9]", "[0, 0, 0, 0]", "[[0, 0]]"),
    *("[[1, 1, 1, 1, 1, 1]]", '{"size": [64, 64], "counts": "o"}', '{"size": [64, 64], "counts": []}', "1e-300", '"1"'),
)
SPLITS = ("train2017", "val2017")


@pytest.fixture(scope="module", params=["runs", "polygons"])
def root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run and a folder of scenes, their masks of either kind."""
    folder = tmp_path_factory.mktemp("coco")
    write_scenes(folder / "coco", {"train2017": 2, "val2017": 2})
    if request.param == "polygons":
        with_polygons(folder / "coco")
    finish(folder / "runs", RUN)
    return folder


def _transferred(call: Callable[..., Said], root: Path) -> Said:
    run = str(root / "runs" / RUN.folder)
    return call(run, str(root / "coco"), str(root / "pixels.npz"), function="perfect_detector:transfer")


def _figures(said: Said) -> dict[str, float]:
    return {name.strip(): float(value) for name, value in re.findall(r"^(\w+ [\w/]+) +(\S+)$", said.out, re.M)}


def _cases(root: Path, name: str) -> list[tuple[Path, Mutation]]:
    chance = chance_of(name)
    cases = []
    for split in SPLITS:
        path = root / "coco" / "annotations" / f"instances_{split}.json"
        document = json.loads(path.read_text())
        document["annotations"] = document["annotations"][:6]
        for mutations, count in (
            (of_bytes(chance), 5),
            (of_place(), 3),
            (of_json(document, chance, 400, VALUES), 12),
            (of_json(document, chance, 400, OF_COCO), 12),
        ):
            cases += [(path, each) for each in chosen(mutations, count, chance)]
        cases.append((path, _ids_from(document, 0)))
    return cases


def _ids_from(document: Any, first: int) -> Mutation:
    changed = json.loads(json.dumps(document))
    for number, each in enumerate(changed["annotations"]):
        each["id"] = first + number
    return Mutation(f"ids of annotations from {first}", lambda path: write(path, json.dumps(changed).encode()))


def test_a_coco_file_is_refused_or_scored_right(root: Path, server: Server, request: Any) -> None:
    right = _figures(_transferred(server.warm, root))
    assert len(right) == 14, right
    assert all(value == 1 for name, value in right.items() if "objects" not in name), right

    def judge(damaged: Path) -> str:
        said = _transferred(server.run, root)
        if wrong := fault(said, (damaged.name,)):
            return wrong
        if said.status:
            return ""
        if _degenerate(damaged):
            return ""
        figures = _figures(said)
        low = [name for name, value in figures.items() if "objects" not in name and not value > 0.999]
        if low and len(figures) == len(right):
            return f"perfect detections have {low[0]} of {figures[low[0]]:.3f}"
        return "" if len(figures) == len(right) else f"prints {said.out!r}"

    no_faults(_cases(root, request.node.name), judge)


def _degenerate(file: Path) -> bool:
    """Whether a sound file has an object without extent, as COCO itself has, or only crowds: neither can match."""
    objects = json.loads(content(file) or b"{}").get("annotations", [])
    kept = [each for each in objects if not each.get("iscrowd")]
    return not kept or any(min(each["bbox"][2:]) == 0 for each in kept)
