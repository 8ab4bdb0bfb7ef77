"""Weights: how does a file of weights that others trained become an encoder?

A *state* is a dict of names and tensors; its names are torchvision's once the *prefixes* of the file are taken away and
what is no trunk, such as a projection head, is *dropped*. An encoder is *imported*: kept in the place of a run of ours.
"""
