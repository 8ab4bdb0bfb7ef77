"""Benchmark rates: what `make bench-gpu` measured of recipes on one GPU, for a machine where no run has finished yet.

The file is there once a GPU was measured; until then the default rates hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...pretrain.files.stored_fields import TEXT, check_fields, number
from ...pretrain.files.stored_json import read_object
from ...pretrain.recipes.presets import preset
from ...pretrain.specs.run import Run

SHIPPED = Path(__file__).with_name("gpu_rates.json")
MOST = 1e12  # images a second, as of a finished run


@dataclass(frozen=True)
class BenchmarkRates:
    """Images a second of recipes on one GPU; without a GPU's name, nothing was measured."""

    gpu: str = ""
    images_per_second: Mapping[Run, float] = field(default_factory=dict)


def benchmark_rates(file: Path | None = None) -> BenchmarkRates:
    """What the file holds: a GPU, and images a second by data set, method and precision.

    Raises ValueError, which begins with the path, on a file that is damaged or names what there is not.
    """
    file = file or SHIPPED
    stored = read_object(file)
    if stored is None:
        return BenchmarkRates()
    check_fields(stored, {"gpu": TEXT}, file)
    rates = {}
    for dataset, methods in _object(stored, "images_per_second", file).items():
        for method in methods:
            by_precision = _object(methods, method, file)
            check_fields(by_precision, dict.fromkeys(by_precision, number(1e-6, MOST)), file)
            for precision, rate in by_precision.items():
                try:
                    run = replace(preset(method, dataset), precision=precision)  # type: ignore[arg-type]  # it checks
                    rates[run] = float(rate)
                except (ValueError, TypeError) as error:
                    raise ValueError(f"{file}: {error}") from error
    return BenchmarkRates(stored.get("gpu") or "", rates)


def _object(stored: Any, name: str, file: Path) -> Mapping[str, Any]:
    value = stored.get(name) if isinstance(stored, Mapping) else None
    if not isinstance(value, Mapping):
        raise ValueError(f"{file}: expected an object by name in {name!r}")
    return value
