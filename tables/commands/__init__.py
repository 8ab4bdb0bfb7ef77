"""Commands: what do `compmod table`, `plan`, `claims`, `report` and `demo` do with the words of a command line?

One file a command; *options* that several of them share are in `options.py`.
"""
