"""Places: where submitted jobs are, each asked what it knows of them: this machine's SLURM and its local drivers.

A journal may name jobs of another cluster or machine on the same file system. They cannot be asked of from here, and a
number of theirs says nothing here.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ..clusters import squeue as queue
from ..clusters.squeue import Accounted, Queued, SlurmError
from ..submission.journal import Entry


class Places:
    """What was answered last. Jobs that have ended are asked for once."""

    def __init__(self, runs: Path) -> None:
        self.runs = Path(runs)
        self.remarks: tuple[str, ...] = ()  # on what could not be asked
        self._host = socket.gethostname()
        self._slurm = ""  # SLURM's name for the cluster here, once it is known
        self._answering: set[str] = set()
        self._jobs: Mapping[str, Queued] = {}
        self._ended: dict[str, Accounted] = {}
        self._without_account: set[str] = set()  # sacct knows nothing of them

    def ask(self, entries: Iterable[Entry]) -> None:
        """Ask of these submissions. What does not answer is remarked on, and its jobs are not known."""
        asked = list(entries)
        jobs: dict[str, Queued] = {}
        remarks: list[str] = []
        silent = False
        self._answering = {self._host}
        if any(not in_slurm(entry) and entry.where == self._host for entry in asked):
            from ..submission import local

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

    def answers(self, entry: Entry) -> bool:
        """Whether the place that a job was sent to has told what it knows."""
        return entry.where in self._answering

    def job(self, entry: Entry) -> Queued | None:
        """The job, where its place knows it."""
        return self._jobs.get(entry.job_id) if self.answers(entry) else None

    def ended(self, entry: Entry) -> Accounted | None:
        """How the job ended, where accounting tells."""
        return self._ended.get(entry.job_id) if self.answers(entry) else None

    def live(self, entry: Entry) -> bool:
        """Whether the job waits or runs, as far as is known."""
        job = self.job(entry)
        return job is not None and job.live

    def cancel(self, entries: Sequence[Entry]) -> None:
        """Cancel these jobs of places that answer. Raises SlurmError when SLURM refuses."""
        here = [entry for entry in entries if self.answers(entry)]
        if ours := [entry.job_id for entry in here if not in_slurm(entry)]:
            from ..submission import local

            local.cancel(self.runs, ours)
        queue.cancel([entry.job_id for entry in here if in_slurm(entry)])

    def _account(self, gone: Sequence[str]) -> None:
        """Ask how those ended that squeue knows no more."""
        new = [job_id for job_id in gone if job_id not in self._ended and job_id not in self._without_account]
        found = queue.accounted(new)
        self._ended.update({job_id: job for job_id, job in found.items() if job.state in queue.FINISHED})
        self._without_account.update(set(new) - set(found))


def in_slurm(entry: Entry) -> bool:
    """Whether a job is SLURM's, whose numbers are numbers, and not of a driver on one machine."""
    return entry.job_id[:1].isdigit()
