"""What a command prints of a record."""

from __future__ import annotations

from pathlib import Path

import pytest
from compmod.pretrain.commands.results import print_results


def test_numbers_have_four_digits_and_the_folder_is_as_short_as_it_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in (tmp_path / "runs" / "a", Path("runs/a"), Path("/elsewhere/a")):
        print_results(folder, {"knn/top1": 0.123456})
    lines = capsys.readouterr().out.splitlines()
    assert lines[::2] == ["knn/top1           0.1235"] * 3
    assert lines[1::2] == ["runs/a", "runs/a", "/elsewhere/a"]
