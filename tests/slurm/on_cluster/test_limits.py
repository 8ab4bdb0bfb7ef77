"""A cluster that lets a user have few tasks at once (MaxSubmitJobs): refused, or with the setting done in parts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from compmod.slurm.clusters.squeue import SlurmError
from compmod.slurm.submission.journal import history
from compmod.slurm.submission.submit import submit
from compmod.tables.results.results import Results
from private_cluster import PrivateCluster, until
from tables_of_tiny_runs import tiny, tiny_table

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

MOST = 3


def test_within_the_clusters_limit_a_table_is_submitted_in_parts_each_task_once(
    accounting: PrivateCluster, tmp_path: Path
) -> None:
    accounting.run("sacctmgr", "--immediate", "modify", "user", "root", "set", f"MaxSubmitJobs={MOST}")
    table = tiny_table(tiny("simclr", epochs=1, seed=seed) for seed in range(MOST + 1))
    with pytest.raises(SlurmError, match=r"Submit.*0 were submitted.*max_submitted in the cluster's entry"):
        submit([table], tmp_path / "refused", tmp_path, accounting.place())
    runs, place = tmp_path / "runs", accounting.place(max_submitted=MOST)
    first = submit([table], runs, tmp_path, place)
    assert [len(job.steps) for job in first.arranged.jobs] == [1, 1]
    assert len(first.arranged.remaining) == 2 * MOST
    most = 0

    def over() -> bool:
        nonlocal most
        most = max(most, len(accounting.queue()))
        submit([table], runs, tmp_path, place)  # raises where SLURM refuses
        return all(Results(runs).seed_results(cell).state == "done" for row in table.rows for cell in row.cells)

    until(over, "a full table", timeout=300)
    assert 0 < most <= MOST
    assert Counter(entry.digest for entry in history(runs)) == {
        spec.digest: 1 for measured in table.specs for spec in (measured.run, measured)
    }
