"""The tables of the paper: what it printed, what fills each cell, and how a table is rendered."""
