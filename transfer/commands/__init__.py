"""Commands: what does a user type to fine-tune a detector, export an encoder, and check the machine?

Words: trunk, detector, export.
"""

MOVES_NO_NUMBER = "reads command lines"
