"""Methods: how does each self-supervised method turn views into a loss?

A *method* has a *projector* over the trunk, maybe a *predictor*, and a *loss*. *Embeddings* are what the loss
compares; *targets* are what it holds fixed in a batch. One file a method; METHODS in `specs/methods.py` lists them.
"""
