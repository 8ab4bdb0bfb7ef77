"""Specs: what determines a number? Imports no torch.

A *spec* is a frozen value with a *digest*, which names the folder of its results. *Run* is a pretraining; *Evaluation*
and *FineTuning* are measurements of one. METHODS and DATASETS are the entries that their fields may name.
"""

MOVES_NO_NUMBER = "holds settings, which a spec's digest holds; a data set's own are in the fingerprint"
