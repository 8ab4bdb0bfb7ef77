"""Bad data: the error of every fault of images, annotations and labels, told by its name in a log (slurm/failures.py)."""


class BadData(ValueError):
    """A fault of the data, in one line that begins with or names the file. Who holds the data mends it; no retry does."""
