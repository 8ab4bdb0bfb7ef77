"""Start: the program of a task: it first listens for signals, then does the task.

It runs as `python -m compmod.slurm.task.start FILE INDEX`.

FILE holds the tasks of an array as JSON. Its name has its SHA-256, and SLURM keeps that name in the script of the job:
so a person who may write the runs folder can neither change a task nor run anything here. It reads no pickle.
"""

from __future__ import annotations

from .signals import job_id, listen

VISIBLE_S = 60.0  # until this node sees a file that another node wrote: caches of NFS last a minute


def main() -> None:
    """Do the task that is named on the command line."""
    listen()  # before anything slow
    import os
    import socket
    import sys
    import time
    from pathlib import Path

    from ...pretrain.runtime.launch import cpus_per_task

    os.environ["PYTHONSAFEPATH"] = "1"  # of processes that this one starts
    try:
        os.environ.setdefault("OMP_NUM_THREADS", str(cpus_per_task(os.environ) or 1))  # before numpy and torch
        from ..shared_files import rights_of
        from .log import START
        from .task import stored

        print(f"{START}(job_id={job_id() or 'none'}, hostname={socket.gethostname()})", flush=True)
        if len(sys.argv) != 3:
            raise ValueError("usage: python -m compmod.slurm.task.start FILE INDEX")
        file, until = Path(sys.argv[1]), time.monotonic() + VISIBLE_S
        print(f"Reading task {sys.argv[2]} of {file}", flush=True)
        while not os.path.lexists(file) and time.monotonic() < until:
            time.sleep(0.2)
        task = stored(file, sys.argv[2])
        task.decoded()
    except (ValueError, FileNotFoundError) as error:
        print(" ".join(str(error).split()), file=sys.stderr, flush=True)
        raise SystemExit(2) from error
    with rights_of(Path(task.runs)):
        task()


if __name__ == "__main__":
    main()
