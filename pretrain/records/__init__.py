"""Records: what does a folder of results hold, and which code, data and machine made it?

A *record* is the folder of one spec; *results* are its numbers; *provenance* says where they are from; the
*fingerprint* hashes the code that determines them, so that a later reader sees what has changed since.
"""

MOVES_NO_NUMBER = "describes and keeps numbers that are already there"
