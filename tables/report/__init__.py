"""Report: how do all tables, curves, claims and costs read as one page?

A *report* has one *section* a table with its *pictures*; a picture says in words what it shows. `contents.py` gathers,
`wording.py` says it in sentences, `page.py` and `report.py` write HTML and markdown.
"""
