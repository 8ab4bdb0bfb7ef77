"""Records: how far the work got, who holds the folder, and files that are whole whenever the writer dies."""

from __future__ import annotations

import fcntl
import json
import math
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from compmod.pretrain.files.whole_file import write_whole
from compmod.pretrain.records.record import Record, results_checksum
from compmod.pretrain.specs.measurement import Evaluation
from compmod.pretrain.specs.run import Run

RUN = Run(method="simclr+", dataset="cifar10")
HOLD = (
    "import sys\n"
    "from pathlib import Path\n"
    "from compmod.pretrain.records.record import Record\n"
    "from compmod.pretrain.specs.run import Run\n"
    "with Record(Path(sys.argv[1]), Run(method='simclr+', dataset='cifar10')).lock():\n"
    "    print('held', flush=True)\n"
    "    sys.stdin.read()\n"
)
REWRITE = (
    "import sys\n"
    "from pathlib import Path\n"
    "from compmod.pretrain.records.record import write_whole\n"
    "version = int(sys.argv[2])\n"
    "while True:\n"
    "    version += 1\n"
    "    write_whole(Path(sys.argv[1]), b'%d\\n' % version * 200_000)\n"
    "    print(version, flush=True)\n"
)


@contextmanager
def _process(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A Python process that has printed its first line, killed at the end if it still lives."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(part for part in sys.path if part)}
    with subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline()
            yield process
        finally:
            process.kill()


@pytest.fixture
def record(tmp_path: Path) -> Record:
    return Record(tmp_path, RUN)


def test_a_record_lies_in_the_folder_of_its_spec(record: Record, tmp_path: Path) -> None:
    assert record.path == tmp_path / RUN.folder


def test_asking_a_record_writes_nothing(record: Record, tmp_path: Path) -> None:
    assert (record.status, record.results, record.provenance) == ("absent", None, None)
    assert list(tmp_path.iterdir()) == []


def test_a_started_record_is_unfinished(record: Record) -> None:
    record.start()
    assert record.status == "unfinished"


def test_a_record_is_running_while_another_process_holds_it(record: Record, tmp_path: Path) -> None:
    record.start()
    with _process(HOLD, tmp_path):
        assert record.status == "running"


def test_a_record_held_by_this_process_is_running_and_then_unfinished(record: Record) -> None:
    with record.lock():
        record.start()
        held = record.status
    assert (held, record.status) == ("running", "unfinished")


def test_a_finished_record_is_done_and_gives_back_what_it_was_given(record: Record) -> None:
    record.start()
    record.finish({"linear/top1": 0.9}, {"seconds": 3.5})
    assert record.status == "done"
    assert record.results == {"linear/top1": 0.9}
    assert record.provenance == {"seconds": 3.5, "results_sha256": results_checksum({"linear/top1": 0.9})}


def test_a_record_is_not_done_before_its_results_are_written(record: Record) -> None:
    record.start()
    record.write_json("provenance.json", {"seconds": 3.5})
    assert record.status == "unfinished"


def test_a_failed_record_says_so_and_why(record: Record) -> None:
    record.start()
    record.fail("NonFiniteLoss: the loss became NaN")
    assert record.status == "failed"
    assert json.loads((record.path / "failed.json").read_text()) == {"error": "NonFiniteLoss: the loss became NaN"}


def test_starting_again_forgets_the_failure(record: Record) -> None:
    record.start()
    record.fail("out of memory")
    record.start()
    assert record.status == "unfinished"


def test_a_failed_record_that_is_tried_again_is_running(record: Record, tmp_path: Path) -> None:
    record.start()
    record.fail("out of memory")
    with _process(HOLD, tmp_path):
        assert record.status == "running"


@pytest.mark.parametrize("content", ["", '{"linear/top1": 0.', "[1, 2]", "\x00\x00", "null"])
def test_damaged_results_are_told_from_finished_ones(record: Record, content: str) -> None:
    record.start()
    (record.path / "results.json").write_text(content)
    assert record.status == "damaged"
    with pytest.raises(ValueError, match=r"damaged record .*results\.json: "):
        _ = record.results


def test_results_that_are_no_text_are_damaged(record: Record) -> None:
    record.start()
    (record.path / "results.json").write_bytes(b"\xff\xfe\x80")
    assert record.status == "damaged"


def test_a_damaged_provenance_is_an_error_that_names_the_file(record: Record) -> None:
    record.start()
    (record.path / "provenance.json").write_text("{")
    with pytest.raises(ValueError, match=r"damaged record .*provenance\.json: "):
        _ = record.provenance


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_results_that_are_no_numbers_are_refused_and_not_written(record: Record, number: float) -> None:
    record.start()
    with pytest.raises(ValueError, match="JSON"):
        record.finish({"linear/top1": number}, {})
    assert record.status == "unfinished"
    assert not (record.path / "results.json").exists()


def test_a_second_process_is_refused_with_the_folders_name(record: Record, tmp_path: Path) -> None:
    with (
        _process(HOLD, tmp_path),
        pytest.raises(
            ValueError, match=f"^{record.path.as_posix()} is in use by another process; wait".replace("+", r"\+")
        ),
        record.lock(),
    ):
        pass


def test_a_second_lock_in_the_same_process_is_refused(record: Record) -> None:
    with record.lock(), pytest.raises(ValueError, match="is in use by another process"), record.lock():
        pass


def test_a_lock_is_free_after_its_block(record: Record) -> None:
    with pytest.raises(RuntimeError, match="stop"), record.lock():
        raise RuntimeError("stop")
    with record.lock():
        assert record.status == "running"


def test_a_killed_holder_frees_the_lock(record: Record, tmp_path: Path) -> None:
    with _process(HOLD, tmp_path) as holder:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        freed = record.status
        with record.lock():
            assert (freed, record.status) == ("unfinished", "running")


def test_reading_the_status_meanwhile_keeps_nobody_from_the_lock(record: Record) -> None:
    with record.lock():
        pass  # the file is there
    with open(record.path / "lock") as reader:
        fcntl.flock(reader, fcntl.LOCK_SH)  # what a look at the status holds for a moment
        release = threading.Timer(0.06, fcntl.flock, (reader, fcntl.LOCK_UN))
        release.start()
        with record.lock():
            assert record.status == "running"
        release.join()


def test_two_runs_do_not_lock_each_other(record: Record, tmp_path: Path) -> None:
    with record.lock(), Record(tmp_path, Run(method="simclr", dataset="cifar10")).lock():
        assert record.status == "running"


@pytest.mark.parametrize("spec", [RUN, Evaluation(run=RUN, linear_epochs=50)], ids=["run", "evaluation"])
def test_a_record_opens_from_its_folder_with_the_same_spec(spec: Run | Evaluation, tmp_path: Path) -> None:
    Record(tmp_path, spec).start()
    opened = Record.open(tmp_path / spec.folder)
    assert opened.spec == spec
    assert opened.path == tmp_path / spec.folder


def test_opening_a_folder_without_a_spec_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^no spec\.json in .*; expected the folder of a run, such as runs/"):
        Record.open(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "{}",
        "[]",
        "5",
        '{"Run": []}',
        '{"Run": {}}',
        '{"Walk": {}}',
        '{"Run": {"method": "simclr", "dataset": "cifar10", "colour": 1}}',
        '{"Run": {"method": "simclr", "dataset": "cifar"}}',
        '{"Run": {"method": "simclr", "dataset": "cifar10", "epochs": "ten"}}',
        '{"Run": {"method": 5, "dataset": "cifar10"}}',
    ],
)
def test_a_damaged_spec_is_an_error_in_one_line_that_names_the_file(content: str, tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text(content)
    with pytest.raises(ValueError, match=r"^damaged spec .*spec\.json: .") as caught:
        Record.open(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_spec_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text('{"Backbone": {}}')
    with pytest.raises(ValueError, match="holds a Backbone; expected a Run or a measurement"):
        Record.open(tmp_path)


def test_write_whole_replaces_a_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    write_whole(file, b"old and longer")
    write_whole(file, b"new")
    assert file.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [file]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.json"
    write_whole(file, b"old")

    def full(_: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        write_whole(file, b"new")
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_starting_removes_what_a_killed_process_half_wrote(record: Record) -> None:
    record.start()
    (record.path / ".results.json.4711").write_text('{"linear/to')
    (record.path / "metrics.jsonl").touch()
    record.start()
    assert sorted(path.name for path in record.path.iterdir()) == ["metrics.jsonl", "spec.json"]


def test_a_writer_killed_at_any_moment_leaves_a_whole_version(tmp_path: Path) -> None:
    file = tmp_path / "file"
    draw = random.Random(2)
    reached = 0
    for _ in range(8):
        with _process(REWRITE, file, reached) as writer:
            time.sleep(draw.uniform(0.0, 0.05))
            writer.send_signal(signal.SIGKILL)
            writer.wait()
        content = file.read_bytes()
        reached, earlier = int(content.split(b"\n", 1)[0]), reached
        assert reached > earlier
        assert content == b"%d\n" % reached * 200_000


def test_results_that_were_changed_afterwards_are_damaged(tmp_path: Path) -> None:
    record = Record(tmp_path, RUN)
    record.start()
    record.finish({"loss": 0.25, "last": {"loss": 1.5}}, {"seconds": 1.0})
    file = record.path / "results.json"
    sound = file.read_text()
    assert record.status == "done"
    file.write_text(" ".join(sound.split()))  # another layout of the same values
    assert record.status == "done"
    file.write_text(sound.replace("1.5", "1.25"))
    assert record.status == "damaged"
    with pytest.raises(ValueError, match=r"results\.json: not what was measured: .* results_sha256 of provenance"):
        _ = record.results


def test_results_of_an_older_record_without_a_checksum_are_read(tmp_path: Path) -> None:
    record = Record(tmp_path, RUN)
    record.start()
    record.write_json("provenance.json", {"seconds": 1.0})
    record.write_json("results.json", {"loss": 0.25})
    assert record.results == {"loss": 0.25}
