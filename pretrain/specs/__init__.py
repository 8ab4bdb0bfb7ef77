"""Specs: what determines a number? Imports no torch.

A *spec* is a frozen value with a *digest*, which names the folder of its results. *Run* is a pretraining; *Evaluation*
and *FineTuning* are measurements of one. METHODS and DATASETS are the entries that their fields may name.
"""
