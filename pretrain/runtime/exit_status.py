"""Exit statuses: what a command or a task tells the program that started it. Imports nothing."""

MOVES_NO_NUMBER = "names exit statuses"

FAILED = 1  # an error while computing
MISTAKE = 2  # of the user's, found before anything was computed
INTERRUPTED = 75  # a scheduler's signal stopped the work and it is saved: the same command resumes it (EX_TEMPFAIL)
SIGNALLED = 128  # a shell adds the number of the signal that ended a command
BY_HAND = SIGNALLED + 2  # stopped by Ctrl-C (SIGINT)
