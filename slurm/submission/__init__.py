"""Submission: what goes to which cluster, and who submitted it? Words: array, dependency, journal, driver."""
