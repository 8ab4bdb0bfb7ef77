"""Recipes: with which settings was each method published, as data, and which Run do they make?

A *recipe* is one published setting of a method; a *preset* is the Run that it makes on a data set; a *variant* is the
name of a preset other than the default; a *scale* shortens a preset. A *protocol* says how a finished run is measured.
"""

MOVES_NO_NUMBER = "writes settings into a spec, whose digest holds them"
