"""Start: the program that a task is, `python -m compmod.slurm.start FOLDER`: submitit's, but it hears signals first.

Submitit (1.5) sets its handlers after its imports, which take seconds, and takes a job of ten minutes or less for one
that has used up its time. Neither may be so here, and whether a job is queued again is for `task.py` to say.
"""

from __future__ import annotations

from .signals import leave_early, listen


def main() -> None:
    """Do the work that submitit stored in the folder named on the command line."""
    listen()  # before anything slow
    try:
        _work()
    finally:
        leave_early()


def _work() -> None:
    import os
    import sys

    os.environ.setdefault("OMP_NUM_THREADS", os.environ.get("SLURM_CPUS_PER_TASK", "1"))  # before numpy and torch
    from submitit.core.job_environment import JobEnvironment
    from submitit.core.submission import process_job

    folder = sys.argv[1]
    JobEnvironment._handle_signals = _keep_ours  # type: ignore[assignment,method-assign]
    environment = JobEnvironment()
    os.environ["SUBMITIT_FOLDER"] = folder
    result = environment.paths.result_pickle
    result.with_suffix(result.suffix + ".save_tmp").unlink(missing_ok=True)  # a kill left it; submitit stumbles over it
    process_job(folder)


def _keep_ours(environment: object, paths: object, submission: object) -> None:
    """In place of submitit's handlers."""


if __name__ == "__main__":
    main()
