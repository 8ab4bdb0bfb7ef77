"""Schedulers: SLURM and the local drivers of this machine, which know what waits and runs.

A journal may name jobs of another cluster or machine on the same file system. This machine cannot ask about them, and
the number of such a job means nothing here.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ..clusters import squeue as queue
from ..clusters.squeue import Accounted, Queued, SlurmError
from ..submission.journal import JournalEntry


class Schedulers:
    """The schedulers' last answers. It asks once about a job that has ended."""

    def __init__(self, runs: Path) -> None:
        self.runs = Path(runs)
        self.remarks: tuple[str, ...] = ()  # on schedulers that did not answer
        self._host = socket.gethostname()
        self._slurm = ""  # SLURM's name for the cluster here, once it is known
        self._answering: set[str] = set()
        self._jobs: Mapping[str, Queued] = {}
        self._ended: dict[str, Accounted] = {}
        self._without_account: set[str] = set()  # sacct knows nothing of them

    def ask(self, entries: Iterable[JournalEntry]) -> None:
        """Ask about these submissions. A scheduler that does not answer gives a remark; its jobs are not known then."""
        asked = list(entries)
        jobs: dict[str, Queued] = {}
        remarks: list[str] = []
        silent = False
        self._answering = {self._host}
        if ours := [entry.job_id for entry in asked if not in_slurm(entry) and entry.where == self._host]:
            from ..submission import local

            jobs |= {job_id: Queued(job_id, "CANCELLED") for job_id in local.cancelled(self.runs, ours)}
            jobs |= {job_id: Queued(job_id, state) for job_id, state in local.states(self.runs, remarks).items()}
        if any(map(in_slurm, asked)):
            try:
                self._slurm = self._slurm or queue.cluster_name()
                here = [entry.job_id for entry in asked if in_slurm(entry) and entry.where == self._slurm]
                jobs |= queue.queued(here)
                self._answering.add(self._slurm)
                self._account([job_id for job_id in here if job_id not in jobs])
            except SlurmError as error:
                silent = True
                remarks.append(f"{error}; what waits or runs there is not known")
        self._jobs = jobs
        away = {entry.cluster: entry.where for entry in asked if not self.answers(entry)} if not silent else {}
        remarks += [f"cluster {name} ({where}) cannot be asked from here" for name, where in away.items()]
        self.remarks = tuple(remarks)

    def answers(self, entry: JournalEntry) -> bool:
        """Whether the scheduler that got a job has answered."""
        return entry.where in self._answering

    def job(self, entry: JournalEntry) -> Queued | None:
        """The job, where its scheduler knows it."""
        return self._jobs.get(entry.job_id) if self.answers(entry) else None

    def ended(self, entry: JournalEntry) -> Accounted | None:
        """How the job ended, where SLURM keeps accounts."""
        return self._ended.get(entry.job_id) if self.answers(entry) else None

    def live(self, entry: JournalEntry) -> bool:
        """Whether the job is known to wait or run."""
        job = self.job(entry)
        return job is not None and job.live

    def cancel(self, entries: Sequence[JournalEntry]) -> None:
        """Cancel these jobs, where their scheduler answers. Raises SlurmError when SLURM refuses."""
        here = [entry for entry in entries if self.answers(entry)]
        if ours := [entry.job_id for entry in here if not in_slurm(entry)]:
            from ..submission import local

            local.cancel(self.runs, ours)
        queue.cancel([entry.job_id for entry in here if in_slurm(entry)])

    def _account(self, gone: Sequence[str]) -> None:
        """Ask sacct how jobs ended that squeue has forgotten."""
        new = [job_id for job_id in gone if job_id not in self._ended and job_id not in self._without_account]
        jobs = queue.accounted(new)
        self._ended.update({job_id: job for job_id, job in jobs.items() if job.state in queue.FINISHED})
        self._without_account.update(set(new) - set(jobs))


def in_slurm(entry: JournalEntry) -> bool:
    """Whether a job is SLURM's, whose job ids begin with a digit; those of a local driver do not."""
    return entry.job_id[:1].isdigit()
