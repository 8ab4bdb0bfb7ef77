"""Data: which images and annotations does a detector see? Words: split, annotation, category, mask, crowd."""
