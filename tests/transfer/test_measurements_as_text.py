"""Measurements as text: every protocol and every detector is written out in tests/golden/measurements.txt.

A change of one number in a protocol is thus a readable line in a diff. After a meant change run
`COMPMOD_RENEW_GOLDEN=1 pytest tests/transfer/test_measurements_as_text.py` and read the difference.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from compmod.pretrain.recipes.evaluation import LINEAR, SEMI, linear_protocol, semi_protocol
from compmod.pretrain.recipes.presets import preset
from compmod.pretrain.specs.measurement import Evaluation
from compmod.pretrain.specs.run import Run
from compmod.pretrain.specs.spec import Spec
from compmod.transfer.spec import COCO, SCENES, SCHEDULES, Detector, detector
from paths import GOLDEN, ROOT
from spec_text import spec_lines

FILE = GOLDEN / "measurements.txt"
WRITER = Path(__file__).relative_to(ROOT).as_posix()


def _measurements(run: Run) -> Iterator[tuple[str, Spec]]:
    """Every protocol by name, on a run."""
    yield "probes", Evaluation(run=run)
    for name in LINEAR:
        yield f"linear {name}", linear_protocol(run, name)
    for name, shares in SEMI.items():
        for share in shares:
            yield f"semi {name} {share}", semi_protocol(run, share, name)


def _detectors() -> Iterator[tuple[str, Detector]]:
    for schedule in SCHEDULES:
        yield f"detector {schedule} c4", detector(schedule)
        yield f"detector {schedule} fpn", detector(schedule, COCO, "fpn")
    yield f"detector demo c4 {SCENES}", detector("demo", SCENES)


def _as_text() -> str:
    run = preset("simclr", "imagenet")
    blocks = [f"# Every protocol and detector, on {run.folder}. Written by {WRITER}, which says how to renew it."]
    for name, spec in (*_measurements(run), *_detectors()):
        blocks.append("\n".join([f"[{name}]", f"digest: {spec.digest}", *spec_lines(spec, leave_out=("run",))]))
    return "\n\n".join(blocks) + "\n"


def test_every_protocol_and_detector_is_as_the_golden_text_has_it() -> None:
    text = _as_text()
    if os.environ.get("COMPMOD_RENEW_GOLDEN"):
        FILE.write_text(text, encoding="utf-8")
    renew = f"if the change is meant, run COMPMOD_RENEW_GOLDEN=1 pytest {WRITER} and read the difference"
    assert FILE.is_file(), f"{FILE} is missing; {renew}"
    assert text == FILE.read_text(encoding="utf-8"), f"{FILE.name} differs; {renew}"
