"""Render: how does a table look as markdown, HTML, LaTeX and CSV?

Every format shows the same *parts* of a cell: the paper's number, ours, their difference and the verdict; below them
the same *notes*.
"""
