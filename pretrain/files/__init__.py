"""Files: how does a file appear whole, and how is a file read that somebody else may have changed?

A file is written *whole*: aside, and then renamed. *Stored* JSON is read back with types, ranges and depth; what
does not fit is *unreadable* and named in one line. *Bad data* is an input that a user can put right.
"""

MOVES_NO_NUMBER = "reads and writes what others made or will read"
