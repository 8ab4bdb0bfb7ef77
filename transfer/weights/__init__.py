"""Weights: how does a file of weights become a trunk, and a trunk a file? Words: state, names, pixels."""
