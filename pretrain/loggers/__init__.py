"""Loggers: Where can people look at the curves of a training, beside its metrics.jsonl?

A *row* is what a training logs at one step: its kind (train, spread, online, or that of a measurement), the step and
values by name. A *foreign* logger is a package that runs in a process of its own.
"""

MOVES_NO_NUMBER = "shows what is logged"
