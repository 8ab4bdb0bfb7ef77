"""The user's file of clusters: what is read, what is refused and in which words, what `new` writes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from compmod.cli import main
from compmod.slurm.clusters.cluster import CLUSTERS, LIMITS, Cluster, cluster_named, clusters, clusters_file, new_entry
from paths import ROOT
from printing_slurm import PrintingSlurm


def _file(folder: Path, text: str) -> Path:
    path = folder / "clusters.toml"
    path.write_text(text)
    return path


def test_an_entry_of_the_file_becomes_a_cluster(tmp_path: Path) -> None:
    file = _file(
        tmp_path,
        '[cluster.big]\npartition = "gpu"\nnodes = 2\nhours = 48\nsetup = ["module load cuda"]\n'
        'sbatch = { mail-type = "FAIL", exclusive = true }\n',
    )
    assert cluster_named("big", file) == Cluster(
        name="big",
        partition="gpu",
        nodes=2,
        hours=48,
        setup=("module load cuda",),
        sbatch=(("mail-type", "FAIL"), ("exclusive", True)),
    )


def test_without_a_file_there_are_the_clusters_built_in(tmp_path: Path) -> None:
    assert clusters(tmp_path / "none.toml") == CLUSTERS


@pytest.mark.parametrize(
    "entry, said",
    [
        ("[cluster.a]\nparition = 'gpu'", "cluster a: unknown setting 'parition'; known: account, constraint,"),
        ("[cluster.a]\nnodes = 0", "cluster a: nodes must be at least 1, not 0"),
        ("[cluster.a]\nnodes = '2'", "cluster a: nodes must be a whole number, not '2'"),
        ("[cluster.a]\nhours = true", "cluster a: hours must be a number, not True"),
        ("[cluster.a]\nhours = 0.1", "cluster a: hours 0.1 must be at least least_minutes 10"),
        ("[cluster.a]\nrequeue = 1", "cluster a: requeue must be true or false, not 1"),
        ("[cluster.a]\nsetup = 'module load'", "cluster a: setup must be a list of lines, not 'module load'"),
        ("[cluster.a]\nsbatch = ['x']", "cluster a: sbatch must be a table of options, not ['x']"),
        ("[cluster.a]\npartition = 3", "cluster a: partition must be a string, not 3"),
        ("[cluster.a]\nexecutor = 'pbs'", "cluster a: unknown executor 'pbs'; known: slurm, local"),
        ("[cluster.a]\nexecutor = 'local'\nnodes = 2", "cluster a: nodes must be 1 with executor 'local', not 2"),
        (
            "[cluster.a]\nexecutor = 'local'\nmax_submitted = 1",
            "cluster a: max_submitted must be 0 with executor 'local', not 1",
        ),
        (
            "[cluster.a]\nexecutor = 'local'\nsrun_args = ['--x']",
            "cluster a: srun_args must be () with executor 'local', not ('--x',)",
        ),
        ("[cluster.a]\npython = 3", "cluster a: python must be a string or a list of arguments, not 3"),
        ("[cluster.a]\npython = []", "cluster a: python must be a string or a list of arguments, not ()"),
        ("[cluster.a]\npython = ['a', 3]", "cluster a: python must be a string or a list of arguments, not ('a', 3)"),
        (
            """[cluster.a]\npython = "/it's/python" """,
            'cluster a: python is no command of the shell: No closing quotation, in "/it\'s/python"',
        ),
        ("[cluster.a]\nnotify = 'echo \"'", "cluster a: notify is no command of the shell: No closing quotation, in "),
        ("[cluster.a]\nsrun_args = '--mpi=none'", "cluster a: srun_args must be a list of arguments, not '--mpi=none'"),
        (
            "[cluster.a]\nsrun_args = ['--output=/x']",
            "cluster a: '--output=/x' of srun_args is set by compmod itself, as --output, -o, --error,",
        ),
        ("cluster = 3", "expected sections [cluster.NAME]"),
        ("[cluster.a", "Expected ']'"),
    ],
)
def test_a_mistake_in_the_file_is_named_with_the_file(tmp_path: Path, entry: str, said: str) -> None:
    file = _file(tmp_path, entry)
    with pytest.raises(ValueError, match="^" + re.escape(f"{file}: {said}")):
        clusters(file)


@pytest.mark.parametrize(
    "entry, said",
    [
        *(
            (f'{name} = "a\\nb"', f"{name} must be one line without control characters, not 'a\\nb'")
            for name in ("partition", "account", "qos", "constraint", "gpu_type", "python")
        ),
        ('setup = ["true", "a\\u001b[2J"]', "line 2 of setup must be one line without control characters"),
        ('python = ["true", "a\\nb"]', "argument 2 of python must be one line without control characters"),
        ('srun_args = ["a\\nb"]', "argument 1 of srun_args must be one line without control characters"),
        ('sbatch = { comment = "a\\nsrun evil" }', "sbatch.comment must be one line without control characters"),
        ('sbatch = { "a\\nb" = 1 }', "sbatch has an option 'a\\nb'; expected a name such as mail-type"),
        ("sbatch = { nice = nan }", "sbatch.nice must be a finite number of 64 bits, not nan"),
        ("sbatch = { nice = -inf }", "sbatch.nice must be a finite number of 64 bits, not -inf"),
        (f"sbatch = {{ nice = {10**30} }}", "sbatch.nice must be a finite number of 64 bits"),
        ('sbatch = { array = "0-9" }', "sbatch.array is set by compmod itself"),
        ('sbatch = { open_mode = "truncate" }', "sbatch.open_mode is set by compmod itself"),
        ("hours = inf", "hours must be at most 87,840, not inf"),
        ("hours = nan", "hours must be a finite number, not nan"),
        ("mem_gb = nan", "mem_gb must be a finite number, not nan"),
        ("mem_gb = inf", "mem_gb must be at most 1,000,000, not inf"),
        ("mem_gb = -1", "mem_gb must be at least 0, not -1"),
        *((f"{name} = {10**25}", f"{name} must be at most ") for name in LIMITS),
        ("parition = 1\nwight = 2", "unknown setting 'parition', 'wight'; known: account"),
        ("partition = ['a']", "partition must be a string, not ['a']"),
        ("requeue = 1979-05-27", "requeue must be true or false"),
        ("nodes = 1.0", "nodes must be a whole number, not 1.0"),
    ],
)
def test_a_value_that_cannot_be_is_named_with_file_and_field(tmp_path: Path, entry: str, said: str) -> None:
    file = _file(tmp_path, f"[cluster.a]\n{entry}\n")
    with pytest.raises(ValueError, match="^" + re.escape(f"{file}: cluster a: {said}")):
        clusters(file)


@pytest.mark.parametrize(
    "content, said",
    [
        (b"[cluster.a]\npartition = '\xff'\n", "not UTF-8 text: invalid start byte at byte 25"),
        (b"\xff\xfe[\x00c\x00", "not UTF-8 text"),
        (b"[clusters.big]\nnodes = 2\n", "unknown section 'clusters'; expected [cluster.NAME]"),
        (b'[cluster."a\\nb"]\nnodes = 2\n', "a cluster's name must be printed characters, not 'a\\nb'"),
        (b'[cluster.""]\n', "a cluster's name must be printed characters, not ''"),
        (b"a = " + b"[" * 100_000, "nested too deep"),
        (b"a = 1" + b"0" * 10_000, "Exceeds the limit"),
        (b"[cluster.a]\nnodes = 0x" + b"f" * 10_000, "cluster a: nodes must be at most 65,535, not such a number"),
    ],
)
def test_a_file_that_is_no_clusters_file_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "clusters.toml"
    file.write_bytes(content)
    with pytest.raises(ValueError, match="^" + re.escape(f"{file}: {said}")):
        clusters(file)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to("nowhere")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "dangling"):
        with pytest.raises(ValueError, match=re.escape(str(path))):
            clusters(path)


@pytest.mark.parametrize(
    "entry, words",
    [
        ("", [sys.executable]),
        ("python = '$HOME/env/bin/python'", ["/home/ann/env/bin/python"]),
        (
            "python = 'apptainer exec --nv \"/my images/a.sif\" python3'",
            ["apptainer", "exec", "--nv", "/my images/a.sif", "python3"],
        ),
        (
            "python = ['apptainer', 'exec', '/my images/$it\\'s.sif', 'python3']".replace("'", '"').replace('\\"', "'"),
            ["apptainer", "exec", "/my images/$it's.sif", "python3"],
        ),
    ],
)
def test_the_shell_reads_python_as_text_or_each_argument_as_it_stands(
    tmp_path: Path, entry: str, words: list[str]
) -> None:
    command = cluster_named("a", _file(tmp_path, f"[cluster.a]\n{entry}\n")).command
    done = subprocess.run(
        ["bash", "-c", f"printf '%s\\n' {command}"], env={"HOME": "/home/ann"}, capture_output=True, text=True
    )
    assert done.stdout.splitlines() == words


def test_an_unknown_cluster_is_answered_with_those_there_are(tmp_path: Path) -> None:
    file = _file(tmp_path, "[cluster.big]\n")
    with pytest.raises(ValueError, match=r"unknown cluster 'bg'; known: local, big \(file: .*clusters.toml\)"):
        cluster_named("bg", file)


def test_the_variable_names_the_file_before_the_working_folder_before_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert clusters_file({}) == tmp_path / ".config/compmod/clusters.toml"
    (tmp_path / "compmod.toml").touch()
    assert clusters_file({}) == Path("compmod.toml")
    assert clusters_file({"COMPMOD_CLUSTERS": "/there.toml"}) == Path("/there.toml")


def test_a_new_entry_is_that_of_a_cluster_with_every_default(tmp_path: Path) -> None:
    file = _file(tmp_path, "[cluster.old]\nnodes = 3\n")
    new_entry("big", file)
    assert cluster_named("big", file) == Cluster(name="big")
    assert cluster_named("old", file).nodes == 3


def test_what_a_new_entry_says_of_each_setting_is_its_default(tmp_path: Path) -> None:
    file = new_entry("big", tmp_path / "clusters.toml")
    lines = [line.removeprefix("# ") for line in file.read_text().splitlines() if " = " in line]
    file.write_text("[cluster.big]\n" + "\n".join(lines))
    assert len(lines) == 22
    assert cluster_named("big", file) == Cluster(name="big")


def _entries(page: str) -> Iterator[list[str]]:
    """The lines of each entry on a page, and again with each line that is commented out in place of the last."""
    for block in re.findall(r"^```toml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        *lines, last = [line for line in block.splitlines() if not line.startswith("#")]
        others = [line.removeprefix("# ") for line in block.splitlines() if line.startswith("#")]
        yield from ([*lines, line] for line in (last, *others))


def test_every_entry_of_the_page_is_one(tmp_path: Path) -> None:
    entries = list(_entries((ROOT / "docs/cluster.md").read_text()))
    assert len(entries) > 5
    for lines in entries:
        assert cluster_named("lab", _file(tmp_path, "\n".join(lines))) != Cluster(name="lab")


@pytest.mark.parametrize("name", ["local", "old"])
def test_a_new_entry_does_not_replace_one_that_is_there(tmp_path: Path, name: str) -> None:
    file = _file(tmp_path, "[cluster.old]\n")
    with pytest.raises(ValueError, match=f"cluster '{name}' is there already"):
        new_entry(name, file)


def test_a_name_that_toml_cannot_hold_bare_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="letters, digits"):
        new_entry("a b", tmp_path / "clusters.toml")


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PrintingSlurm:
    """A cluster with the partitions `short` and `gpu`."""
    slurm = PrintingSlurm(tmp_path / "bin", monkeypatch)
    slurm.has()
    slurm.says("sinfo", "short\ngpu\n")
    slurm.says("sbatch", complains="sbatch: Job 7 to start at 2024-05-01T10:00:00 using 8 processors on nodes n1\n")
    monkeypatch.setenv("COMPMOD_CLUSTERS", str(tmp_path / "clusters.toml"))
    return slurm


def _checked(capsys: pytest.CaptureFixture[str]) -> list[str]:
    with pytest.raises(SystemExit) as leave:
        main(["cluster", "check", "big"])
    assert leave.value.code == 2
    return capsys.readouterr().out.splitlines()


def test_check_finds_a_sound_entry_sound(
    slurm: PrintingSlurm, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _file(tmp_path, '[cluster.big]\npartition = "gpu"\n')
    main(["cluster", "check", "big"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["ok", "commands:"],
        ["ok", "cluster:"],
        ["ok", "partition:"],
        ["ok", "small"],
        ["ok", "largest"],
        ["ok", "memory:"],
    ]
    assert all(arguments.startswith("--test-only") for arguments in slurm.arguments("sbatch"))


def test_check_names_the_partitions_that_there_are(
    slurm: PrintingSlurm, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _file(tmp_path, '[cluster.big]\npartition = "gpus"\n')
    assert "FAULTY partition: unknown gpus; known: short, gpu" in _checked(capsys)


def test_check_says_what_sbatch_says(slurm: PrintingSlurm, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _file(tmp_path, "[cluster.big]\n")
    slurm.says("sbatch", complains="sbatch: error: Invalid account\nallocation failure\n", status=1)
    assert "FAULTY small job: error: Invalid account allocation failure" in _checked(capsys)


def test_check_tells_of_an_account_that_is_not_the_users(
    slurm: PrintingSlurm, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _file(tmp_path, '[cluster.big]\naccount = "lab"\n')
    slurm.says("sacctmgr", "other|normal,high\n")
    assert "FAULTY account: lab is not yours; yours: other" in _checked(capsys)


def test_check_away_from_a_cluster_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COMPMOD_CLUSTERS", str(_file(tmp_path, "[cluster.big]\n")))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert _checked(capsys) == ["FAULTY commands: not on PATH: sbatch, squeue, scontrol, scancel"]


def test_list_names_every_cluster_and_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COMPMOD_CLUSTERS", str(_file(tmp_path, "[cluster.big]\n")))
    main(["cluster", "list"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["local", "big", "file:"]
