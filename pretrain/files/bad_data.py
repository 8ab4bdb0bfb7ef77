"""Bad data: the error for faults of images, annotations and labels; slurm recognises it by its name in a log."""


class BadData(ValueError):
    """A fault of the data, in one line that names the file. The owner of the data can repair it; a retry cannot."""
