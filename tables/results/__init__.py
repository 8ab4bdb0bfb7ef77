"""Results: what did our runs give for each cell, where does each number come from, and does it reproduce the paper's?

*SeedResults* are the finished seeds of a cell and the *states* of the others. A *cell result* is a cell with them, a
*verdict* compares them with the printed number, a *gain* is a "+" row less its plain row, seed by seed. A *number
provenance* says what made a number, which is *stale* when code that determines it has changed since. Only reads.
"""
