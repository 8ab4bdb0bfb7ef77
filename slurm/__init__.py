"""Submit what the tables lack to SLURM clusters; built by a later issue."""
