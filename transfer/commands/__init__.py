"""commands."""

MOVES_NO_NUMBER = "reads command lines"
