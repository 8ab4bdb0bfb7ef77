"""Paper: what did the paper print, and which runs and measurements does each printed cell ask for?

*Printed* is a number with its decimals as the paper prints it. A *scale* (`paper`, `short`, `demo`) decides how
long the runs of a table are. A column of *facts* states settings. Holds no result and reads no folder of runs.
"""
