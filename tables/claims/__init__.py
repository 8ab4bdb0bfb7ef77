"""Claims: which sentences of the paper compare its numbers, and do the printed numbers and ours confirm them?

A *claim* is a sentence with the *comparisons* that must all hold. A comparison is between *printed cells* and *holds*,
*fails* or is *undecided*; the claim is then *confirmed*, *refuted* or *inconclusive*.
"""
