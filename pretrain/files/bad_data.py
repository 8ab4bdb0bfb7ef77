"""Bad data: the error for faults of images, annotations and labels. By it `compmod status` tells them from bugs."""


class BadData(ValueError):
    """A fault of the data, in one line that names the file. The owner of the data must mend it; no retry helps."""
