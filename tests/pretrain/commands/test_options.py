"""What the values of a command line may be, and how an error of the system's is told."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytest
from compmod.pretrain.commands.options import Folder, check_call, check_words, with_path
from compmod.pretrain.files.printable import printable
from compmod.pretrain.files.whole_file import write_whole
from compmod.pretrain.records.files import newest_updates, step_of
from compmod.pretrain.specs.fields import Range, is_name


def _option(count: Annotated[int, Range(1, 3)], share: Annotated[float, Range(0)] = 0.5) -> None: ...


def test_values_inside_their_ranges_pass() -> None:
    check_call(_option, (3,), {"share": 1})


@pytest.mark.parametrize("share", [float("nan"), float("inf"), -1e-9])
def test_a_number_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match=r"^share must be "):
        check_call(_option, (1,), {"share": share})


def test_a_positional_argument_is_checked_by_its_name() -> None:
    with pytest.raises(ValueError, match=r"^count must be from 1 to 3, not 10+$"):
        check_call(_option, (10**400,), {})


def test_a_folder_that_can_be_made_passes_and_one_below_a_file_does_not(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert Folder().fault(tmp_path / "new" / "below") == ""
    assert Folder().fault(tmp_path / "file" / "below") == f"{tmp_path}/file is no folder"


@pytest.mark.parametrize("name", ["a/b", "/", ".", "..", "a\0", "a\nb", "a\udcff"])
def test_what_is_more_than_a_name_is_no_name(name: str) -> None:
    assert not is_name(name)


def test_spaces_and_other_scripts_are_words() -> None:
    check_words(["--runs", "a b/größe/数据"])


def test_a_terminal_obeys_nothing_of_a_message() -> None:
    assert printable("a\x1b[2J\udcff") == "a\\x1b[2J\\udcff"


def test_a_write_that_fails_names_the_file_and_not_the_one_aside(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere") as failed:
        write_whole(tmp_path / "nowhere" / "a.json", b"")
    assert with_path(failed.value) == f"{tmp_path}/nowhere/a.json: No such file or directory"


@pytest.mark.parametrize(
    "name",
    ["step-²².pt", "step-٠٠٠٠٠٠٠٠١.pt", "step-1.pt", "step--00000001.pt", "step-x.pt", "step-" + "9" * 30 + ".pt"],
)
def test_a_checkpoint_of_a_name_that_we_do_not_give_is_passed_over(name: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    assert step_of(name) is None
    assert newest_updates(tmp_path) == 0
    (tmp_path / "step-000000040.pt").touch()
    assert newest_updates(tmp_path) == 40
