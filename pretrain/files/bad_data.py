"""Bad data: the error for faults of images, annotations and labels; slurm/failures.py knows it by its name in a log."""


class BadData(ValueError):
    """A fault of the data, in one line that names the file. Whoever holds the data mends it; trying again does not."""
