"""SLURM: how do missing results become jobs, and how do the jobs stand? Words: cluster, job, array, task, spec."""
