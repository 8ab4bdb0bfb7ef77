"""Runtime: how does the process compute: with how many others, at which precision, from which random numbers?

A *process* of a group has a *rank*; each takes its *share* of a batch. Random numbers are *hashed* from a seed and
counters, so that every process makes the same draw.
"""
