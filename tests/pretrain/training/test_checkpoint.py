"""Checkpoints: the newest sound one is used, whatever happened to the files."""

from __future__ import annotations

import hashlib
import io
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from compmod.pretrain.training.checkpoint import KEPT, load_newest, save


def _state(step: int) -> dict[str, Any]:
    return {"step": step, "weights": torch.full((50,), float(step)), "online": [{"epoch": 1.0}], "digest": "0123"}


def _step(state: dict[str, Any] | None) -> int | None:
    return None if state is None else state["step"]


def _write_with_right_checksum(path: Path, content: bytes) -> None:
    path.write_bytes(hashlib.sha256(content).hexdigest().encode() + b"\n" + content)


def _saved(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def _cut_in_half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _cut_the_last_byte(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def _empty(path: Path) -> None:
    os.truncate(path, 0)


def _flip_a_bit_of_the_content(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _flip_a_bit_of_the_checksum(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[3] ^= 1
    path.write_bytes(content)


DAMAGES = (
    _cut_in_half,
    _cut_the_last_byte,
    _empty,
    _flip_a_bit_of_the_content,
    _flip_a_bit_of_the_checksum,
)


def test_a_saved_state_comes_back_equal(tmp_path: Path) -> None:
    save(tmp_path, 7, _state(7))
    back = load_newest(tmp_path)
    assert back is not None
    assert torch.equal(back.pop("weights"), torch.full((50,), 7.0))
    assert back == {"step": 7, "online": [{"epoch": 1.0}], "digest": "0123"}


def test_an_optimisers_state_comes_back_equal(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.randn(3, 2))
    optimizer = torch.optim.Adam([weight])
    weight.grad = torch.randn(3, 2)
    optimizer.step()
    save(tmp_path, 1, {"optimizer": optimizer.state_dict()})
    back = load_newest(tmp_path)
    assert back is not None
    assert back["optimizer"]["param_groups"] == optimizer.state_dict()["param_groups"]
    assert torch.equal(back["optimizer"]["state"][0]["exp_avg_sq"], optimizer.state_dict()["state"][0]["exp_avg_sq"])


def test_the_newest_is_loaded_also_past_a_power_of_ten(tmp_path: Path) -> None:
    for step in (9, 10, 100):
        save(tmp_path, step, _state(step))
        assert _step(load_newest(tmp_path)) == step


@pytest.mark.parametrize("folder", ["", "absent"], ids=["empty", "absent"])
def test_a_folder_without_checkpoints_gives_none_and_says_nothing(
    folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert load_newest(tmp_path / folder) is None
    assert capsys.readouterr().err == ""


def test_only_the_newest_two_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4):
        save(tmp_path, step, _state(step))
    assert KEPT == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000000003.pt", "step-000000004.pt"]


def test_saving_the_same_step_again_replaces_it(tmp_path: Path) -> None:
    save(tmp_path, 3, _state(1))
    save(tmp_path, 3, _state(2))
    assert _step(load_newest(tmp_path)) == 2
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_newest_is_reported_and_the_one_before_used(
    damage: Callable[[Path], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path, 1, _state(1))
    newest = save(tmp_path, 2, _state(2))
    damage(newest)
    assert _step(load_newest(tmp_path)) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"{newest} is damaged" in said


@pytest.mark.parametrize("damage", DAMAGES)
def test_when_all_are_damaged_there_is_none_and_that_is_said(
    damage: Callable[[Path], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for step in (1, 2):
        damage(save(tmp_path, step, _state(step)))
    assert load_newest(tmp_path) is None
    assert "no sound checkpoint is left" in capsys.readouterr().err


def test_every_single_bit_flip_of_the_file_is_noticed(tmp_path: Path) -> None:
    path = save(tmp_path, 1, _state(1))
    sound = path.read_bytes()
    draw = random.Random(0)
    for place in draw.sample(range(len(sound)), 40):
        content = bytearray(sound)
        content[place] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
        assert load_newest(tmp_path) is None, place


def test_a_damaged_file_is_reported_once_and_kept_for_the_curious(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path, 1, _state(1))
    _cut_in_half(save(tmp_path, 2, _state(2)))
    load_newest(tmp_path)
    capsys.readouterr()
    assert _step(load_newest(tmp_path)) == 1
    assert capsys.readouterr().err == ""
    assert (tmp_path / "step-000000002.damaged").is_file()


def test_saving_goes_on_after_a_damaged_checkpoint(tmp_path: Path) -> None:
    save(tmp_path, 1, _state(1))
    _cut_in_half(save(tmp_path, 2, _state(2)))
    load_newest(tmp_path)
    save(tmp_path, 2, _state(2))
    assert _step(load_newest(tmp_path)) == 2


def test_what_a_killed_write_left_behind_is_never_loaded_and_removed_by_the_next_save(tmp_path: Path) -> None:
    save(tmp_path, 1, _state(1))
    leftover = tmp_path / ".step-000000002.pt.4711"
    leftover.write_bytes(b"half a file")
    assert _step(load_newest(tmp_path)) == 1
    save(tmp_path, 3, _state(3))
    assert not leftover.exists()


def test_a_process_killed_while_saving_leaves_a_sound_newest_checkpoint(tmp_path: Path) -> None:
    code = (
        "import sys, torch\n"
        "from pathlib import Path\n"
        "from compmod.pretrain.training.checkpoint import load_newest, save\n"
        "folder = Path(sys.argv[1])\n"
        "first = (load_newest(folder) or {'step': 0})['step']\n"
        "for step in range(first + 1, 10**6):\n"
        "    save(folder, step, {'step': step, 'weights': torch.full((400_000,), float(step))})\n"
        "    print(step, flush=True)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(part for part in sys.path if part)}
    draw = random.Random(1)
    reached = 0
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], env=environment, stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            said = [int(writer.stdout.readline())]
            time.sleep(draw.uniform(0.0, 0.1))
            writer.send_signal(signal.SIGKILL)
            said += [int(line) for line in writer.stdout]
        assert said[0] == reached + 1, "the next process goes on from the newest"
        state = load_newest(tmp_path)
        assert state is not None
        assert state["step"] in (said[-1], said[-1] + 1)
        assert torch.equal(state["weights"], torch.full((400_000,), float(state["step"])))
        reached = state["step"]


class _Harm:
    """Unpickled without care, this would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str, ...]]:
        return os.mkdir, (str(self.path),)


def test_a_pickled_call_is_refused_and_not_made(tmp_path: Path) -> None:
    target = tmp_path / "made"
    _write_with_right_checksum(tmp_path / "step-000000001.pt", _saved({"step": 1, "harm": _Harm(target)}))
    with pytest.raises(ValueError, match="is undamaged but no state of ours"):
        load_newest(tmp_path)
    assert not target.exists()


@pytest.mark.parametrize(
    "content, found",
    [(_saved({"function": os.getcwd}), "UnpicklingError"), (_saved([1, 2]), "a list"), (b"hello", ""), (b"", "EOF")],
    ids=["a function", "a list", "a text", "nothing"],
)
def test_a_whole_file_of_something_else_is_a_clear_error_in_one_line(
    content: bytes, found: str, tmp_path: Path
) -> None:
    path = tmp_path / "step-000000001.pt"
    _write_with_right_checksum(path, content)
    with pytest.raises(ValueError, match="is undamaged but no state of ours") as caught:
        load_newest(tmp_path)
    message = str(caught.value)
    assert str(path) in message
    assert f"(found: {found}" in message
    assert "move it away" in message
    assert "\n" not in message
    assert "weights_only" not in message
