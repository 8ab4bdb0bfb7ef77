"""Clusters: what may jobs ask for, and what does SLURM say of them? Words: cluster, partition, state, reason."""
