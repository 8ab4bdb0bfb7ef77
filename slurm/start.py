"""Start, by its name in jobs that were queued before the files moved into folders; `task/start.py` does the work."""

from .task.start import main

if __name__ == "__main__":
    main()
