"""Recipes: the settings that methods were published with, as data; `presets.py` makes Runs of them."""
